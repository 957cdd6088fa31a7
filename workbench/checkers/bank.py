"""Bank totals: transfers move money, so whoever reads all accounts at once must always find the same sum.

The invariant of Jepsen's bank test. A read returns account -> balance; what was transferred need not be known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workbench.checkers.verdict import Verdict

WITNESSES_MAX: Final = 5


def bank_totals(
    reads: Iterable[tuple[int, Mapping[str, int]]], total: int, *, accounts: int, negative: bool = False
) -> Verdict:
    """Judge reads of all accounts: (number of the operation, account -> balance).

    Each must show all `accounts` and the sum `total`, and unless `negative` no balance below zero.
    """
    count = wrong = 0
    lowest: float = math.inf
    highest: float = -math.inf
    witness: list[dict[str, Any]] = []
    for operation, balances in reads:
        count += 1
        found = sum(balances.values())
        lowest, highest = min(lowest, found), max(highest, found)
        problem = _problem(balances, found, total, accounts, negative)
        if not problem:
            continue
        wrong += 1
        if len(witness) < WITNESSES_MAX:
            witness.append({"operation": operation, "words": problem, "total": found, "balances": dict(balances)})
    counts: dict[str, int | float] = {"reads": count, "wrong_reads": wrong}
    counts |= {"total_lowest": lowest, "total_highest": highest}  # infinite without reads
    if not count or not accounts:
        return Verdict("unknown", "nobody read the accounts" if not count else "no account is there", (), counts)
    if wrong:
        reason = f"{wrong} of {count} reads are wrong: operation {witness[0]['operation']}: {witness[0]['words']}"
        return Verdict("invalid", reason, tuple(witness), counts)
    return Verdict("valid", f"all {count} reads show the total {total}", (), counts)


def _problem(balances: Mapping[str, int], found: int, total: int, accounts: int, negative: bool) -> str:
    if len(balances) != accounts:
        return f"{len(balances)} accounts are there, {accounts} should be"
    if found != total:
        return f"the total is {found}, {found - total:+} of {total}"
    below = [account for account, balance in balances.items() if balance < 0]
    return f"account {below[0]} holds {balances[below[0]]}" if below and not negative else ""
