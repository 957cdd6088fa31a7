"""`Verdict`: what a checker or a claim concludes, in three values.

`valid`, `invalid` (with a witness as small as the checker could make it), or `unknown`: too little was done or the
search was bounded. What proves nothing never passes, so combining no verdicts gives `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

Status = Literal["valid", "invalid", "unknown"]

STATUSES: tuple[Status, ...] = get_args(Status)

_EXIT_CODES: dict[Status, int] = {"valid": 0, "invalid": 1, "unknown": 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A conclusion, the reason in one line, the rows that show it, the numbers behind it, and what it consists of."""

    status: Status
    reason: str = ""
    witness: tuple[Mapping[str, Any], ...] = ()
    counts: Mapping[str, int | float] = field(default_factory=dict)
    parts: Mapping[str, Status] = field(default_factory=dict)
    """Of a claim about several cells: cell -> what holds there."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, must be one of {', '.join(STATUSES)}")

    @classmethod
    def valid(cls, reason: str = "", **counts: float) -> Self:
        return cls("valid", reason, (), counts)

    @classmethod
    def invalid(cls, reason: str, witness: Iterable[Mapping[str, Any]] = (), **counts: float) -> Self:
        return cls("invalid", reason, tuple(witness), counts)

    @classmethod
    def unknown(cls, reason: str, **counts: float) -> Self:
        return cls("unknown", reason, (), counts)

    @classmethod
    def expect(cls, condition: bool, reason: str, **counts: float) -> Self:
        """A claim that holds if `condition` does; `reason` says what was seen, either way."""
        return cls("valid" if condition else "invalid", reason, (), counts)

    @classmethod
    def all(cls, verdicts: Mapping[str, Verdict]) -> Self:
        """Valid if every one is; else the first invalid one's, else the first unknown one's reason and witness."""
        for status in ("invalid", "unknown"):
            named = [(name, verdict) for name, verdict in verdicts.items() if verdict.status == status]
            if named:
                name, first = named[0]
                others = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
                return cls(first.status, f"{name}: {first.reason}{others}", first.witness, _tally(verdicts))
        if not verdicts:
            return cls.unknown("nothing was judged")
        return cls("valid", f"all {len(verdicts)} hold", (), _tally(verdicts))

    @classmethod
    def any(cls, verdicts: Mapping[str, Verdict]) -> Self:
        """Valid if one is; else unknown if one is; else invalid."""
        for status in ("valid", "unknown"):
            for name, verdict in verdicts.items():
                if verdict.status == status:
                    return cls(verdict.status, f"{name}: {verdict.reason}", verdict.witness, _tally(verdicts))
        if not verdicts:
            return cls.unknown("nothing was judged")
        return cls("invalid", f"none of {len(verdicts)} holds", (), _tally(verdicts))

    def negated(self, reason: str = "") -> Self:
        """For a claim that an anomaly is seen: valid if this is invalid and the reverse; unknown stays unknown."""
        opposite: dict[Status, Status] = {"valid": "invalid", "invalid": "valid", "unknown": "unknown"}
        return replace(self, status=opposite[self.status], reason=reason or self.reason)

    def needing(self, name: str, minimum: float) -> Self:
        """Unknown unless the count `name` reaches `minimum`: a result that proves nothing must not pass.

        An invalid verdict stays invalid: its witness is proof enough.
        """
        count = self.counts.get(name, 0)
        if self.status == "invalid" or count >= minimum:
            return self
        return replace(self, status="unknown", reason=f"{name} is {count:g}, at least {minimum:g} needed", witness=())

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 3 unknown."""
        return _EXIT_CODES[self.status]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `from_json` takes; values of the witness are not converted."""
        return {
            "status": self.status,
            "reason": self.reason,
            "witness": [dict(row) for row in self.witness],
            "counts": dict(self.counts),
            **({"parts": dict(self.parts)} if self.parts else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The verdict that `to_json` gave. Raises `ValueError` for anything else."""
        try:
            witness, parts = tuple(map(dict, data["witness"])), dict(data.get("parts", {}))
            return cls(data["status"], str(data["reason"]), witness, dict(data["counts"]), parts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a verdict: {error!r}") from error

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


def _tally(verdicts: Mapping[str, Verdict]) -> dict[str, int | float]:
    return {status: sum(1 for verdict in verdicts.values() if verdict.status == status) for status in STATUSES}
