"""`workbench experiments`: what can be asked, and with a name which parameters it takes."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.commands.arguments import Parser, add_json


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the claims and parameters of this experiment")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, or describe one."""
    from workbench.experiments.registry import experiment, experiment_names

    chosen = [experiment(name) for name in ([arguments.name] if arguments.name else experiment_names())]
    if arguments.json:
        from workbench.commands.terminal import print_json

        described = [_describe(found) for found in chosen]
        print_json(described[0] if arguments.name else described)
    elif arguments.name:
        _print_one(chosen[0])
    else:
        _print_all(chosen)
    return 0


def _describe(found: Any) -> dict[str, Any]:
    return {
        "name": found.name,
        "number": found.number,
        "question": found.question,
        "claims": dict(found.claims),
        "profiles": {name: dict(values) for name, values in found.profiles.items()},
        "parameters": [
            {
                "name": info.name,
                "type": info.kind.__name__,
                "many": info.many,
                "default": info.default,
                "allowed": info.range_text,
                "unit": info.unit,
                "help": info.help,
            }
            for info in found.parameter_infos
        ],
    }


def _print_all(chosen: list[Any]) -> None:
    from workbench.commands.terminal import console, make_table

    table = make_table("Experiments", [("notebook", "left"), ("name", "left"), ("question", "left")])
    for found in sorted(chosen, key=lambda one: str(one.number)):
        table.add_row(found.number, found.name, found.question)
    screen = console()
    screen.print(table)
    screen.print("`workbench experiments NAME` shows the parameters, `workbench run NAME` runs one.")


def _print_one(found: Any) -> None:
    from rich.padding import Padding

    from workbench.commands.terminal import console, make_table, plain

    screen = console()
    screen.print(f"[bold]{found.name}[/bold]  {plain(found.question)}\n")
    screen.print("It claims:")
    for name, sentence in found.claims.items():
        screen.print(f"  [bold]{name}[/bold]")
        screen.print(Padding(plain(sentence), (0, 0, 0, 4)))
    table = make_table(
        "\nParameters, as in --set name=value",
        [("name", "left"), ("default", "left"), ("allowed", "left"), ("meaning", "left")],
    )
    for info in found.parameter_infos:
        many = "; several, with commas" if info.many else ""
        table.add_row(info.name, plain(_text(info.default)), plain(info.range_text + many), plain(info.help))
    screen.print(table)


def _text(value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in values)
