"""Whether all replicas hold the same rows, by the digests of their tables.

The witness has one row a table that differs and a distinct digest, with the replicas that have it; the digest is
None where the table is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.checkers.verdict import Verdict

Digests = Mapping[str, Mapping[str, str]]
"""Replica -> table -> digest."""


def convergence(digests: Digests) -> Verdict:
    """Valid if every table has one digest on all replicas; unknown with fewer than two replicas or without tables."""
    tables = sorted({table for of_replica in digests.values() for table in of_replica})
    counts = {"replicas": len(digests), "tables": len(tables)}
    if len(digests) < 2:
        return Verdict("unknown", f"{len(digests)} replicas, two are needed to compare", (), counts)
    if not tables:
        return Verdict("unknown", "no replica has a table", (), counts)
    witness: list[dict[str, Any]] = []
    differing = []
    for table in tables:
        holders: dict[str | None, list[str]] = {}
        for replica in sorted(digests):
            holders.setdefault(digests[replica].get(table), []).append(replica)
        if len(holders) > 1:
            differing.append(table)
            largest_first = sorted(holders.items(), key=lambda item: (-len(item[1]), item[1]))
            witness += [{"table": table, "digest": digest, "replicas": names} for digest, names in largest_first]
    if differing:
        odd = ", ".join(sorted({name for row in witness for name in row["replicas"]}))
        reason = f"table {', '.join(differing)} differs among {odd}"
        return Verdict("invalid", reason, tuple(witness), counts | {"tables_differing": len(differing)})
    return Verdict("valid", f"{len(tables)} tables are equal on {len(digests)} replicas", (), counts)
