"""The commands of the command line, one module each: `configure(parser)` declares options, `run(arguments)` returns
the exit code. This table is all that `workbench --help` needs, so it imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_BAD_INPUT = 2
EXIT_UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its module here, what it does in one sentence, and an example of its use."""

    module: str
    sentence: str
    example: str


COMMANDS = {
    "demo": Command(
        "demo", "Run the three headline experiments, small, on real clusters, with charts.", "workbench demo"
    ),
    "lab": Command("lab", "Open the notebooks in JupyterLab.", "workbench lab"),
    "experiments": Command(
        "experiments", "List the experiments; with a name, its parameters.", "workbench experiments stale_reads"
    ),
    "run": Command(
        "run",
        "Run one experiment and keep what it measured in a run folder.",
        "workbench run stale_reads --set follower_delay_ms=0,40 --seed 7",
    ),
    "runs": Command(
        "runs", "List the run folders, export the history of one, or delete old ones.", "workbench runs prune --keep 10"
    ),
    "report": Command(
        "report", "Write one self-contained HTML page about one or more runs.", "workbench report data/runs/RUN"
    ),
    "load": Command(
        "load",
        "Replay a SQL script through a leader and compare what the replicas hold.",
        "workbench load shop.sql --log-format wal --followers 2",
    ),
    "explain": Command(
        "explain",
        "Show how each log format would replicate a statement: safe or not, its entry, what a follower makes of it.",
        'workbench explain "INSERT INTO t(x) VALUES (random())"',
    ),
    "log": Command(
        "log",
        "Show the entries of a replica's replication log, decoded; nothing is changed.",
        "workbench log show shop --replica replica-2 --from 10",
    ),
    "predict": Command(
        "predict",
        "Predict how probably reads of a quorum system are fresh, and how soon (PBS).",
        "workbench predict --fit LNKD-DISK --n 3 --r 1 --w 1",
    ),
    "compare": Command(
        "compare",
        "Compare two runs, cell by cell: latencies, rates, shares of stale reads and lost writes, with intervals.",
        "workbench compare data/runs/BEFORE data/runs/AFTER",
    ),
    "simulate": Command(
        "simulate",
        "Run clusters under faults in virtual time, one a seed, and check every law.",
        "workbench simulate --seeds 0:200",
    ),
    "check": Command(
        "check",
        "Judge a history, of a run or of your own system: linearizability, sessions, staleness, prefix and more.",
        "workbench check linearizability history.jsonl --html timeline.html",
    ),
    "doctor": Command("doctor", "Check that this machine has what the workbench needs.", "workbench doctor"),
}
