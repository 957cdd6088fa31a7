"""Whatever goes in, strict JSON comes out, without passwords."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.checkers import Verdict
from workbench.strict_json import dumps, plain, write_json


@dataclass
class Parameters:
    sessions: int
    targets: tuple[float, ...]


def refuse(text):
    raise AssertionError(f"{text} is not JSON")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (np.float64(1.5), 1.5),
        (np.int64(2**62), 2**62),
        (np.bool_(True), True),
        (pd.NA, None),
        (pd.NaT, None),
        (np.array([1.0, math.inf]), [1.0, None]),
        ({1: {"b", "a"}}, {"1": ["a", "b"]}),
        (Parameters(3, (1.0, math.nan)), {"sessions": 3, "targets": [1.0, None]}),
        (Path("a") / "b", str(Path("a") / "b")),
        (True, True),
        ("mqtts://me:p@ss:w@broker:8883/x", "mqtts://me:***@broker:8883/x"),
        ("mqtt://broker:1883", "mqtt://broker:1883"),
    ],
)
def test_values(value, expected):
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    assert json.loads(dumps(value), parse_constant=refuse) == expected


def test_verdicts():
    assert plain(Verdict.valid("fine", rate=math.nan))["counts"] == {"rate": None}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    class Bad:
        def to_json(self):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_json(path, {"a": Bad()})
    assert json.loads(path.read_text()) == {"a": 1}
