"""`workbench run`: one experiment on a real cluster, its table, its finding, its verdicts, its run folder."""

from __future__ import annotations

import argparse

from workbench.commands.arguments import Parser, add_broker, add_json, add_output, add_profile, add_seed


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the experiment; `workbench experiments` lists them")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="assignments",
        help="set a parameter; several values with commas where it takes several; may be repeated",
    )
    add_profile(parser)
    add_seed(parser)
    add_broker(parser)
    parser.add_argument(
        "--world",
        metavar="W",
        help="real: processes, disks and a broker; simulated: the same code in virtual time, repeatable by its seed",
    )
    add_output(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it; the exit code is that of its claims, and of the checks that must hold."""
    from workbench.commands.execute import execute
    from workbench.commands.terminal import print_json, progress
    from workbench.experiments.parameters import parse_assignments
    from workbench.experiments.registry import experiment

    found = experiment(arguments.name)
    overrides = parse_assignments(arguments.assignments)
    found.resolve(_profile(arguments.profile), overrides)  # a mistake is told before anything is shown
    world = found.choose_world(arguments.world)
    with progress(found.name) as tell:
        folder = execute(
            found,
            profile=arguments.profile,
            seed=arguments.seed,
            broker=arguments.broker,
            world=world,
            output=arguments.output,
            overrides=overrides,
            tell=tell,
        )
    if arguments.json:
        print_json(folder.to_json())
    else:
        from workbench.commands.tables import print_run

        print_run(folder)
    return folder.conclusion.exit_code


def _profile(option: str | None) -> str:
    from workbench.experiments.parameters import choose_profile

    return choose_profile(option)
