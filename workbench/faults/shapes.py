"""Which links each named shape of a cut breaks, in both worlds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import permutations
from typing import TypeAlias

from workbench.faults.values import Shape

Link: TypeAlias = tuple[str, str]
"""(from, to)"""


def cut_links(shape: Shape, names: Sequence[str], targets: Collection[str]) -> list[Link]:
    """The links among `names` that the shape breaks.

    Of `targets` only `isolate`, `one_way` and `mute` take note. The others take the names in their order, which the
    caller draws: the first half is one part; `bridge` is the name after it; in a `ring` each hears the half after it.
    """
    pairs = list(permutations(names, 2))
    half = len(names) // 2
    match shape:
        case "isolate":
            return [(one, other) for one, other in pairs if (one in targets) != (other in targets)]
        case "one_way":
            return [(one, other) for one, other in pairs if other in targets and one not in targets]
        case "mute":
            return [(one, other) for one, other in pairs if one in targets and other not in targets]
        case "halves":
            return [(one, other) for one, other in pairs if (one in names[:half]) != (other in names[:half])]
        case "bridge":
            left, right = set(names[:half]), set(names[half + 1 :])
            return [(one, other) for one, other in pairs if {one, other} & left and {one, other} & right]
        case "ring":
            count, heard = len(names), len(names) // 2
            place = {name: number for number, name in enumerate(names)}
            return [(one, other) for one, other in pairs if (place[one] - place[other]) % count > heard]
