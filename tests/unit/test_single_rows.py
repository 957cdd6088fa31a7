"""Workloads of the load generator, on a database in memory."""

from __future__ import annotations

import apsw
import pytest

from workbench.workloads.single_rows import WORKLOADS


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_a_key_reads_as_what_was_written_to_it_last(name: str) -> None:
    workload = WORKLOADS[name]  # type: ignore[index]
    database = apsw.Connection(":memory:")
    for _ in range(2):
        database.execute(workload.drop_table)
        database.execute(workload.create_table)
    assert database.execute(workload.read, ("a",)).fetchall() == []
    for value, key in enumerate("abab"):
        database.execute(workload.write, (key, value, b"payload"))
        assert database.execute(workload.read, (key,)).fetchall() == [(value,)]
    contents = sorted(database.execute(workload.contents))
    everything = [("a", 0), ("a", 2), ("b", 1), ("b", 3)]
    assert contents == (everything[1::2] if name == "registers" else everything)


def test_appended_rows_of_a_key_are_found_by_an_index() -> None:
    workload = WORKLOADS["appends"]
    database = apsw.Connection(":memory:")
    database.execute(workload.create_table)
    (plan,) = database.execute(f"EXPLAIN QUERY PLAN {workload.read}", ("a",))
    assert "USING INDEX" in str(plan)
    for value, key in enumerate("aba"):
        database.execute(workload.write, (key, value, b""))
    assert [database.execute(workload.read, (key,)).fetchall() for key in "abc"] == [[(2,)], [(1,)], []]
