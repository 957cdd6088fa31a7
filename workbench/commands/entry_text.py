"""What an entry changes, in lines for a terminal: SQL as it is, rows as `INSERT t: id=1, x='a'`, pages by number.

Lines are cut at a bound, and say how much was left out; `--json` of the commands leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from workbench.inspection.value_text import shortened, value_text
from workbench.log_formats.describing import Described

LINE_CHARACTERS_MAX: Final = 400
LINES_MAX: Final = 12
"""Lines of one entry."""


def content_lines(content: Sequence[Described], lines_max: int = LINES_MAX) -> list[str]:
    """The lines of one entry, at most `lines_max`, the last of which says what is left out."""
    lines = [shortened(line, LINE_CHARACTERS_MAX) for part in content[: lines_max + 1] for line in part_lines(part)]
    hidden = len(content) - lines_max
    if len(content) > lines_max + 1 or len(lines) > lines_max + 1:
        lines = lines[:lines_max]
        lines.append(f"... and {max(hidden, 1):,} more of {len(content):,}: {_counted(content[lines_max:])}")
    return lines


def part_lines(part: Described) -> Iterator[str]:
    """The lines of one statement, row or set of pages."""
    match part:
        case {"sql": str(sql)}:
            yield _statement(sql, part)
        case {"pinned_time": time, "seed": seed}:
            pinned = [f"{word} {value}" for word, value in (("time", time), ("seed", seed)) if value]
            yield f"pinned: {', '.join(pinned)}"
        case {"table": table, "operation": operation}:
            yield f"{operation} {table}: {_row(part)}"
        case {"table": table, "unknown": reason}:
            yield f"rows of {table}: {reason}"
        case {"unknown": reason}:
            yield str(reason)
        case {"schema": name}:
            old, new = _one_line(part.get("old")), _one_line(part.get("new"))
            yield f"changed: {old} → {new}" if old and new else f"created: {new}" if new else f"dropped: {old or name}"
        case {"pages": list(numbers), "database_pages": total}:
            yield _pages(numbers, total, part.get("page_size"))
        case {"members": list(names)}:
            yield f"members: {', '.join(map(str, names))}"
        case {"expires_up_to": index}:
            yield f"forgets the sessions that wrote last at or before entry {index}"
        case {"sequences": dict(rows)}:
            yield "sqlite_sequence: " + ", ".join(f"{name}={value_text(value)}" for name, value in rows.items())
        case _:
            yield ", ".join(f"{name}: {value_text(value)}" for name, value in part.items())


def number_ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, runs of them as `3-7`."""
    found = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        found.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ", ".join(found)


def _statement(sql: str, part: Described) -> str:
    parameters = part.get("parameters")
    text = _one_line(sql)
    if isinstance(parameters, list) and parameters:
        text += "   with " + ", ".join(map(value_text, parameters))
    return text


def _row(part: Described) -> str:
    old, new = part.get("old"), part.get("new")
    old, new = (old if isinstance(old, dict) else {}), (new if isinstance(new, dict) else {})
    if not (old and new):
        return ", ".join(f"{name}={value_text(value)}" for name, value in (new or old).items())
    pairs = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name in new and name in old and not _same(old[name], new[name]):
            pairs.append(f"{name}: {value_text(old[name])} → {value_text(new[name])}")
        elif name in new and name not in old:
            pairs.append(f"{name}: → {value_text(new[name])}")
        else:
            pairs.append(f"{name}={value_text(old[name])}")
    return ", ".join(pairs)


def _same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def _pages(numbers: list[Any], total: object, page_size: object) -> str:
    if not numbers:
        return "no page"
    size = f" ({page_size:,} bytes each)" if isinstance(page_size, int) else ""
    listed = shortened(number_ranges(numbers), LINE_CHARACTERS_MAX)
    return f"{'page' if len(numbers) == 1 else 'pages'} {listed} of {total}{size}"


def _counted(parts: Sequence[Described]) -> str:
    """What is left out, by kind: `1,200 INSERT t, 3 statements`."""
    counts: dict[str, int] = {}
    for part in parts:
        name = (
            f"{part['operation']} {part['table']}" if "operation" in part else "statement" if "sql" in part else "other"
        )
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1])[:5])


def _one_line(text: object) -> str:
    """SQL without its line breaks: only for reading, since strings lose theirs, too."""
    return " ".join(str(text).split()) if text is not None else ""
