"""A SQL script becomes the client transactions that SQLite would see in it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigurationError
from workbench.workloads import sql_script
from workbench.workloads.sql_script import (
    ScriptStatement,
    ScriptTransaction,
    check_script,
    read_script,
    split_statements,
)


def split(text: str) -> list[tuple[int, str]]:
    return [(statement.line, statement.sql) for statement in split_statements(StringIO(text, newline="\n"))]


def read(path: Path, content: str | bytes, **options: int) -> list[ScriptTransaction]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_script(path, **options))


TRIGGER = """CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN
  SELECT CASE WHEN 1 THEN 2 END; -- END;
  UPDATE a SET x = 'END;'; /* ; */
END"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1; SELECT 2;", [(1, "SELECT 1"), (1, "SELECT 2")]),
        ("\n\n SELECT\n 1\n;;; ;", [(3, "SELECT\n 1")]),
        ("SELECT 'a;b', 'it''s;', \"x;\"\"y\", `z;`, [w;];", [(1, "SELECT 'a;b', 'it''s;', \"x;\"\"y\", `z;`, [w;]")]),
        ("SELECT 'a\n;--\n/*';\nSELECT 2;", [(1, "SELECT 'a\n;--\n/*'"), (4, "SELECT 2")]),
        ("-- one;\n/* two;\n*/ SELECT 1 -- three;\n, 2 /*;*/ -- four\n; -- five", [(3, "SELECT 1 -- three;\n, 2")]),
        ("SELECT 1-1, 4/2, a->>'$;' FROM t;", [(1, "SELECT 1-1, 4/2, a->>'$;' FROM t")]),
        ("SELECT '--'; SELECT '/*'; SELECT 3;", [(1, "SELECT '--'"), (1, "SELECT '/*'"), (1, "SELECT 3")]),
        ("SELECT /*/ ; /*/ 1;", [(1, "SELECT /*/ ; /*/ 1")]),
        (TRIGGER + ";\nSELECT 1;", [(1, TRIGGER), (5, "SELECT 1")]),
        ("CREATE TABLE trigger_end (x); SELECT 1;", [(1, "CREATE TABLE trigger_end (x)"), (1, "SELECT 1")]),
        (
            "CREATE TRIGGER t BEGIN SELECT 1; END x; SELECT 2; END;",
            [(1, "CREATE TRIGGER t BEGIN SELECT 1; END x; SELECT 2; END")],
        ),
        ("INSERT INTO t VALUES ('grüße; 😀');", [(1, "INSERT INTO t VALUES ('grüße; 😀')")]),
        ("SELECT 'a\r\nb';\r\nSELECT 2;\r\n", [(1, "SELECT 'a\r\nb'"), (3, "SELECT 2")]),
        ("", []),
        (" -- nothing\n", []),
    ],
)
def test_statements_end_where_sqlite_says_so(text: str, expected: list[tuple[int, str]]) -> None:
    assert split(text) == expected
    assert all(apsw.complete(sql + ";") for _, sql in expected)


QUOTED = ["'a;b'", "''''", '"x;"', '"a""b"', "`q;`", "[w;]", "/* c; */", "-- c;'\n", "'ü\n;'", "\n", "\t"]
OTHER = [
    "(",
    ")",
    ",",
    "-",
    "/",
    "*",
    ".",
    "=",
    "->>",
    "1.5e3",
    "$a",
    "x1",
    "é",
    "begin",
    "end",
    "case",
    "create",
    "temp",
]
FRAGMENTS = st.sampled_from([*QUOTED, *OTHER, "trigger"])
PLAIN = st.tuples(
    st.sampled_from(["SELECT", "insert", "Create table", "UPDATE", "explain", "with", "begin", "END"]),
    st.lists(FRAGMENTS, max_size=8),
).map(lambda parts: " ".join((parts[0], *parts[1])))
TRIGGERS = st.tuples(
    st.sampled_from(["create trigger", "explain CREATE temp /*;*/ TRIGGER"]), st.lists(PLAIN, min_size=1, max_size=3)
).map(lambda parts: f"{parts[0]} t begin {'; '.join(parts[1])}\n; end")


@given(st.lists(st.one_of(PLAIN, TRIGGERS), max_size=6))
def test_joining_and_splitting_again_gives_the_same(statements: list[str]) -> None:
    """And SQLite agrees that each one is complete, and not complete anywhere before."""
    try:
        first = split("\n;".join(statements) + "\n;")
    except ConfigurationError:
        assert not apsw.complete("\n;".join(statements) + "\n;")
        return
    assert [sql for _, sql in split(";".join(sql for _, sql in first) + ";")] == [sql for _, sql in first]
    for _, sql in first:
        assert apsw.complete(sql + ";")
        assert not any(apsw.complete(sql[: at + 1]) for at, character in enumerate(sql) if character == ";")


@given(st.text(alphabet="aE;'\"`[]-/* \nCRTbgin.é", max_size=40))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        statements = split("SELECT " + text)
    except ConfigurationError:
        return
    assert all(apsw.complete(sql + ";") for _, sql in statements)


# ------------------------------------------------------------------------------------------------- transactions


def test_begin_and_commit_group_statements(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE t (x);\nBEGIN;\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (';');\nCOMMIT;\n"
        "begin immediate transaction; INSERT INTO t VALUES (3); end transaction;\n"
        "BEGIN /* dropped */ TRANSACTION;\nDELETE FROM t;\nROLLBACK;\nBEGIN; COMMIT;\nSELECT 1;"
    )
    assert read(tmp_path / "a.sql", script) == [
        ScriptTransaction(1, (ScriptStatement(1, "CREATE TABLE t (x)"),)),
        ScriptTransaction(
            2, (ScriptStatement(3, "INSERT INTO t VALUES (1)"), ScriptStatement(4, "INSERT INTO t VALUES (';')"))
        ),
        ScriptTransaction(6, (ScriptStatement(6, "INSERT INTO t VALUES (3)"),)),
        ScriptTransaction(11, (ScriptStatement(11, "SELECT 1"),)),
    ]
    assert check_script(tmp_path / "a.sql") == (4, 5)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + "SELECT 'é';\r\n\r\nSELECT 2;\r\n".encode()
    expected = [
        ScriptTransaction(1, (ScriptStatement(1, "SELECT 'é'"),)),
        ScriptTransaction(3, (ScriptStatement(3, "SELECT 2"),)),
    ]
    assert read(tmp_path / "a.sql", content) == expected


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("SELECT 1;\nSELECT 2", 2, "never ends"),
        ("SELECT 1;\n\nSELECT\n 'abc;\n;", 4, "a string begins here"),
        ('SELECT\n "abc;', 2, "quoted name begins here"),
        ("SELECT 1; /*\n;", 1, "a comment begins here"),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN\nSELECT 1;\n", 1, "END;"),
        ("SELECT 1;\nBEGIN;\nSELECT 2;", 2, "a transaction begins here that never ends"),
        ("BEGIN;\nSELECT 1;\nBEGIN;", 3, "began in line 1"),
        ("SELECT 1;\nCOMMIT;", 2, "COMMIT without a BEGIN"),
        ("END;", 1, "END without a BEGIN"),
        ("\nROLLBACK;", 2, "ROLLBACK without a BEGIN"),
        ("BEGIN;\nSAVEPOINT a;", 2, "SAVEPOINT is not supported"),
        ("BEGIN;\nrelease a;", 2, "RELEASE is not supported"),
        ("BEGIN; SELECT 1;\nROLLBACK TO a;", 2, "not supported: ROLLBACK TO A"),
        ("BEGIN SELECT 1;", 1, "not supported: BEGIN SELECT"),
        ("SELECT 1;\n.mode csv\n", 2, "sqlite3 shell"),
        ("name,age\nAnna,7\n", 1, "no SQL statement begins with 'name'"),
        ("SELECT 1;\n'x';", 2, "no SQL statement begins with"),
        ('{"json": true}', 1, "no SQL statement"),
        (b"SELECT 1;\nSELECT '\xe9';", 2, "not UTF-8: byte 0xe9 at column 9"),
        ("SELECT 1;".encode("utf-16"), 1, "not UTF-8"),
        (b"SELECT 1;\nSELECT '\0';", 2, "a NUL byte"),
        (b"SQLite format 3\0", 1, "a NUL byte"),
    ],
)
def test_a_mistake_names_its_file_and_line(tmp_path: Path, content: str | bytes, line: int, message: str) -> None:
    path = tmp_path / "bad.sql"
    with pytest.raises(ConfigurationError) as caught:
        read(path, content)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_comes_before_a_mistake_is_read_first(tmp_path: Path) -> None:
    path = tmp_path / "a.sql"
    path.write_text("SELECT 1;\nSELECT 'open")
    script = read_script(path)
    assert next(script).line == 1
    with pytest.raises(ConfigurationError):
        next(script)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("SELECT 1;\nSELECT '" + "x" * 100 + "';", 2),
        ("SELECT 1;\nSELECT '" + "x\n" * 100, 2),
        ("BEGIN;\n" + "SELECT 12345678;\n" * 10 + "COMMIT;", 1),
    ],
)
def test_a_transaction_beyond_the_bound_is_refused(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(ConfigurationError, match=rf":{line}: .* more than 60 bytes"):
        read(tmp_path / "a.sql", content, transaction_bytes_max=60)


def test_a_line_beyond_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_script, "LINE_BYTES_MAX", 20)
    with pytest.raises(ConfigurationError, match=":2: a line of more than 20 bytes"):
        read(tmp_path / "a.sql", "SELECT 1234567890;\r\nSELECT 1234567890123;\n")


def test_a_missing_script_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*: No such file"):
        check_script(tmp_path / "none.sql")
