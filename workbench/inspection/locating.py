"""Locating a divergence: which tables differ, in which rows, and which entry of the log made them differ.

Three steps: the digests name the tables; the rows of these are read from every replica, in key order and in pages, and
compared (`comparing.py`); the log of one replica is executed again in a database of its own, and the newest entry that
touched a differing row is noted (`tracing.py`). What the values are stands in `divergence.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from workbench.cluster.status import left_out
from workbench.errors import OperationError, StatementError, WorkbenchError
from workbench.inspection.causes import cause_of, unsafe_causes
from workbench.inspection.comparing import Reader, RowDifference, TableShape, Values, all_same, compare_table, shape_of
from workbench.inspection.divergence import ABSENT, WHOLE_ROW, WHOLE_TABLE, DivergedTable, DivergedValue, Divergence
from workbench.inspection.replica_files import ReplicaFiles
from workbench.inspection.tracing import Touch, Trace, trace_rows
from workbench.inspection.value_text import literal, pairs, shortened
from workbench.storage.digest import SCHEMA_KEY
from workbench.storage.log_reader import LogReader

if TYPE_CHECKING:
    from workbench.client.session import Session
    from workbench.cluster.cluster import Cluster
    from workbench.cluster.status import ConvergenceReport

ROWS_MAX: Final = 200
"""Differing rows that are named, all tables together; that there are more is said."""
_ROW_CHARACTERS_MAX = 160

_SCHEMA = """
    SELECT type || ' ' || name, sql FROM sqlite_schema
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT GLOB '_workbench_*' ORDER BY 1"""


async def locate(cluster: Cluster, report: ConvergenceReport, *, rows_max: int = ROWS_MAX) -> Divergence:
    """Find the rows in which the replicas of `report`, which has digests, differ, and the entries that did it.

    Raises nothing for what cannot be found out, such as the rows of a replica that does not answer: that is said in
    the result.
    """
    session = await cluster.session(read_policy="leader")
    finding = _Finding(session, report, rows_max)
    await finding.compare()
    files = _longest_log([ReplicaFiles(name, cluster.directory / "replicas" / name) for name in report.digests])
    trace = Trace()
    if files is not None and finding.differences:
        wanted = [(one.shape.name, one.key) for one in finding.differences]
        shapes = {one.shape.name: one.shape for one in finding.differences}
        unsafe = cluster.config.unsafe
        trace = await asyncio.to_thread(trace_rows, files, shapes.values(), wanted, unsafe_causes, unsafe=unsafe)
    return Divergence(
        reference=finding.reference,
        replicas=tuple(report.digests),
        tables=tuple(finding.tables),
        values=(*finding.values, *_row_values(finding.differences, trace)),
        entries=max((position.index for position in report.positions.values()), default=0),
        first_entry=trace.first_entry,
        notes=(*finding.notes, *trace.notes),
    )


class _Finding:
    """What the reads from the replicas have brought to light so far."""

    def __init__(self, session: Session, report: ConvergenceReport, rows_max: int) -> None:
        self._report = report
        self._rows_max = rows_max
        self._left_out = {name: left_out(digests) for name, digests in report.digests.items()}
        whole = [name for name, tables in self._left_out.items() if not tables]
        self.reference = next(iter([*whole, *report.digests]), "")
        self._readers = {name: _reader(session, name) for name in report.digests}
        self.tables: list[DivergedTable] = []
        self.values: list[DivergedValue] = []
        """Whole tables, and differences of the schema."""
        self.differences: list[RowDifference] = []
        self.notes: list[str] = []

    async def compare(self) -> None:
        for table in self._differing():
            try:
                await (self._compare_schema() if table == SCHEMA_KEY else self._compare_table(table))
            except OperationError as error:
                self.tables.append(self._table(table, 0, f"its rows could not be read: {error.message}"))

    def _differing(self) -> list[str]:
        names = sorted({name for tables in self._report.digests.values() for name in tables})
        return [name for name in names if len(set(self._digests(name).values())) > 1]

    def _digests(self, table: str) -> dict[str, str | None]:
        """Replica -> digest of `table`, for those that have something to compare."""
        return {
            replica: tables.get(table)
            for replica, tables in self._report.digests.items()
            if table not in self._left_out[replica]
        }

    def _table(self, name: str, rows: int, note: str = "") -> DivergedTable:
        digests = self._digests(name)
        common = digests.get(self.reference)
        differing = tuple(replica for replica, digest in digests.items() if digest != common)
        return DivergedTable(name=name, replicas=differing, rows=rows, note=note)

    async def _compare_table(self, name: str) -> None:
        readers = {replica: self._readers[replica] for replica in self._digests(name)}
        shapes = {replica: await shape_of(read, name) for replica, read in readers.items()}
        known = [shape for shape in shapes.values() if shape is not None]
        if not known:
            self.tables.append(self._table(name, 0, "its columns could not be read"))
            return
        if len(known) < len(shapes) or len({shape.columns for shape in known}) > 1:
            values = {
                replica: ABSENT if shape is None else f"{name} ({', '.join(shape.columns)})"
                for replica, shape in shapes.items()
            }
            self.values.append(DivergedValue(table=name, key="", column=WHOLE_TABLE, values=values))
            note = "not every replica has it" if len(known) < len(shapes) else "its columns are not the same everywhere"
            self.tables.append(self._table(name, 0, note))
            return
        room = self._rows_max - len(self.differences)
        if room < 1:
            self.tables.append(
                self._table(name, 0, f"not compared: {self._rows_max:,} differing rows were found before")
            )
            return
        shape = shapes.get(self.reference) or known[0]
        try:
            found, note = await compare_table(readers, shape, room)
        except StatementError:
            if shape.told_by != "rowid":
                raise
            # Another engine may know no such rowid: rows are told apart as a whole then.
            found, note = await compare_table(readers, replace(shape, key=shape.columns, told_by="row"), room)
        if not found and not note:
            note = "the rows are equal, in another order or of other types than the digest takes for equal"
        self.differences += found
        self.tables.append(self._table(name, len(found), note))

    async def _compare_schema(self) -> None:
        schemas = {
            replica: {str(key): literal(sql) for key, sql in await read(_SCHEMA, ())}
            for replica, read in self._readers.items()
            if replica in self._digests(SCHEMA_KEY)
        }
        names = sorted({name for schema in schemas.values() for name in schema})
        count = 0
        for name in names:
            values = {replica: schema.get(name, ABSENT) for replica, schema in schemas.items()}
            if len(set(values.values())) > 1:
                count += 1
                self.values.append(DivergedValue(table=SCHEMA_KEY, key=name, column="sql", values=values))
        self.tables.append(self._table(SCHEMA_KEY, count))


def _reader(session: Session, replica: str) -> Reader:
    async def read(sql: str, parameters: Sequence[object]) -> Sequence[Values]:
        try:
            return (await session.read(sql, parameters, replica=replica)).rows  # type: ignore[arg-type]
        except StatementError:
            raise
        except OperationError as error:
            raise type(error)(f"{replica}: {error.message}") from error

    return read


def _longest_log(candidates: Iterable[ReplicaFiles]) -> ReplicaFiles | None:
    """The replica whose log reaches back furthest."""
    reaching: list[tuple[int, ReplicaFiles]] = []
    for one in candidates:
        try:
            reaching.append((LogReader(one.log).first_index, one))
        except WorkbenchError:
            continue
    return min(reaching, key=lambda pair: pair[0])[1] if reaching else None


def _row_values(differences: Sequence[RowDifference], trace: Trace) -> list[DivergedValue]:
    found: list[DivergedValue] = []
    for one in differences:
        shape = one.shape
        key = pairs(shape.key_names, one.key) if shape.told_by != "row" else shortened(pairs(shape.key, one.key), 80)
        touch, remark = _touch_of(one, trace)
        for column, values in _differing_values(one):
            unsafe = cause_of(touch.unsafe, shape.name, column) if touch else None
            found.append(
                DivergedValue(
                    table=shape.name,
                    key=key,
                    column=column,
                    values=values,
                    position=touch.position if touch else None,
                    statement=touch.statement if touch else "",
                    cause=str(unsafe.cause) if unsafe else "",
                    reason="; ".join(part for part in (unsafe.sentence if unsafe else "", remark) if part),
                )
            )
    return found


def _differing_values(one: RowDifference) -> list[tuple[str, dict[str, str]]]:
    """Column -> the value on each replica; the whole row where some replica has none."""
    if any(row is None for row in one.rows.values()):
        whole = {name: ABSENT if row is None else _row_text(one.shape, row) for name, row in one.rows.items()}
        return [(WHOLE_ROW, whole)]
    found = []
    for place, column in enumerate(one.shape.columns):
        cells = {name: row[place] for name, row in one.rows.items() if row is not None}
        if not all_same(list(cells.values())):
            found.append((column, {name: literal(value) for name, value in cells.items()}))
    return found


def _row_text(shape: TableShape, row: Values) -> str:
    return shortened(pairs(shape.columns, row), _ROW_CHARACTERS_MAX)


def _touch_of(one: RowDifference, trace: Trace) -> tuple[Touch | None, str]:
    """The entry that is to blame for a differing row, and what is to be said of it; or why that is not known."""
    table = one.shape.name
    touch, guess = trace.touches.get((table, one.key)), trace.guesses.get(table)
    if touch is None:
        guess = trace.insertions.get(table, guess)
        if guess is not None and (table, one.key) not in trace.existed:
            return guess, "executed again it made other rows: this is the newest unsafe statement on the table"
        if trace.first_entry > 1:
            return None, f"not touched since entry {trace.first_entry}, where the known part of the log begins"
        return None, "no entry of the log was seen to touch it" if trace.last_entry else "the log could not be read"
    if touch.unsafe:
        return touch, ""
    if not touch.statement:
        return touch, "the entry carries the row as the leader had it: it was changed outside of the log"
    if guess is not None and guess.position >= touch.position:
        return guess, "executed again it chose other rows: this is the newest unsafe statement on the table"
    return touch, "safe in itself: what it read differed before"
