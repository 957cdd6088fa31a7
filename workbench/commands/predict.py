"""`workbench predict`: how probably a read of a quorum system is fresh, by PBS (see `workbench.metrics.prediction`)."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.arguments import Parser, add_json, add_seed, nearest, whole_number
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.metrics.prediction import Prediction

_TRIALS_MAX = 1_000_000_000
_SHOWN_TIMES_MS = (0.0, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0)


def configure(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--fit", required=True, metavar="F", help="published latencies: LNKD-SSD, LNKD-DISK, YMMR or WAN"
    )
    parser.add_argument("--n", type=int, default=3, metavar="N", help="replicas of each key (default: 3)")
    parser.add_argument("--r", type=int, default=1, metavar="R", help="replies that a read waits for (default: 1)")
    parser.add_argument(
        "--w", type=int, default=1, metavar="W", help="acknowledgements that a write waits for (default: 1)"
    )
    parser.add_argument(
        "--k", type=whole_number(1, 1000), default=1, metavar="K", help="versions that are new enough (default: 1)"
    )
    parser.add_argument(
        "--trials", type=whole_number(1, _TRIALS_MAX), default=1_000_000, metavar="T", help="default: 1,000,000"
    )
    add_seed(parser)
    parser.add_argument("--chart", type=Path, metavar="OUT.png", help="draw the curve over time into this file")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print; wrong numbers raise `ConfigurationError`."""
    from workbench.commands.terminal import console, print_json, progress
    from workbench.metrics.prediction import Quorum, predict
    from workbench.metrics.prediction_fits import FITS

    fit = FITS.get(arguments.fit.upper())
    if fit is None:
        raise ConfigurationError(f"unknown fit {arguments.fit!r}", hint=nearest(arguments.fit.upper(), FITS, "fits"))
    if arguments.chart is not None and arguments.chart.suffix.lower() != ".png":
        raise ConfigurationError(f"--chart {arguments.chart}", hint="the chart is a picture: OUT.png")
    quorum = Quorum(n=arguments.n, r=arguments.r, w=arguments.w)
    with progress("predict") as tell:
        prediction = predict(
            fit,
            quorum,
            k=arguments.k,
            trials=arguments.trials,
            seed=arguments.seed,
            progress=(lambda share: tell(share, "trials")) if _takes_long(arguments) else None,
        )
    if arguments.chart is not None:
        _draw(prediction, arguments.chart)
    if arguments.json:
        chart = {} if arguments.chart is None else {"chart": str(arguments.chart)}
        print_json(prediction.to_json() | chart)
    else:
        _print(console(), prediction, arguments.chart)
    return 0


def _takes_long(arguments: argparse.Namespace) -> bool:
    return bool(arguments.trials * arguments.n > 10_000_000)


def _draw(prediction: Prediction, path: Path) -> None:
    from workbench.charts.prediction import alt_text, draw
    from workbench.charts.style import save_png

    try:
        save_png(draw(prediction), path, alt_text(prediction))
    except OSError as error:
        raise ConfigurationError(f"cannot write the chart {path}: {error.strerror}") from error


def _print(screen: Console, prediction: Prediction, chart: Path | None) -> None:
    from workbench.commands.terminal import make_table, plain, shown_path

    quorum, fit, k = prediction.quorum, prediction.fit, prediction.k
    good = "returns the newest version" if k == 1 else f"returns one of the {k} newest versions"
    screen.print(
        plain(f"{fit.name} ({fit.words}), N = {quorum.n}, R = {quorum.r}, W = {quorum.w}"), style="bold", soft_wrap=True
    )
    if quorum.is_strict:
        screen.print("R + W > N: every read meets every acknowledged write, so none is stale.", soft_wrap=True)
    screen.print(f"\nHow probably a read {good}, by when it begins after the acknowledgement:", soft_wrap=True)
    times = [("ms", "left"), *((f"{t_ms:g}", "right") for t_ms in _SHOWN_TIMES_MS)]
    table = make_table("", times)  # type: ignore[arg-type]
    table.title = None
    table.add_row("%", *[_percent(prediction.p_consistent(t_ms)) for t_ms in _SHOWN_TIMES_MS])
    screen.print(table)
    table = make_table("", [("ms until", "left"), ("90 %", "right"), ("99 %", "right"), ("99.9 %", "right")])
    table.title = None
    shares = (0.9, 0.99, 0.999)
    table.add_row("of reads are that fresh", *[_ms(prediction.t_visibility_ms(share)) for share in shares])
    table.add_row("  95 % interval", *[_interval(prediction, share) for share in shares])
    table.add_row("of writes are acknowledged", *[_ms(prediction.write_latency.percentile(s)) for s in shares])
    table.add_row("of reads are answered", *[_ms(prediction.read_latency.percentile(s)) for s in shares])
    screen.print(table)
    from workbench.metrics.prediction import k_staleness

    closed = ", ".join(f"{k_staleness(quorum, one):.3f} for k = {one}" for one in range(1, max(k, 3) + 1))
    screen.print(
        f"Random quorums without forwarding (closed form): within k versions with probability {closed}.", soft_wrap=True
    )
    low, high = prediction.p_consistent_interval()
    screen.print(
        f"{prediction.trials:,} trials, seed {prediction.seed}; at 0 ms the 95 % interval is {_percent(low)} to"
        f" {_percent(high)} %. It is of the trials alone, not of how well the fit describes a system.",
        style="dim",
        soft_wrap=True,
    )
    if chart is not None:
        screen.print(plain(f"chart: {shown_path(chart)}"), soft_wrap=True)


def _percent(share: float) -> str:
    """As many digits as show how far it is from certain; never 100 that is not."""
    text = f"{100 * share:.4f}" if 0.999 < share < 1 else f"{100 * share:.2f}"
    return "> 99.9999" if text == "100.0000" and share < 1 else text


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.2f}"


def _interval(prediction: Prediction, share: float) -> str:
    low, high = prediction.t_visibility_interval_ms(share)
    return f"{_ms(low)} to {_ms(high)}"
