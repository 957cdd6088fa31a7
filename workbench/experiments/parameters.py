"""Parameters of an experiment: typed fields with a range, a unit and a sentence of help.

A parameters class is a frozen, keyword-only dataclass whose fields are made by `parameter(...)`. From the same
metadata come the validation here, the command line's options and the notebook's sliders, so that a name, a range
and a unit are written once. A field of type `tuple[T, ...]` is a sweep: the experiment measures one cell for each
value, and a single value or a text such as `async,sync` is accepted in its place.
"""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from workbench.errors import ConfigurationError

PROFILES = ("ci", "quick", "full")
PROFILE_VARIABLE = "WORKBENCH_PROFILE"
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def parameter(
    default: Any,
    *,
    help: str,  # noqa: A002 - the word that argparse and ipywidgets readers expect
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: Iterable[str] = (),
    check: Callable[[str], object] | None = None,
) -> Any:
    """One field of a parameters class.

    `low` and `high` bound a number, both included; `step` is a slider's. `choices` are the words that a text may be;
    `check` may raise `ConfigurationError` for a text that is none of them and yet could be right (`semi_sync:2`).
    """
    metadata = {
        "help": help,
        "unit": unit,
        "low": low,
        "high": high,
        "step": step,
        "choices": tuple(choices),
        "check": check,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterInfo:
    """What is known about one parameter; enough to build a command-line option or a widget from."""

    name: str
    kind: type[int] | type[float] | type[bool] | type[str]
    """Type of the value, or of each value of a sweep."""
    many: bool
    """Whether the parameter is a sweep (a tuple of values)."""
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...]
    check: Callable[[str], object] | None

    @property
    def range_text(self) -> str:
        """The allowed values in words, for help texts and errors."""
        unit = f" {self.unit}" if self.unit else ""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"from {self.low:g} to {self.high:g}{unit}"
        if self.low is not None:
            return f"at least {self.low:g}{unit}"
        if self.high is not None:
            return f"at most {self.high:g}{unit}"
        return "any " + _KIND_WORDS[self.kind].removeprefix("a ")

    def parse(self, value: object) -> Any:
        """The typed, checked value for `value`: text as after `--set`, or a value that already has the type.

        Raises `ConfigurationError` naming the parameter, what was wrong and what is allowed.
        """
        if not self.many:
            return self._parse_one(value)
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, Iterable):
            items = (items,)
        values = tuple(self._parse_one(item) for item in items)
        if not values:
            raise ConfigurationError(f"{self.name} has no value", hint=f"give at least one, {self.range_text}")
        if len(set(values)) < len(values):
            raise ConfigurationError(f"{self.name} names a value twice", hint="each value is measured once")
        return values

    def _parse_one(self, value: object) -> Any:
        converted = self._convert(value)
        if isinstance(converted, str):
            self._check_text(converted)
        elif not isinstance(converted, bool):
            low = self.low if self.low is not None else float("-inf")
            high = self.high if self.high is not None else float("inf")
            if not low <= converted <= high:  # also refuses nan
                raise ConfigurationError(
                    f"{self.name} is {converted:g}{self._unit}", hint=f"it must be {self.range_text}"
                )
        return converted

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _convert(self, value: object) -> bool | int | float | str:
        text = str(value).strip()
        try:
            if self.kind is bool:
                if text.lower() not in _TRUE | _FALSE:
                    raise ValueError(text)
                return text.lower() in _TRUE
            if self.kind is int:
                return _whole(value if isinstance(value, float) else text)
            return float(text) if self.kind is float else text
        except (ValueError, OverflowError):
            raise ConfigurationError(
                f"{self.name} is {text!r}, which is not {_KIND_WORDS[self.kind]}", hint=f"it must be {self.range_text}"
            ) from None

    def _check_text(self, text: str) -> None:
        if text in self.choices:
            return
        if self.check is not None:
            try:
                self.check(text)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.name}: {error.message}", hint=error.hint) from error
        elif self.choices:
            raise ConfigurationError(f"{self.name} is {text!r}", hint=nearest(text, self.choices, "choices"))


_KIND_WORDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _whole(value: str | float) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def parameters_of(parameters_type: type) -> tuple[ParameterInfo, ...]:
    """Everything known about the fields of a parameters class, in the order of their declaration."""
    hints = typing.get_type_hints(parameters_type)
    infos = []
    for item in fields(parameters_type):
        hint, many = hints[item.name], False
        if typing.get_origin(hint) is tuple:
            hint, many = typing.get_args(hint)[0], True
        assert hint in _KIND_WORDS, f"{parameters_type.__name__}.{item.name}: {hint} is no type of a parameter"
        assert "help" in item.metadata, f"{item.name} must be made by parameter(...)"
        infos.append(ParameterInfo(name=item.name, kind=hint, many=many, default=item.default, **item.metadata))
    return tuple(infos)


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """`["followers=2", "ack=async,sync"]` as a mapping; the last value of a name counts.

    Raises `ConfigurationError` for a text without `=` or without a name.
    """
    values = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name.strip():
            raise ConfigurationError(f"cannot read {assignment!r}", hint="write name=value, as in followers=2")
        values[name.strip()] = value
    return values


def choose_profile(option: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The option where one was given, else `WORKBENCH_PROFILE`, else `quick`. Raises `ConfigurationError`."""
    environment = os.environ if environment is None else environment
    profile = option or environment.get(PROFILE_VARIABLE) or "quick"
    if profile not in PROFILES:
        source = "" if option else f" in {PROFILE_VARIABLE}"
        raise ConfigurationError(f"unknown profile {profile!r}{source}", hint=nearest(profile, PROFILES, "profiles"))
    return profile


def nearest(word: str, words: Iterable[str], what: str = "names") -> str:
    """A hint for a misspelt word: the nearest one, if any comes near, and all of them."""
    known = list(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listing = f"{what}: " + ", ".join(known)
    return f"did you mean {close[0]!r}? {listing}" if close else listing
