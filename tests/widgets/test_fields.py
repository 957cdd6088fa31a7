"""A form is made from the parameters alone: every parameter of every experiment, with its range, unit and choices."""

from __future__ import annotations

import ipywidgets
import pytest

from workbench.experiments.base import Experiment
from workbench.experiments.parameters import PROFILES, ParameterInfo
from workbench.experiments.registry import experiment, experiment_names
from workbench.widgets.fields import label_of, make_field
from workbench.widgets.panel import ExperimentPanel


def info(**values: object) -> ParameterInfo:
    given: dict = {"name": "size", "kind": int, "many": False, "default": 3, "help": "How much.", "unit": ""}
    given |= {"low": None, "high": None, "step": None, "choices": (), "check": None, **values}
    return ParameterInfo(**given)


@pytest.fixture(params=experiment_names())
def each(request: pytest.FixtureRequest) -> Experiment:
    return experiment(request.param)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_form_says_what_the_profile_says(each: Experiment, profile: str) -> None:
    panel = ExperimentPanel(each)
    panel.profile.value = profile
    assert each.resolve(profile, panel.parameters) == each.resolve(profile)


def test_every_parameter_has_a_field_with_its_help(each: Experiment) -> None:
    panel = ExperimentPanel(each)
    assert list(panel.fields) == [found.name for found in each.parameter_infos]
    for field in panel.fields.values():
        assert field.info.help in field.row.children[1].value.replace("&#x27;", "'").replace("&quot;", '"')


def test_a_number_with_a_short_range_is_a_slider() -> None:
    slider = make_field(info(low=1, high=7)).widget
    assert isinstance(slider, ipywidgets.IntSlider)
    assert (slider.min, slider.max, slider.value) == (1, 7, 3)


def test_a_number_with_a_long_range_is_a_box() -> None:
    box = make_field(info(kind=float, default=0.5, low=0.2, high=600, step=0.1)).widget
    assert isinstance(box, ipywidgets.BoundedFloatText)
    assert (box.min, box.max) == (0.2, 600)


def test_a_word_is_a_list_of_words() -> None:
    field = make_field(info(kind=str, default="wal", choices=("statement", "wal")))
    assert isinstance(field.widget, ipywidgets.Dropdown)
    assert field.widget.options == ("statement", "wal")


def test_a_sweep_over_words_is_buttons_that_show_their_state_by_a_sign() -> None:
    field = make_field(info(kind=str, many=True, default=("async",), choices=("async", "sync")))
    field.buttons["sync"].value = True  # type: ignore[attr-defined]
    field.buttons["async"].value = False  # type: ignore[attr-defined]
    assert field.value == ("sync",)
    assert [button.icon for button in field.buttons.values()] == ["", "check"]  # type: ignore[attr-defined]


def test_a_sweep_over_numbers_is_text() -> None:
    field = make_field(info(kind=float, many=True, default=(0.0, 40.0), low=0, high=99))
    assert field.value == "0, 40"
    assert field.info.parse(field.value) == (0.0, 40.0)


@pytest.mark.parametrize(
    ("name", "unit", "label"),
    [("delay_ms", "ms", "delay_ms"), ("rate_per_s", "1/s", "rate_per_s"), ("value", "bytes", "value, bytes")],
)
def test_a_unit_stands_in_the_label_once(name: str, unit: str, label: str) -> None:
    assert label_of(info(name=name, unit=unit)) == label
