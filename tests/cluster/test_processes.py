"""Children do what they are told, and none outlives its parent, even one that cannot look up from its work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.process_table import group_states
from tests.transport.recorder import until
from workbench.cluster.processes import ChildProcess, python_command, python_environment
from workbench.errors import ClusterError
from workbench.parent import EXIT_CODE_ORPHANED

WATCHING = "from workbench.parent import exit_when_parent_dies; exit_when_parent_dies(); "
IDLE = WATCHING + "import time; print('ready'); time.sleep(600)"
STUBBORN = WATCHING + (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"
)
STUCK_IN_A_STATEMENT = WATCHING + (
    "import sqlite3; print('ready');"
    "sqlite3.connect(':memory:').execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
    " SELECT count(*) FROM n')"
)
GUARDED = ["/bin/sh", "-c", "echo ready; sleep 600 & wait"]

# Starts what its arguments describe, prints the process groups, and waits to be killed.
PARENT = """
import asyncio, sys
from pathlib import Path
from workbench.cluster.processes import ChildProcess, python_environment

async def main(logs, kinds):
    for number, kind in enumerate(kinds):
        how, _, program = kind.partition(":")
        argv = program.split("\\n") if "guarded" in how else [sys.executable, "-c", program]
        child = await ChildProcess.start(
            argv, Path(logs) / f"{number}.log", python_environment(), guarded="guarded" in how
        )
        while not child.last_log_lines():
            await asyncio.sleep(0.005)
        if "paused" in how:
            child.pause()
        print(child.pid, flush=True)
    print("all", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


async def start_python(program: str, log: Path) -> ChildProcess:
    child = await ChildProcess.start([sys.executable, "-c", program], log, python_environment(), name="child")
    await until(lambda: child.last_log_lines() == ["ready"])
    return child


async def gone(group: int) -> None:
    await until(lambda: not group_states(group))


async def test_output_goes_to_the_log_and_the_status_is_reported(tmp_path: Path):
    log = tmp_path / "logs" / "x.log"
    program = "import sys; print('out'); print(); print('err', file=sys.stderr); sys.exit(3)"
    child = await ChildProcess.start([sys.executable, "-c", program], log)
    assert await child.wait() == 3
    assert child.returncode == 3
    assert sorted(child.last_log_lines()) == ["err", "out"]
    assert len(child.last_log_lines(1)) == 1


async def test_the_log_is_continued(tmp_path: Path):
    log = tmp_path / "x.log"
    for word in ("one", "two"):
        assert await (await ChildProcess.start(["/bin/echo", word], log)).wait() == 0
    assert log.read_text() == "one\ntwo\n"


async def test_a_program_that_is_not_there_is_a_clear_error(tmp_path: Path):
    with pytest.raises(ClusterError, match="no-such-program could not be started"):
        await ChildProcess.start([str(tmp_path / "no-such-program")], tmp_path / "x.log")


async def test_terminate_asks_first(tmp_path: Path):
    child = await start_python(IDLE, tmp_path / "x.log")
    assert child.returncode is None
    assert await child.terminate() == -signal.SIGTERM
    assert await child.terminate() == -signal.SIGTERM


async def test_terminate_kills_who_does_not_listen(tmp_path: Path):
    child = await start_python(STUBBORN, tmp_path / "x.log")
    assert await child.terminate(grace_s=0.1) == -signal.SIGKILL


async def test_leaving_the_block_ends_the_child(tmp_path: Path):
    async with await start_python(IDLE, tmp_path / "x.log") as child:
        group = child.pid
    assert child.returncode is not None
    await gone(group)


async def test_a_child_is_out_of_reach_of_the_terminals_interrupt(tmp_path: Path):
    async with await start_python(IDLE, tmp_path / "x.log") as child:
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert os.getsid(child.pid) == child.pid


@pytest.mark.parametrize("guarded", [False, True])
async def test_pause_stops_the_whole_group_until_resume(tmp_path: Path, guarded: bool):
    argv = GUARDED if guarded else [sys.executable, "-c", IDLE]
    async with await ChildProcess.start(argv, tmp_path / "x.log", python_environment(), guarded=guarded) as child:
        await until(lambda: child.last_log_lines() == ["ready"])
        child.pause()
        child.pause()
        await until(lambda: set(group_states(child.pid)) == {"T"})
        child.resume()
        await until(lambda: "T" not in group_states(child.pid))
        child.resume()
        assert child.returncode is None


@pytest.mark.parametrize("end", ["terminate", "kill"])
async def test_a_paused_child_can_be_ended(tmp_path: Path, end: str):
    child = await start_python(IDLE, tmp_path / "x.log")
    child.pause()
    assert await getattr(child, end)() < 0
    child.resume()
    child.pause()


async def test_a_guarded_program_reports_its_status(tmp_path: Path):
    child = await ChildProcess.start(["/bin/sh", "-c", "exit 7"], tmp_path / "x.log", guarded=True)
    assert await child.wait() == 7
    await gone(child.pid)


@pytest.mark.parametrize("end", ["terminate", "kill"])
async def test_ending_a_guarded_program_leaves_nothing_of_its_group(tmp_path: Path, end: str):
    child = await ChildProcess.start(GUARDED, tmp_path / "x.log", guarded=True)
    await until(lambda: child.last_log_lines() == ["ready"])
    assert len(group_states(child.pid)) >= 3
    await getattr(child, end)()
    await gone(child.pid)


async def test_a_guarded_program_that_takes_its_time_to_end_is_waited_for(tmp_path: Path):
    program = "trap 'echo saving; sleep 0.2; echo saved; exit 5' TERM; echo ready; sleep 600 & wait"
    child = await ChildProcess.start(["/bin/sh", "-c", program], tmp_path / "x.log", guarded=True)
    await until(lambda: child.last_log_lines() == ["ready"])
    assert await child.terminate() == 5
    assert child.last_log_lines(1) == ["saved"]


async def test_when_only_the_guard_is_killed_its_program_ends_too(tmp_path: Path):
    program = ["/bin/sh", "-c", "echo ready; exec sleep 600"]
    child = await ChildProcess.start(program, tmp_path / "x.log", guarded=True)
    await until(lambda: child.last_log_lines() == ["ready"])
    os.kill(child.pid, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    await gone(child.pid)


@pytest.mark.parametrize(
    "kind",
    [
        f"python:{IDLE}",
        f"python:{STUBBORN}",
        f"python:{STUCK_IN_A_STATEMENT}",
        f"python paused:{IDLE}",
        "guarded:/bin/sh\n-c\necho ready; exec sleep 600",
        "guarded paused:/bin/sh\n-c\necho ready; exec sleep 600",
    ],
    ids=["idle", "stubborn", "stuck", "paused", "guarded", "guarded-paused"],
)
async def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, kind: str):
    command = [sys.executable, "-c", PARENT, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=python_environment(), text=True) as parent:
        assert parent.stdout is not None
        groups = []
        while (line := parent.stdout.readline().strip()) != "all":
            groups.append(int(line))
        assert all(group_states(group) for group in groups)
        parent.kill()
    assert len(groups) == 1
    await gone(groups[0])


def test_an_orphan_says_so_by_its_status():
    with subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=20) == EXIT_CODE_ORPHANED


def test_the_watcher_needs_the_standard_library_only():
    program = "import sys; import workbench.parent; print([m for m in sys.modules if m.startswith('workbench')])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=python_environment()
    )
    assert result.stdout.strip() == "['workbench', 'workbench.parent']"


def test_our_modules_run_from_any_directory(tmp_path: Path):
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong module')")
    command = [*python_command("workbench.cluster.embedded_broker"), "--help"]
    with subprocess.Popen(command, cwd=tmp_path, env=python_environment(), stdin=subprocess.PIPE) as child:
        assert child.wait(timeout=20) == 0
