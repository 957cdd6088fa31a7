"""How many messages a second one core simulates, every law checked after each step.

Usage: `python bench/simulator.py [--seeds 0:32] [--log-format memory] [--json]`. One process, and the time is that of
its CPU, so that other processes disturb little; imports are made before the clock runs. A message is what one process
sends to another one: an entry to two followers counts twice, whether or not it arrives.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from workbench.simulator.disks import FORMATS, MEMORY
from workbench.simulator.run import Simulated, simulate


def measure(seeds: Sequence[int], log_format: str) -> tuple[list[Simulated], float]:
    """What came of each seed, and how many seconds of CPU they took together."""
    simulate(seeds[0], log_format=log_format)  # imports what a world needs only in the end
    began = time.process_time()
    results = [simulate(seed, log_format=log_format) for seed in seeds]
    return results, time.process_time() - began


def summary(results: Sequence[Simulated], cpu_s: float) -> dict[str, int | float]:
    """The figures by name."""
    messages = sum(one.messages for one in results)
    return {
        "seeds": len(results),
        "messages": messages,
        "entries": sum(one.entries for one in results),
        "simulated_s": round(sum(one.simulated_s for one in results), 1),
        "cpu_s": round(cpu_s, 2),
        "messages_per_s": round(messages / cpu_s),
        "failed": sum(bool(one.failure) for one in results),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:32", metavar="FIRST:END")
    parser.add_argument("--log-format", default=MEMORY, choices=FORMATS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    first, end = map(int, options.seeds.split(":"))
    if first >= end:
        parser.error(f"no seeds in {options.seeds}")
    figures = summary(*measure(range(first, end), options.log_format))
    if options.json:
        json.dump(figures, sys.stdout)
        print()
    else:
        print("{messages_per_s:,} messages a second of CPU".format_map(figures))
        print("{seeds} seeds, {messages:,} messages, {entries:,} entries of clients".format_map(figures))
        print("{simulated_s:,} simulated seconds in {cpu_s:,} s of CPU; {failed} seeds failed".format_map(figures))


if __name__ == "__main__":
    main()
