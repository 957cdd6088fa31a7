"""Lost writes against the files of rewinds: both accounts agree, or the writes that make the difference are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.checkers import DroppedEntry, appends, losses, read_rollbacks, rolled_back_values
from workbench.errors import HistoryError
from workbench.history import operations_frame

SESSION = 77


def writes(outcomes: str, present: set[int]) -> pd.DataFrame:
    """Writes 1, 2, ... with the outcomes `o`, `f` or `i`; `present` are the values that both replicas hold."""
    words = {"o": "ok", "f": "fail", "i": "info"}
    operations = operations_frame(
        {
            "operation": number,
            "kind": "write",
            "key": "k",
            "value": number,
            "outcome": words[letter],
            "invoked_ns": number,
            "completed_ns": number,
            "identifier": SESSION,
            "sequence": number,
        }
        for number, letter in enumerate(outcomes, start=1)
    )
    rows = [("k", value) for value in sorted(present)]
    return appends(operations, {"a": rows, "b": rows}).writes


def entry(*sequences: int, index: int = 1, replica: str = "a", file: str = "0001") -> DroppedEntry:
    return DroppedEntry(replica, file, 1, index, tuple((SESSION, sequence) for sequence in sequences))


def names(*sequences: int) -> set[tuple[int, int]]:
    return {(SESSION, sequence) for sequence in sequences}


def test_every_lost_write_stands_in_a_file() -> None:
    found = losses(writes("ooo", {1}), [entry(2, 3)], names(1))
    assert found.verdict.status == "valid"
    assert found.verdict.reason == "all 2 acknowledged writes that are lost stand in rollback/"
    assert found.counts["lost_acknowledged_writes"] == found.counts["accounted_writes"] == 2


def test_what_took_effect_again_is_not_lost() -> None:
    found = losses(writes("ooo", {1, 2}), [entry(2), entry(3, index=2)], names(1, 2))
    assert found.verdict.status == "valid"
    assert found.counts["took_effect_again"] == 1
    assert found.counts["acknowledged_writes_in_rollback"] == 2
    assert found.counts["entries_dropped"] == 2


def test_a_write_in_two_files_is_one_write() -> None:
    dropped = [entry(2), entry(2, replica="b"), entry(2, file="0002")]
    found = losses(writes("oo", {1}), dropped, names(1))
    assert found.verdict.status == "valid"
    assert (found.counts["accounted_writes"], found.counts["rewinds"], found.counts["entries_dropped"]) == (1, 3, 1)


def test_a_write_that_is_lost_in_silence_is_the_witness() -> None:
    found = losses(writes("ooo", {1}), [entry(2)], names(1))
    assert found.verdict.status == "invalid"
    assert found.verdict.reason.startswith("2 acknowledged writes are lost by the clients' account, 1 by the files")
    (witness,) = found.verdict.witness
    assert (witness["sequence"], witness["lost"], witness["dropped"]) == (3, True, False)


def test_a_write_that_the_files_alone_call_lost_is_the_witness() -> None:
    found = losses(writes("oo", {1, 2}), [entry(2)], names(1))
    assert found.verdict.status == "invalid"
    assert [row["sequence"] for row in found.verdict.witness] == [2]


def test_a_row_that_the_log_has_and_the_database_lacks_is_noticed() -> None:
    assert losses(writes("oo", {1}), [entry(2)], names(1, 2)).verdict.status == "invalid"


def test_only_acknowledged_writes_of_the_table_are_in_an_account() -> None:
    found = losses(writes("ofi", {1}), [entry(2, 3), entry(9), entry()], names(1))
    assert found.writes.empty
    assert found.verdict.status == "unknown"


def test_values_that_were_dropped_for_good() -> None:
    def one(number: int, **more: Any) -> dict[str, Any]:
        times = {"invoked_ns": number, "completed_ns": number}
        name = {"operation": number, "kind": "write", "key": "k", "value": number, "outcome": "ok", "cell": "c"}
        return name | times | {"identifier": SESSION, "sequence": number, "term": 1, "index": number} | more

    operations = operations_frame(
        [
            one(1),
            one(2),
            one(3, term=2),  # dropped at (1, 3), and took effect again
            one(4, outcome="info", term=0, index=0),
            one(5, outcome="fail", term=0, index=0),
            one(6, identifier=SESSION + 1),
            one(7),
        ]
    )
    dropped = [entry(number, index=number) for number in range(2, 7)]
    assert rolled_back_values(operations, dropped) == {("c", "k", 2), ("c", "k", 4)}
    assert rolled_back_values(operations, []) == set()


def test_files_are_read_entry_by_entry(tmp_path: Path) -> None:
    member = {"session": SESSION, "sequence": 4, "results": []}
    lines: list[dict[str, Any]] = [
        {"term": 1, "index": 8, "kind": "empty", "transactions": [], "body_base64": ""},
        {"term": 1, "index": 9, "kind": "logical", "transactions": [member], "content": []},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for folder in ("replicas/replica-2/rollback", "replica-3"):
        path = tmp_path / folder / "0001-after-1.7.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        empty, full = read_rollbacks([path])
        assert (empty.index, empty.writes) == (8, ())
        assert (full.term, full.index, full.writes) == (1, 9, ((SESSION, 4),))
        assert full.replica == ("replica-2" if "rollback" in folder else "replica-3")


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"term": 1}', '{"term": 1, "index": 2, "transactions": [{"session": 1}]}']
)
def test_a_damaged_file_is_no_account(tmp_path: Path, line: str) -> None:
    path = tmp_path / "0001.jsonl"
    path.write_text('{"term": 1, "index": 1, "transactions": []}\n' + line + "\n")
    with pytest.raises(HistoryError, match="line 2"):
        read_rollbacks([path])
    with pytest.raises(HistoryError, match="cannot read"):
        read_rollbacks([tmp_path / "missing.jsonl"])
