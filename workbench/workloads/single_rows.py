"""Workloads in which every operation touches one row, as SQL for the load generator.

`registers`: keys that hold one value each; every value written to a key is new. `inserts`: every write adds a row, and
every read looks at the newest one. `appends`: every write adds a row of its key, and a read returns the key's newest
value, so that histories are those of registers; but nothing is ever overwritten, so at the end it is exact which
acknowledged values are absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WorkloadName = Literal["registers", "inserts", "appends"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The SQL of a workload. `write` takes key, value and payload; `read` takes the key and returns a value; `contents`
    lists key and value of all that is there."""

    drop_table: str
    create_table: str
    write: str
    read: str
    contents: str


WORKLOADS: dict[WorkloadName, Workload] = {
    "registers": Workload(
        drop_table="DROP TABLE IF EXISTS registers",
        create_table="CREATE TABLE registers (key TEXT PRIMARY KEY, value INTEGER, payload BLOB)",
        write="INSERT INTO registers VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, payload = excluded.payload",
        read="SELECT value FROM registers WHERE key = ?",
        contents="SELECT key, value FROM registers",
    ),
    "inserts": Workload(
        drop_table="DROP TABLE IF EXISTS inserts",
        create_table="CREATE TABLE inserts (id INTEGER PRIMARY KEY, key TEXT, value INTEGER, payload BLOB)",
        write="INSERT INTO inserts (key, value, payload) VALUES (?, ?, ?)",
        read="SELECT value FROM inserts WHERE ? IS NOT NULL ORDER BY id DESC LIMIT 1",
        contents="SELECT key, value FROM inserts",
    ),
    "appends": Workload(
        drop_table="DROP TABLE IF EXISTS appends",
        create_table="CREATE TABLE appends (id INTEGER PRIMARY KEY, key TEXT, value INTEGER, payload BLOB, "
        "UNIQUE (key, id))",  # the index that reads use
        write="INSERT INTO appends (key, value, payload) VALUES (?, ?, ?)",
        read="SELECT value FROM appends WHERE key = ? ORDER BY id DESC LIMIT 1",
        contents="SELECT key, value FROM appends",
    ),
}
