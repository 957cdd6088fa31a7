"""What the disk of a crashed replica says of its own position, read from its files without touching them."""

from __future__ import annotations

from pathlib import Path

from workbench.protocol.values import Position
from workbench.storage.log_segment import decode_header, scan_records, segment_seed


def log_end(directory: Path) -> Position:
    """Position of the last whole entry of the replication log in `directory`, whose process has ended.

    `Position()` for a log that does not exist yet. A torn record at the end does not count: recovery cuts it.
    """
    for path in sorted(directory.glob("*.log"), reverse=True):
        data = path.read_bytes()
        header = decode_header(data)
        if header is None:  # the crash came before the new segment's header was whole
            continue
        scan = scan_records(
            data, seed=segment_seed(data), first_index=header.first_index, previous_term=header.previous_term
        )
        term = scan.terms[-1][1] if scan.terms else header.previous_term
        return Position(term, header.first_index - 1 + len(scan.offsets))
    return Position()
