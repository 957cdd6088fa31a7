"""What became of known values, and bank totals, against their definitions written out, on thousands of random
histories."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.checkers.bank import bank_totals
from workbench.checkers.known_values import known_values
from workbench.history_operations import OPEN, Operation


def random_operations(seed: int) -> list[Operation]:
    """Writes of unique values and reads of one or two keys: some in doubt, some failed, with positions or without."""
    random = Random(seed)
    count = random.randint(0, 10)
    placed = random.random() < 0.4
    moments = random.sample(range(4 * count + 2), 2 * count)
    operations: list[Operation] = []
    written: dict[str, list[int | None]] = {"x": [None], "y": [None]}
    for number in range(count):
        begin, end = sorted(moments[2 * number : 2 * number + 2])
        key, outcome = random.choice("xxxy"), random.choice(["ok"] * 6 + ["info", "fail"])
        row: dict[str, Any] = {
            "number": number,
            "process": number,
            "session": number,
            "key": key,
            "begin": begin,
            "outcome": outcome,
        }
        row |= {"end": end if outcome != "info" else OPEN, "invoked_ns": begin, "completed_ns": end}
        if random.random() < 0.45:
            written[key].append(number + 1)
            place = {"term": 1, "index": random.randint(1, 99) * 10 + number} if placed and outcome == "ok" else {}
            operations.append(Operation(**row | {"f": "write", "value": number + 1} | place))
        else:
            value = random.choice([*written[key], 77] if random.random() < 0.1 else written[key])
            operations.append(Operation(**row | {"f": "read", "value": value if outcome == "ok" else None}))
    return sorted(operations, key=lambda one: one.begin)


def fates(operations: list[Operation]) -> tuple[dict[int, str], int]:
    """The definition, written out: number of the write -> its fate; and how many in doubt were read."""
    found: dict[int, str] = {}
    recovered = 0
    for write in operations:
        if write.f != "write" or write.outcome == "fail":
            continue
        others = [one for one in operations if one.key == write.key]
        made = {one.value: one for one in others if one.f == "write" and one.outcome != "fail"}
        placed = all(one.index for one in made.values() if one.outcome == "ok")
        placed &= any(one.outcome == "ok" for one in made.values())

        def older(one: Operation | None, other: Operation, placed: bool = placed) -> bool:
            if one is None:
                return not placed or bool(other.index)
            if placed:
                return bool(one.index and other.index) and one.index < other.index
            return one.end < other.begin

        reads = [one for one in others if one.f == "read" and one.outcome == "ok"]
        reads = [one for one in reads if one.value is None or (one.value in made and made[one.value].begin <= one.end)]
        returned = [one.end for one in reads if one.value == write.value]
        recovered += write.outcome == "info" and bool(returned)
        known = min([write.end, *returned])
        if known == OPEN:
            continue
        later = [one for one in reads if one.begin > known]
        lacks = [one for one in later if older(made.get(one.value) if one.value is not None else None, write)]
        has = [one for one in later if one not in lacks]
        if not later:
            found[write.number] = "never_read"
        elif not lacks:
            found[write.number] = "stable"
        elif any(one.end >= max(other.begin for other in lacks) for one in has):
            found[write.number] = "stale"
        else:
            found[write.number] = "lost"
    return found, recovered


@settings(max_examples=3000, deadline=None)
@given(st.integers(0, 2**48))
def test_known_values_as_the_definition_says(seed: int) -> None:
    operations = random_operations(seed)
    found = known_values(operations)
    expected, recovered = fates(operations)
    assert dict(found.fates) == expected
    assert found.counts["recovered"] == recovered
    tally = Counter(expected.values())
    for fate in ("lost", "stale", "never_read", "stable"):
        assert found.counts[fate] == tally[fate]
    assert (found.verdict.status == "invalid") == (tally["lost"] > 0)
    assert found.verdict.status != "valid" or tally["stable"] + tally["stale"] > 0


@settings(max_examples=2000, deadline=None)
@given(st.integers(0, 2**48))
def test_bank_totals_as_the_definition_says(seed: int) -> None:
    random = Random(seed)
    accounts = random.randint(1, 3)
    reads = []
    for number in range(random.randint(0, 5)):
        names = "abc"[: accounts if random.random() < 0.9 else random.randint(0, 3)]
        balances = {name: random.randint(-1 if random.random() < 0.1 else 0, 3) for name in names}
        if names and random.random() < 0.8:  # mostly the right total, so that good histories occur
            balances[names[0]] += 6 - sum(balances.values())
        reads.append((number, balances))
    for negative in (False, True):
        wrong = [
            number
            for number, balances in reads
            if len(balances) != accounts
            or sum(balances.values()) != 6
            or (not negative and any(balance < 0 for balance in balances.values()))
        ]
        found = bank_totals(reads, 6, accounts=accounts, negative=negative)
        assert found.status == ("invalid" if wrong else "valid" if reads else "unknown")
        assert found.counts["wrong_reads"] == len(wrong)
        assert [row["operation"] for row in found.witness] == wrong[:5]
