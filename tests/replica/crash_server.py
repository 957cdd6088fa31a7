"""A process that forks one child for each line of its input: a replica that plays a script and dies on the way.

`python -m tests.replica.crash_server SCRIPT`, with the pickled script. A line is the JSON of [directory, failpoint];
the answer a line with the child's exit code (negative: the signal) and the number of the step that it had begun. With
the failpoint `count`, the child lives, and the answer has the number of visits of each point instead of its exit code.
A process of its own, since forking is safe only where there are no threads.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections import Counter
from pathlib import Path

from tests.replica.script import Script, play
from workbench import failpoints

COUNT = "count"


def main() -> None:
    """Answer until the input ends."""
    script: Script = pickle.loads(Path(sys.argv[1]).read_bytes())
    for line in sys.stdin:
        directory, failpoint = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _be_child(script, Path(directory), failpoint, writing)
        os.close(writing)
        told = b""
        while data := os.read(reading, 65536):
            told += data
        os.close(reading)
        _, status = os.waitpid(child, 0)
        last = told.splitlines()[-1].decode() if told else "-1"
        code: object = os.waitstatus_to_exitcode(status)
        if failpoint == COUNT:
            code, last = json.loads(last), "0"
        print(json.dumps([code, int(last)]), flush=True)


def _be_child(script: Script, directory: Path, failpoint: str, writing: int) -> None:
    try:
        visits: Counter[str] = Counter()
        if failpoint == COUNT:
            failpoints._armed = COUNT
            failpoints._visit = lambda name: visits.update([name])
        else:
            failpoints.arm(failpoint)

        def begun(number: int) -> None:
            os.write(writing, b"%d\n" % number)

        play(script, directory, begun=begun).close()
        if failpoint == COUNT:
            os.write(writing, json.dumps(visits).encode())
    except BaseException:  # noqa: BLE001  a child must not go on as its parent
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
