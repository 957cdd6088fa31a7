"""What a replica's log holds at the end of an experiment, read from its files without touching them."""

from __future__ import annotations

from pathlib import Path

from workbench.protocol.codec import decode_entry
from workbench.storage.log_segment import RECORD_BYTES, decode_header, scan_records, segment_seed


def writes_in_log(directory: Path) -> frozenset[tuple[int, int]] | None:
    """(identifier, sequence) of every write in the replication log in `directory`, which nobody writes any more.

    None for a log that does not tell all, since a snapshot covers its beginning.
    """
    writes: set[tuple[int, int]] = set()
    paths = sorted(directory.glob("*.log"))
    for path in paths:
        data = path.read_bytes()
        header = decode_header(data)
        if header is None or (path is paths[0] and header.first_index != 1):
            return None
        scan = scan_records(
            data, seed=segment_seed(data), first_index=header.first_index, previous_term=header.previous_term
        )
        ends = [*scan.offsets[1:], scan.end]
        for begin, end in zip(scan.offsets, ends, strict=True):
            entry = decode_entry(data[begin + RECORD_BYTES : end]).entry
            writes.update((member.session, member.sequence) for member in entry.members)
    return frozenset(writes)
