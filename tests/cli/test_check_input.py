"""Bad histories, one after the other, given to every check: one clear line that names the line, exit code 2."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Called
from workbench.commands.check import CHECKS
from workbench.history_operations import Operation
from workbench.history_tables import to_frame

Call = Callable[..., Called]

EXAMPLE = Path(__file__).resolve().parents[2] / "data" / "examples" / "split_brain"


def line(kind: str = "invoke", *, f: str = "read", process: Any = 0, **more: Any) -> str:
    event = {"process": process, "type": kind, "f": f, "key": "x", "value": None, "time_ns": 0}
    return json.dumps(event | more)


def lines(*texts: str) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


BAD = {
    "not JSON": (b"hello\n", "line 1: not an event"),
    "a torn line": (lines(line(), line("ok")[:-9]), "line 2: not an event"),
    "NaN": (lines(line(), line("ok", value=float("nan"))), "JSON has no NaN and no Infinity"),
    "infinity": (lines(line(), line("ok", value=float("inf"))), "JSON has no NaN and no Infinity"),
    "a process that is text": (lines(line(process="0")), "Expected `int`, got `str` - at `$.process`"),
    "a time with a fraction": (lines(line(time_ns=1.5)), "Expected `int`, got `float` - at `$.time_ns`"),
    "no time": (lines('{"process": 0, "type": "invoke", "f": "read", "key": "x", "value": null}'), "`time_ns`"),
    "a huge time": (lines(line(time_ns=2**80)), "line 1: not an event: Expected `int` <= "),
    "a huge process": (lines(line(process=2**64)), "line 1: not an event: Expected `int` <= "),
    "a position below zero": (lines(line(), line("ok", index=-1)), "line 2: not an event: Expected `int` >= 0"),
    "an unknown f": (lines(line(f="append")), "line 1: f is 'append' (this history holds read, "),
    "an unknown type": (lines(line("begin")), "Invalid enum value 'begin' - at `$.type`"),
    "two open operations": (lines(line(), line()), "line 2: process 0 invokes while its earlier operation is open"),
    "a process after info": (lines(line(), line("info"), line()), "line 3: process 0 invokes while"),
    "an end without a beginning": (lines(line("fail")), "line 1: process 0 has no open operation to end with fail"),
    "time that runs backwards": (lines(line(time_ns=9), line("fail", time_ns=3)), "line 2: completed before"),
    "another key": (lines(line(), line("fail", key="y")), "line 2: read of 'y' ends read of 'x'"),
    "a result of a read": (lines(line(), line("ok", value=None, result=True)), "line 2: a result of read ok"),
    "a key that is null": (lines(line(key=None)), "Expected `str`, got `null` - at `$.key`"),
    "a list as the value of a read": (lines(line(), line("ok", value=[1])), "line 2: "),
    "a number used twice": (lines(line(operation=1), line(process=1, operation=1)), "line 2: operation 1 was invoked"),
    "nested without end": (b"[" * 100_000 + b"\n", "line 1: not an event"),
    "half a surrogate": (lines(line(key="\ud800")), "line 1: not an event"),
    "a byte order mark": (b"\xef\xbb\xbf" + lines(line()), "save it as UTF-8 without one"),
    "UTF-16": ((line() + "\n").encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
    "Latin-1": (line(replica="\u00fc").replace("\\u00fc", "\u00fc").encode("latin-1"), "line 1: not an event"),
    "gzip": (gzip.compress(lines(line())), "the file is compressed: unpack it first"),
    "binary": (bytes(range(256)), "line 1: not an event"),
    "one array": (b"[" + lines(line())[:-1] + b"]\n", "one object a line (JSON Lines)"),
    "one object over many lines": (json.dumps(json.loads(line()), indent=1).encode(), "one object a line (JSON Lines)"),
    "a value too long to show": (lines(line(), line("ok", value=["a" * 9_999])), "line 2: "),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named(call: Call, name: str, check: str) -> None:
    content, what = BAD[name]
    Path("h.jsonl").write_bytes(content)
    refused(call("check", check, "h.jsonl"), what)


def refused(called: Called, what: str) -> None:
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("error: ")
    assert what in called.err
    assert called.err.count("\n") == 1
    assert len(called.err) < 600


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (line("ok", value=5), "line 2: a read of accounts returned 5"),
        (line("ok", value={"a": 1.5}), "line 2: a read of accounts returned"),
        (line("ok", value={"a": True}), "line 2: a read of accounts returned"),
        (line("ok", value={"a": 2**63}), "line 2: a read of accounts returned"),
        (line("fail", f="write"), "line 2: f is 'write' (this history holds read, transfer)"),
    ],
)
def test_a_read_of_accounts_has_balances(call: Call, more: str, what: str) -> None:
    Path("h.jsonl").write_bytes(lines(line(), more))
    refused(call("check", "bank", "h.jsonl"), what)
    refused(call("check", "bank", str(EXAMPLE)), "holds read and write (asked for are read and transfer)")


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_odd_and_yet_sound_is_taken(call: Call, check: str) -> None:
    for content in (b"", b"\n \n", lines(line(), line("fail", other={"a": [1]})).replace(b"\n", b"\r\n")):
        Path("h.jsonl").write_bytes(content)
        called = call("check", check, "h.jsonl")
        assert (called.code, called.err) == (3, "")


def test_numbers_of_operations_may_be_as_large_as_they_can(call: Call) -> None:
    first = [line(f="write", value=1, operation=2**63 - 1), line("ok", f="write", value=1)]
    second = [line(f="cas", value=[1, 2], operation=0), line("ok", f="cas", value=[1, 2])]
    Path("h.jsonl").write_bytes(lines(*first, *second))
    for check in ("sessions", "staleness", "linearizability"):
        assert call("check", check, "h.jsonl").code in {0, 3}


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_no_file_is_refused(call: Call, check: str) -> None:
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("empty.parquet").write_bytes(b"")
    refused(call("check", check, "pipe"), "pipe is no regular file (save the history to a file first)")
    refused(call("check", check, "folder"), "folder has no operations.parquet")
    refused(call("check", check, "none"), "cannot read the history none: No such file or directory")
    refused(call("check", check, "empty.parquet"), "cannot read the history empty.parquet")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"number": ["a", "b"]}, "row 0 of the history is no operation: Expected `int`, got `str`"),
        ({"number": [0, 0]}, "row 1 of the history is no operation: its number was used before"),
        ({"value": ["1", "[1]"]}, "row 1 of the history is no operation: the value of a read is a list"),
        ({"value": ["1", "{}"]}, "row 1 of the history is no operation: the value of a read is an object"),
        ({"value": ["null", "1"]}, "row 0 of the history is no operation: a write without a value"),
        ({"value": ["NaN", "1"]}, "row 0 of the history is no operation: JSON is malformed"),
        ({"f": ["write", "append"]}, "row 1 of the history is no operation: f is 'append'"),
        ({"end": [0, 3]}, "row 0 of the history is no operation: it completed before it was invoked"),
        ({"outcome": ["ok", "maybe"]}, "row 1 of the history is no operation: Invalid enum value 'maybe'"),
        ({"begin": [0.5, 2.0]}, "row 0 of the history is no operation: Expected `int`, got `float`"),
    ],
)
def test_a_bad_row_is_named(call: Call, changed: dict[str, Any], what: str) -> None:
    write = Operation(number=0, process=0, f="write", key="x", value=1, outcome="ok", begin=0, end=1, completed_ns=3)
    read = Operation(number=1, process=0, f="read", key="x", value=1, outcome="ok", begin=2, end=3, completed_ns=5)
    to_frame([write, read]).assign(**changed).to_parquet("h.parquet", index=False)
    for check in CHECKS[:-1]:
        refused(call("check", check, "h.parquet"), what)
