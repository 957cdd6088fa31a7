"""The file of rows that a load generator streams: nothing is lost, and nothing half-written passes as whole."""

import subprocess
import sys

import msgspec
import pytest

from workbench.errors import HistoryError
from workbench.history import read_operations
from workbench.operation_rows import (
    COLUMNS,
    ROWS_VERSION,
    OperationRow,
    OperationRowsWriter,
    read_new_rows,
    read_rows,
    read_rows_header,
)

ROWS = [
    OperationRow(operation=1, kind="write", key="k", value=2**62 + 1, outcome="ok", invoked_ns=5, completed_ns=9),
    OperationRow(operation=2, kind="read", key="ключ\n", outcome="info", error='a "timeout"', invoked_ns=6),
    OperationRow(
        operation=3, kind="write", key="k", value=-3, outcome="fail", intended_ns=7, identifier=2**47, sequence=4
    ),
]


def test_fields_are_the_columns():
    assert [field.name for field in msgspec.structs.fields(OperationRow)] == [column.name for column in COLUMNS]


def test_rows_come_back_as_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path) as writer:
        writer.write(ROWS[0])
        writer.write_many(ROWS[1:])
    assert read_rows(path) == ROWS
    frame = read_operations(path)
    assert frame["value"].tolist()[0] == 2**62 + 1
    assert frame["value"].isna().tolist() == [False, True, False]
    assert frame["completed_ns"].isna().tolist() == [False, True, True]


def test_the_header_can_be_read_while_the_file_is_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path, start_ns=2**61):
        assert read_rows_header(path) == (ROWS_VERSION, 2**61)
    assert read_rows_header(path).start_ns == 2**61
    with OperationRowsWriter(path):
        pass
    assert read_rows_header(path).start_ns == 0


def test_rows_can_be_followed_while_they_are_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path) as writer:
        rows, offset = read_new_rows(path)
        assert rows == []
        writer.write(ROWS[0])
        writer.flush()
        rows, offset = read_new_rows(path, offset)
        assert rows == ROWS[:1]
        assert read_new_rows(path, offset) == ([], offset)
        writer.write_many(ROWS[1:])
    with path.open("ab") as file:
        file.write(b'[4,"torn')
    assert read_new_rows(path, offset)[0] == ROWS[1:]


def test_a_row_after_a_pause_can_be_read_at_once(tmp_path):
    now = [0]
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path, now_ns=lambda: now[0]) as writer:
        now[0] += 1_000_000_000
        writer.write(ROWS[0])
        assert read_new_rows(path)[0] == ROWS[:1]


def test_a_header_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    for line in (b"", b"[]\n", b'{"rows_version": 1}\n', path.name.encode()):
        path.write_bytes(line)
        with pytest.raises(HistoryError, match="line 1"):
            read_rows_header(path)
    with pytest.raises(HistoryError, match="No such file"):
        read_rows_header(tmp_path / "absent")


def test_no_rows(tmp_path):
    with OperationRowsWriter(tmp_path / "rows.jsonl"):
        pass
    assert read_operations(tmp_path / "rows.jsonl").empty


def test_file_of_a_dead_writer_is_refused_or_read_in_part(tmp_path):
    path = tmp_path / "rows.jsonl"

    def die():
        with OperationRowsWriter(path) as writer:
            writer.write_many(ROWS)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die()
    with pytest.raises(HistoryError, match="footer is missing"):
        read_rows(path)
    assert read_rows(path, partial=True) == ROWS
    path.write_bytes(path.read_bytes()[:-5])  # torn within the last row
    assert read_rows(path, partial=True) == ROWS[:2]


def test_every_cut_of_the_file_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path) as writer:
        writer.write_many(ROWS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(HistoryError):
            read_rows(path)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'[3,"",0,"delete","k",1,"ok","","",0,0,0,1,2,3]', "line 3: not an operation"),
        (b'[3,"",0,"write","k",1.5,"ok","","",0,0,0,1,2,3]', "line 3: not an operation"),
        (b"{}", "line 3: not an operation"),
        (b'\xff"', "line 3: not an operation"),
    ],
)
def test_bad_line_is_named(tmp_path, line, what):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path) as writer:
        writer.write_many(ROWS)
    lines = path.read_bytes().split(b"\n")
    lines[2] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(HistoryError, match=what):
        read_rows(path)


def test_missing_row_and_foreign_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    with OperationRowsWriter(path) as writer:
        writer.write_many(ROWS)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:2] + lines[3:]))
    with pytest.raises(HistoryError, match="states 3 rows, but there are 2"):
        read_rows(path)
    path.write_bytes(b'{"rows_version": 99}\n{"rows": 0}\n')
    with pytest.raises(HistoryError, match="line 1"):
        read_rows(path)
    with pytest.raises(HistoryError, match="No such file"):
        read_rows(tmp_path / "absent")


def test_the_writer_needs_no_pandas():
    code = "import sys, workbench.operation_rows; sys.exit('pandas' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
