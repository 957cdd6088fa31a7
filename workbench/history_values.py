"""What the values of events must be: for registers, which most checks are about, and for accounts of a bank.

A rule takes an event and gives what is wrong with it and what is expected instead, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from workbench.history_operations import FUNCTIONS, told

SCALARS: Final = (str, int, float, bool, type(None))
BANK_FUNCTIONS: Final = ("read", "transfer")

_INT64: Final = 2**63
_BALANCES: Final = 'an object of account -> balance in whole numbers, such as {"a": 7, "b": 3}'


class Valued(Protocol):
    """An event, as far as rules look at it."""

    f: str
    type: Any
    value: Any


Rule: TypeAlias = Callable[[Valued], "tuple[str, str] | None"]


def register_values(event: Valued) -> tuple[str, str] | None:
    """Reads and writes of JSON scalars, and compare-and-set; other functions may have any value."""
    value = event.value
    if event.f == "cas":
        return _cas(event)
    if event.f in FUNCTIONS and not isinstance(value, SCALARS):
        kind = "a list" if isinstance(value, list) else "an object"
        return f"the value of a {event.f} is {kind}", "it must be a JSON scalar"
    if event.f == "write" and event.type == "invoke" and value is None:
        return "a write without a value", "null means that the key is absent"
    return None


def _cas(event: Valued) -> tuple[str, str] | None:
    value = event.value
    if value is None and event.type in {"fail", "info"}:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, SCALARS) for one in value):
        return f"the value of a cas is {told(value)}", "it must be [expected, new]"
    if value[1] is None:
        return "a cas that sets null", "null means that the key is absent"
    return None


def bank_values(event: Valued) -> tuple[str, str] | None:
    """Reads of all accounts at once; transfers may have any value."""
    value = event.value
    if event.f != "read" or event.type != "ok":
        return None
    if not isinstance(value, dict) or not all(_is_balance(balance) for balance in value.values()):
        return f"a read of accounts returned {told(value)}", f"it must be {_BALANCES}"
    return None


def _is_balance(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
