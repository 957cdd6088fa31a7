"""Divergence of real clusters, located to table, key, entry and cause."""

from __future__ import annotations

from pathlib import Path

from workbench.cluster.cluster import Cluster
from workbench.config import ClusterConfig, Limits
from workbench.inspection.locating import locate
from workbench.storage.log_reader import LogReader


async def test_each_row_is_traced_to_the_entry_that_made_it_differ() -> None:
    async with Cluster(ClusterConfig(followers=2, log_format="statement", reverse_unordered=True)) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE dice (id INTEGER PRIMARY KEY, x)")
        await session.write("CREATE TABLE source (x)")
        await session.write("CREATE TABLE target (id INTEGER PRIMARY KEY, x)")
        await session.write("CREATE VIRTUAL TABLE words USING fts5(text)")
        await session.write("INSERT INTO source VALUES (1), (2)")
        random = await session.write("INSERT INTO dice VALUES (1, 1), (2, random())")
        await session.write("UPDATE dice SET x = x + 1")
        keys = await session.write("INSERT INTO target (x) SELECT x FROM source")
        text = await session.write("INSERT INTO words VALUES (hex(randomblob(8)))")
        limit = await session.write("DELETE FROM source WHERE rowid IN (SELECT rowid FROM source LIMIT 1)")
        report = await cluster.converged()
        assert not report.ok
        found = await locate(cluster, report)
    causes = {(value.table, value.key): (value.position, value.cause) for value in found.values}
    assert causes == {
        ("dice", "id=2"): (random.position, "random"),
        ("target", "id=1"): (keys.position, "generated_keys"),
        ("target", "id=2"): (keys.position, "generated_keys"),
        ("words", "rowid=1"): (text.position, "random"),
        ("source", "rowid=1"): (limit.position, "limit"),
        ("source", "rowid=2"): (limit.position, "limit"),
    }
    assert found.notes == ()
    assert {one.name: one.replicas for one in found.tables}["dice"] == ("replica-2", "replica-3")


async def test_behind_a_snapshot_it_is_said_where_knowledge_begins(tmp_path: Path) -> None:
    limits = Limits(retained_log_bytes_max=20_000, segment_bytes_max=4_000)
    config = ClusterConfig(followers=1, log_format="statement", directory=tmp_path / "cluster", limits=limits)
    async with Cluster(config) as cluster:
        session = await cluster.session()
        await session.write("CREATE TABLE dice (id INTEGER PRIMARY KEY, x)")
        await session.write("INSERT INTO dice VALUES (1, random())")
        await session.write("CREATE TABLE filler (x)")
        logs = [tmp_path / "cluster" / "replicas" / name / "log" for name in cluster.names]
        for _ in range(1_000):
            await session.write("INSERT INTO filler VALUES (?)", ("x" * 500,))
            if min(LogReader(log).first_index for log in logs) > 3:
                break
        late = await session.write("INSERT INTO dice VALUES (2, random())")
        found = await locate(cluster, await cluster.converged())
    by_key = {value.key: value for value in found.values}
    assert (by_key["id=2"].position, by_key["id=2"].cause) == (late.position, "random")
    assert found.first_entry > 3
    assert (by_key["id=1"].position, by_key["id=1"].cause) == (None, "")
    assert by_key["id=1"].reason.startswith(f"not touched since entry {found.first_entry}, where the known part")
    assert any("could be followed only from the snapshot" in note for note in found.notes)
