"""Workloads in which every operation touches one row, as SQL for the load generator.

`registers`: keys that hold one value each; every value written to a key is new. `inserts`: every write adds a row, and
every read looks at the newest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WorkloadName = Literal["registers", "inserts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The SQL of a workload. `write` takes key, value and payload; `read` takes the key and returns a value."""

    drop_table: str
    create_table: str
    write: str
    read: str


WORKLOADS: dict[WorkloadName, Workload] = {
    "registers": Workload(
        drop_table="DROP TABLE IF EXISTS registers",
        create_table="CREATE TABLE registers (key TEXT PRIMARY KEY, value INTEGER, payload BLOB)",
        write="INSERT INTO registers VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, payload = excluded.payload",
        read="SELECT value FROM registers WHERE key = ?",
    ),
    "inserts": Workload(
        drop_table="DROP TABLE IF EXISTS inserts",
        create_table="CREATE TABLE inserts (id INTEGER PRIMARY KEY, key TEXT, value INTEGER, payload BLOB)",
        write="INSERT INTO inserts (key, value, payload) VALUES (?, ?, ?)",
        read="SELECT value FROM inserts WHERE ? IS NOT NULL ORDER BY id DESC LIMIT 1",
    ),
}
