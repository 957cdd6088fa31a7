"""One field of a form for one parameter: a slider, a box, a list, buttons or text, with its help beside it.

A number gets a slider where its range can be aimed at (at most a few hundred steps), else a box. Words get a list; a
sweep over words gets one button a word, and a sweep over numbers a text such as `0, 10, 40`.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from typing import Any

import ipywidgets

from workbench.experiments.parameters import ParameterInfo

_SLIDER_STEPS_MAX = 300
_LABEL = {"description_width": "11em"}
_WIDTH = ipywidgets.Layout(width="30em", max_width="100%")


class Field(ABC):
    """A widget with a value that `ParameterInfo.parse` takes."""

    def __init__(self, info: ParameterInfo, widget: ipywidgets.Widget) -> None:
        self.info = info
        self.widget = widget
        self.row = ipywidgets.HBox(
            [widget, ipywidgets.HTML(self._meaning())],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )

    def _meaning(self) -> str:
        info = self.info
        return f"{html.escape(info.help)} <span style='opacity:.7'>({html.escape(info.range_text)})</span>"

    @property
    @abstractmethod
    def value(self) -> object:
        """What the field says."""

    @value.setter
    @abstractmethod
    def value(self, value: Any) -> None: ...


class ValueField(Field):
    """A widget whose value is the parameter's."""

    @property
    def value(self) -> object:
        return self.widget.value

    @value.setter
    def value(self, value: Any) -> None:
        self.widget.value = value


class ListField(Field):
    """Text with values between commas."""

    @property
    def value(self) -> object:
        return str(self.widget.value)

    @value.setter
    def value(self, value: Any) -> None:
        self.widget.value = ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)


class WordsField(Field):
    """One button a word; those pressed are the value."""

    def __init__(self, info: ParameterInfo) -> None:
        self.buttons = {
            word: ipywidgets.ToggleButton(
                description=word, tooltip=f"{info.name}: {word}", layout=ipywidgets.Layout(width="auto")
            )
            for word in info.choices
        }
        for button in self.buttons.values():
            button.observe(lambda change: _tick(change["owner"]), names="value")
        label = ipywidgets.HTML(
            f'<div style="text-align:right;width:11em;padding-right:4px">{html.escape(label_of(info))}</div>'
        )
        super().__init__(info, ipywidgets.HBox([label, *self.buttons.values()]))

    def _meaning(self) -> str:
        return html.escape(self.info.help)

    @property
    def value(self) -> object:
        return tuple(word for word, button in self.buttons.items() if button.value)

    @value.setter
    def value(self, value: Any) -> None:
        for word, button in self.buttons.items():
            button.value = word in value


def _tick(button: ipywidgets.ToggleButton) -> None:
    """A pressed button differs by a sign, not by its shade alone."""
    button.icon = "check" if button.value else ""
    button.button_style = "info" if button.value else ""


def make_field(info: ParameterInfo) -> Field:
    """The field for a parameter, holding its default."""
    field = _make(info)
    field.value = info.default
    return field


def label_of(info: ParameterInfo) -> str:
    """The parameter's name, the same as everywhere; its unit where the name does not end with it."""
    suffix = info.unit.replace("1/", "per_")
    return info.name if not suffix or info.name.endswith(f"_{suffix}") else f"{info.name}, {info.unit}"


def _make(info: ParameterInfo) -> Field:
    common = {"description": label_of(info), "style": _LABEL, "layout": _WIDTH, "tooltip": info.help}
    if info.many:
        if info.choices:
            return WordsField(info)
        return ListField(info, ipywidgets.Text(placeholder="one or more, with commas", **common))
    if info.kind is bool:
        return ValueField(info, ipywidgets.Checkbox(indent=False, **common))
    if info.choices:
        return ValueField(info, ipywidgets.Dropdown(options=list(info.choices), **common))
    if info.kind is str:
        return ValueField(info, ipywidgets.Text(**common))
    return ValueField(info, _number(info, common))


def _number(info: ParameterInfo, common: dict[str, Any]) -> ipywidgets.Widget:
    whole = info.kind is int
    step = info.step or (1 if whole else 0.1)
    bounded = info.low is not None and info.high is not None
    if bounded and (info.high - info.low) / step <= _SLIDER_STEPS_MAX:  # type: ignore[operator]
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        return kind(min=info.low, max=info.high, step=step, continuous_update=False, **common)
    if bounded:
        kind = ipywidgets.BoundedIntText if whole else ipywidgets.BoundedFloatText
        return kind(min=info.low, max=info.high, step=step, **common)
    return (ipywidgets.IntText if whole else ipywidgets.FloatText)(step=step, **common)
