"""The command line: chooses a command, gives it its arguments, turns what happens into one line and an exit code.

0: every claim is valid. 1: one is invalid. 2: bad usage or input. 3: unknown. 130 and 143: interrupted. A user's
mistake is one line on standard error, never a traceback. With `--json` there is exactly one JSON document on standard
output, also when it tells of an error. Each command has a module of its own in `workbench.commands`, imported when it
is called, so that `workbench --help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from workbench.commands import COMMANDS, EXIT_BAD_INPUT, EXIT_UNKNOWN
from workbench.commands.arguments import Parser, nearest
from workbench.errors import BrokerError, ConfigurationError, HistoryError, RunError, StatementError, WorkbenchError

_BAD_INPUT = (BrokerError, ConfigurationError, HistoryError, RunError, StatementError)
_SIGNAL_EXIT = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's own arguments) names; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _close_standard_output()
        return _SIGNAL_EXIT + signal.SIGPIPE
    except KeyboardInterrupt:
        _say("interrupted: nothing is left running")
        return _SIGNAL_EXIT + signal.SIGINT
    except WorkbenchError as error:
        return _report(error, as_json="--json" in arguments)
    except SystemExit as stop:  # argparse after --help, or SIGTERM
        if stop.code:
            _say("terminated: nothing is left running")
        return int(stop.code or 0)
    except Exception as error:  # noqa: BLE001 - a bug: status 1 would say that a claim is invalid
        if isinstance(error, ExceptionGroup) and (known := _only_known(error)):
            return _report(known, as_json="--json" in arguments)
        traceback.print_exc()
        _say("this is a bug in the workbench; please report it with the lines above")
        return EXIT_UNKNOWN
    return code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        if len(arguments) > 1 and arguments[0] == "help":
            return _run([arguments[1], "--help"])
        sys.stdout.write(overview() if not arguments else help_text())
        return 0
    if arguments[0] in ("-V", "--version"):
        from workbench import __version__

        sys.stdout.write(f"workbench {__version__}\n")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        raise ConfigurationError(f"unknown {what} {name!r}", hint=nearest(name, COMMANDS, "commands"))
    command = COMMANDS[name]
    module = importlib.import_module(f"workbench.commands.{command.module}")
    parser = Parser(name, command)
    module.configure(parser)
    return int(module.run(parser.parse(rest)))


def overview() -> str:
    """What `workbench` alone prints."""
    return (
        "Replication Workbench: see and measure what single-leader replication does.\n\n"
        "  workbench demo              run the headline experiments, with charts and a report\n"
        "  workbench lab               open the notebooks\n"
        "  workbench run stale_reads   run one experiment; `workbench experiments` lists them all\n"
        "  workbench doctor            check that this machine has what is needed\n\n"
        "`workbench --help` lists all commands, `workbench COMMAND --help` explains one.\n"
    )


def help_text() -> str:
    """What `workbench --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.sentence}" for name, command in COMMANDS.items()]
    return (
        "usage: workbench COMMAND [options]\n\n"
        "See and measure what single-leader replication does, with real replicas on this machine.\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        "options:\n"
        "  -h, --help     show this text; `workbench COMMAND --help` explains one command\n"
        "  -V, --version  show the version\n\n"
        "exit codes: 0 valid, 1 invalid, 2 bad usage or input, 3 unknown\n"
    )


def _report(error: WorkbenchError, *, as_json: bool) -> int:
    """One line on standard error, and with --json one document on standard output."""
    code = EXIT_BAD_INPUT if isinstance(error, _BAD_INPUT) else EXIT_UNKNOWN
    if as_json:
        import json

        document = {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            sys.stdout.flush()
    _say(f"error: {error}")
    return code


def _only_known(group: ExceptionGroup) -> WorkbenchError | None:
    """The first of our own errors in a group that holds nothing else."""
    known, others = group.split(WorkbenchError)
    if known is None or others is not None:
        return None
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, WorkbenchError)
    return first


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(" ".join(line.split()) + "\n")


def _close_standard_output() -> None:
    """Python flushes standard output at its end, and would complain once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
