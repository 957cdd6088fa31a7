"""Can bad luck be repeated? In a simulated world a seed is the whole story, and tells it again.

`simulated`: seeds of `workbench simulate`, each run twice; then bugs of the zoo are planted, and what catches them is
shrunk and replayed. `real`: a cluster of processes under faults drawn in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.config import LOG_FORMATS, AckPolicy
from workbench.errors import ConfigurationError
from workbench.experiments.base import Context, Experiment, Outcome
from workbench.experiments.parameters import nearest, parameter
from workbench.experiments.simulator_claims import MINIMUMS
from workbench.simulator.zoo import BUGS

ACKS = ("quorum", "quorum/applied", "sync", "sync/durable")


def check_bug(name: str) -> None:
    """Raise `ConfigurationError` for a name that is none of the zoo's."""
    known = [bug.name for bug in BUGS]
    if name not in known:
        raise ConfigurationError(f"unknown bug {name!r}", hint=nearest(name, known, "bugs"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What can be varied: the first ones in the simulated world, the others in the real one."""

    seeds: int = parameter(24, help="Simulated: seeds without a bug, from the run's own on.", low=1, high=10_000)
    bugs: tuple[str, ...] = parameter(
        ("vote_for_older_log", "read_of_uncommitted", "term_not_saved"),
        help="Simulated: planted bugs, each in a world of its own (`workbench simulate --bug list`).",
        check=check_bug,
    )
    tries: int = parameter(200, help="Simulated: seeds tried at most to catch a bug.", low=1, high=10_000)
    shrink_runs: int = parameter(40, help="Simulated: runs spent at most on shrinking.", low=0, high=1_000)
    followers: int = parameter(4, help="Real: followers of the leader.", low=2, high=8)
    duration_s: float = parameter(30.0, help="Real: how long faults strike.", unit="s", low=1, high=3_000)
    faults: int = parameter(30, help="Real: faults drawn.", low=1, high=2_000)
    every_kind: bool = parameter(True, help="Real: whether every kind of fault must have taken effect.")
    ack: str = parameter("quorum", help="Real: when a write is acknowledged.", choices=ACKS, check=AckPolicy.parse)
    log_format: str = parameter("logical", help="Real: what the leader sends.", choices=LOG_FORMATS)
    sessions: int = parameter(8, help="Real: sessions that write.", low=1, high=256)
    rate_per_s: float = parameter(50.0, help="Real: writes due a second.", unit="1/s", low=1, high=10_000)


async def conduct(context: Context, parameters: Parameters) -> Outcome:
    """Each world has its own way."""
    if context.world == "real":
        from workbench.experiments.simulator_real import conduct_real

        return await conduct_real(context, parameters)
    from workbench.experiments.simulator_seeds import conduct_simulated

    return await conduct_simulated(context, parameters)


EXPERIMENT = Experiment(
    name="simulator",
    number="13",
    question="Can bad luck be repeated?",
    parameters=Parameters,
    profiles={
        "ci": {"seeds": 6, "shrink_runs": 24, "duration_s": 6.0, "faults": 8, "every_kind": False, "followers": 2},
        "quick": {},
        "full": {"seeds": 500, "bugs": tuple(bug.name for bug in BUGS), "duration_s": 340.0, "faults": 140},
    },
    conduct=conduct,
    worlds=("simulated", "real"),
    claims={
        "every_seed_tells_its_story_twice": "Run again in another process, a seed leads to the same trace hash.",
        "no_law_is_broken": "Without a planted bug no law is broken, and every cluster comes right.",
        "every_bug_is_caught": "Each planted bug is caught by a seed, in the way in which it fails.",
        "a_replay_fails_alike": "Replayed, each failure breaks the same law at the same moment.",
        "few_faults_matter": "Each failure needs fewer faults than its seed had drawn.",
        "faults_took_effect": "Faults took effect in a real cluster, each with evidence.",
        "no_acknowledged_write_is_lost": "Under all of them no acknowledged write was lost.",
        "all_replicas_agree_in_the_end": "Once they ended, the clients were served, and all replicas were equal.",
    },
    minimums=MINIMUMS,
    required_checks=("convergence", "lost", "denied", "repeated"),
)
