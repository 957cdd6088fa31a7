"""Arguments of a command: argparse, with its errors as ours, in one line and with the nearest right word.

An unknown option is answered with the nearest one. Options are never abbreviated: a script must not change its
meaning when a new option appears.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.commands import Command


class Parser(argparse.ArgumentParser):
    """The parser of one command. `parse` raises `ConfigurationError`, and `SystemExit` after --help."""

    def __init__(self, name: str, command: Command) -> None:
        super().__init__(
            prog=f"workbench {name}",
            description=command.sentence,
            epilog=f"example: {command.example}",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments as attributes."""
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings if option[:2] == "--"]
            if unknown[0].startswith("-"):
                word = unknown[0].partition("=")[0]
                raise ConfigurationError(
                    f"{self.prog} has no option {word!r}", hint=nearest(word, sorted(options), "options")
                )
            raise ConfigurationError(f"{self.prog} takes no argument {unknown[0]!r}", hint=f"see `{self.prog} --help`")
        return namespace

    def error(self, message: str) -> NoReturn:
        """What argparse found wrong, as our error."""
        raise ConfigurationError(f"{self.prog}: {message}", hint=f"see `{self.prog} --help`")


def nearest(word: str, words: Iterable[str], what: str) -> str:
    """A hint for a misspelt word: the nearest one, if any comes near, and all of them."""
    known = list(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listing = f"{what}: " + ", ".join(known)
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def whole_number(low: int, high: int) -> type:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is out of range, it must be from {low} to {high}")
        return value

    return parse  # type: ignore[return-value]


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output, nothing else")


def add_broker(parser: argparse.ArgumentParser) -> None:
    """`--broker`."""
    parser.add_argument(
        "--broker",
        metavar="B",
        help="mosquitto, amqtt, or the URL of a broker such as mqtt://user:password@host:1883 "
        "(default: mosquitto where it is installed, else amqtt)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """`--seed`."""
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=1,
        metavar="N",
        help="seed of every random choice (default: 1)",
    )


def add_profile(parser: argparse.ArgumentParser, default: str = "WORKBENCH_PROFILE, else quick") -> None:
    """`--profile`."""
    parser.add_argument("--profile", metavar="P", help=f"how much to measure: ci, quick or full (default: {default})")


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--output`."""
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to make the run folder (default: WORKBENCH_RUNS, else data/runs)",
    )
