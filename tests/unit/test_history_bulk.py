"""Reading by columns: what it accepts, and the table that it makes, are those of the reader by lines."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_history_operations import told
from workbench import history_bulk
from workbench.errors import HistoryError
from workbench.history_bulk import read_coded, read_quickly
from workbench.history_columns import read_coded_by_lines

TIMES = [0, 5, 5, 7, -(2**62), 2**62, 2**62 + 1]
VALUES = [None, 1, 2, 2**63 - 1, -(2**63), 2**63, "a", "", True, 0.5, [1], {"a": 1}]
MISTAKES: dict[str, list[Any]] = {
    "process": [0, 1, -1, 2**63, 1.5, None, "0"],
    "type": ["invoke", "ok", "fail", "info", "other"],
    "f": ["read", "write", "cas", "append"],
    "key": ["x", "y", 3],
    "value": VALUES,
    "time_ns": TIMES,
    "operation": [0, 1, 2, None, -(2**63)],
    "session": [0, 7, None, 2**63],
    "term": [0, 1, -1],
    "index": [0, 9, None],
    "member": [0, 1],
    "replica": ["", "r1", None],
    "cell": ["", "c"],
    "error": ["", "lost"],
    "result": [None, True, False],
    "intended_ns": [None, 3, "3"],
    "other": [1, {"a": {}}],
}


def drawn_events(random: Random) -> list[dict[str, Any]]:
    """A sound history of reads and writes."""
    wild = random.random() < 0.5
    values: list[Any] = ["a", True, 1, 2, 0.5, 2**63] if wild else [1, 2, 3, -(2**63), 2**63 - 1]
    events: list[dict[str, Any]] = []
    running: dict[int, dict[str, Any]] = {}
    unused = 3
    names = [0, 1, 2]
    now = random.randint(-5, 5)
    for _ in range(random.randint(0, 12)):
        slot = random.randrange(3)
        process = names[slot]
        now += random.choice([0, 0, 1, 9])
        if process not in running:
            f = random.choice(["read", "write"])
            event = {"process": process, "type": "invoke", "f": f, "key": random.choice("xy"), "time_ns": now}
            event["value"] = random.choice(values) if f == "write" else None
            event |= {"session": random.randint(0, 3)} if random.random() < 0.5 else {}
            running[process] = event
        else:
            begun = running.pop(process)
            kind = random.choice(["ok", "ok", "ok", "fail", "info"])
            event = {**begun, "type": kind, "time_ns": now, "replica": random.choice(["", "r1", "r2"])}
            if begun["f"] == "read" or kind != "ok":
                event["value"] = random.choice([None, *values])
            if kind == "info":
                names[slot], unused = unused, unused + 1
            else:
                event |= {"term": random.randint(0, 2), "index": random.randint(0, 3), "member": 1}
        events.append(event)
    return events


def spoilt(random: Random, events: list[dict[str, Any]]) -> list[str]:
    """Lines of the events, some of which are changed, left out, repeated or torn."""
    events = [dict(event) for event in events]
    for _ in range(random.choice([1, 1, 2])):
        if events and random.random() < 0.7:
            name = random.choice(list(MISTAKES))
            random.choice(events)[name] = random.choice(MISTAKES[name])
    lines = [json.dumps(event, separators=random.choice([(",", ":"), (", ", ": ")])) for event in events]
    for _ in range(random.choice([0, 0, 1, 2])):
        at = random.randint(0, max(len(lines) - 1, 0))
        change = random.choice(["drop", "repeat", "swap", "blank", "join", "break", "space", "end"])
        if change == "drop":
            del lines[at : at + 1]
        elif change == "repeat":
            lines[at:at] = lines[at : at + 1]
        elif change == "swap":
            lines[at : at + 2] = lines[at : at + 2][::-1]
        elif change == "blank":
            lines.insert(at, random.choice(["", " "]))
        elif change == "join":
            lines[at : at + 2] = [" ".join(lines[at : at + 2])]
        elif change == "break":
            lines[at : at + 1] = [line.replace("{", "{\n", 1) for line in lines[at : at + 1]]
        else:
            lines[at : at + 1] = [line + ("  " if change == "space" else "\r") for line in lines[at : at + 1]]
    return lines


def compare(path: Path) -> bool:
    """Hold that the two readers agree, and say whether the quick one had the word."""
    quick = read_quickly(path)
    try:
        expected = read_coded_by_lines(path)
    except HistoryError:
        assert quick is None
        with pytest.raises(HistoryError):
            read_coded(path)
        return False
    assert told(quick or read_coded(path)) == told(expected)
    return quick is not None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**48), st.sampled_from([64, 300, 4 << 20]))
def test_sound_or_not_both_readers_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk_bytes: int
) -> None:
    random = Random(seed)
    path = tmp_path_factory.getbasetemp() / "h.jsonl"
    events = drawn_events(random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_bulk, "_CHUNK_BYTES", chunk_bytes)
        lines = [json.dumps(event) for event in events]
        path.write_text("\n".join(lines) + random.choice(["", "\n"] if lines else [""]))
        assert compare(path), "the quick reader must not leave such histories to the other"
        path.write_text("\n".join(spoilt(random, events)) + random.choice(["", "\n"]))
        compare(path)


def test_progress_rises_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_bulk, "_CHUNK_BYTES", 256)
    event = {"type": "invoke", "f": "read", "key": "x", "value": None, "time_ns": 0}
    path = tmp_path / "h.jsonl"
    path.write_text("".join(json.dumps(event | {"process": number}) + "\n" for number in range(100)))
    shares: list[float] = []
    assert read_coded(path, shares.append).operations == 100
    assert len(shares) > 10
    assert shares == sorted(shares)
    assert shares[-1] == 1
