"""One cell of `scale` in virtual time, in the simulator's world for many replicas."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from workbench.config import AckPolicy, Timing
from workbench.experiments.cells import cell_seed
from workbench.experiments.scale_cells import Cell, FailoverSample, Load, Setting, WriteSample
from workbench.simulator.scale import ScaledConfig, ScaledWorld, Write
from workbench.simulator.scale_network import HOP_MS, Costs, FanOut, Profile, profile_of, suited_timeout_ms
from workbench.simulator.scale_replica import ScaledReplica

_MS = 1e6
_LOOK_MS = 1.0
_SMALL, _TICKS_PER_TIMEOUT = 25, 20
_PATIENCE_TIMEOUTS, _PATIENCE_MS_MIN = 10, 30_000.0
"""What takes longer never comes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedScale:
    """How cells are measured; `seed` and the rest as in the parameters of `scale`."""

    seed: int
    ack: AckPolicy
    heartbeat_ms: float
    writes: int
    repetitions: int
    idle_s: float
    value_bytes: int
    jitter: str
    jitter_share: float
    costs: Costs

    def measure(self, setting: Setting) -> Cell:
        """Make a cluster and let it do nothing, write, and lose its leaders."""
        cell = Cell(setting=setting, world="simulated")
        world = ScaledWorld(self._config(setting))
        observed = _Observed(world, cell, self.heartbeat_ms)
        if not observed.settles(world.settle(observed.patience_ms)):
            return cell
        world.run_for(2 * self.heartbeat_ms)
        observed.watch_idle(self.idle_s)
        observed.write(self.writes, self.ack)
        for _ in range(self.repetitions):
            if cell.problem:
                break
            observed.kill_leader()
        cell.acknowledged = sum(1 for write in world.client.writes if write.acknowledged_ns)
        cell.converged = world.settled() and world.logs_agree()
        cell.lost = world.lost_writes() if world.leader is not None else None
        return cell

    def _config(self, setting: Setting) -> ScaledConfig:
        profile = profile_of(setting.network)
        timing = timing_of(profile, setting.size, self.heartbeat_ms, setting.election_timeout_ms)
        return ScaledConfig(
            seed=str(cell_seed(self.seed, setting.labels["cell"])),
            size=setting.size,
            voters=setting.voters,
            profile=profile,
            ack=self.ack,
            timing=timing,
            fan_out=fan_out_of(setting.fan_out),
            jitter=self.jitter,
            jitter_share=self.jitter_share,
            value_bytes=self.value_bytes,
            costs=self.costs,
        )


def fan_out_of(text: str) -> FanOut:
    """The word as a type."""
    return "direct" if text == "direct" else "broker"


def timing_of(profile: Profile, size: int, heartbeat_ms: float, election_timeout_ms: float) -> Timing:
    """Time-outs for a cluster. In a large one followers look at the clock less often, which is most of what simulating
    it costs: they stand for election half a tick later on average."""
    usual = Timing()
    tick_ms = max(usual.tick_ms, min(election_timeout_ms / _TICKS_PER_TIMEOUT, heartbeat_ms / 2))
    return Timing(
        tick_ms=tick_ms if size > _SMALL else usual.tick_ms,
        heartbeat_ms=heartbeat_ms,
        election_timeout_ms=election_timeout_ms,
        fetch_retry_ms=max(usual.fetch_retry_ms, 2 * profile.round_trip_ms_max),
        ack_timeout_ms=max(usual.ack_timeout_ms, 2 * election_timeout_ms),
    )


def suited_timeout(base_ms: float, voters: int, costs: Costs, fan_out: str) -> float:
    """`base_ms`, or as long as elections of so many voters need it."""
    return round(max(base_ms, suited_timeout_ms(voters, costs, fan_out_of(fan_out))), 1)


class _Observed:
    """Watches one world, and fills its cell."""

    def __init__(self, world: ScaledWorld, cell: Cell, heartbeat_ms: float) -> None:
        self._world = world
        self._cell = cell
        self._heartbeat_ms = heartbeat_ms
        self.patience_ms = max(_PATIENCE_MS_MIN, _PATIENCE_TIMEOUTS * cell.setting.election_timeout_ms)

    def settles(self, done: bool) -> bool:
        """Note the problem if it does not."""
        if not done:
            self._cell.problem = f"nobody led, or not everybody followed, within {self.patience_ms / 1e3:g} s"
        return done

    def _leader(self) -> ScaledReplica:
        leader = self._world.leader
        assert leader is not None, "it has settled"
        return leader

    def watch_idle(self, seconds: float) -> None:
        """What does the leader do when there is nothing to do?"""
        world, leader = self._world, self._leader()
        before, broker_ns = copy.copy(leader.counts), world.network.broker_busy_ns
        world.run_for(seconds * 1e3)
        grown = leader.counts.since(before)
        self._cell.load = Load(
            out_per_s=grown.messages_out / seconds,
            bytes_out_per_s=grown.bytes_out / seconds,
            delivered_per_s=grown.deliveries / seconds,
            in_per_s=grown.messages_in / seconds,
            bytes_in_per_s=grown.bytes_in / seconds,
            sync_ms=world.costs.sync_ms,
            leader_busy=grown.busy_ns / (seconds * 1e9),
            broker_busy=(world.network.broker_busy_ns - broker_ns) / (seconds * 1e9),
        )

    def write(self, count: int, ack: AckPolicy) -> None:
        """Writes one by one, each once everybody has the one before."""
        world, leader, setting = self._world, self._leader(), self._cell.setting
        before = copy.copy(leader.counts)
        profile = world.config.profile
        majority_ms = profile.majority_round_trip_ms(
            setting.voters, leader.number, ack.followers_needed(setting.voters)
        )
        bound_ms = majority_ms + 4 * HOP_MS[0]
        for _ in range(count):
            world.run_for(self._heartbeat_ms * world.random.random())
            write = world.client.write()
            index = len(leader.log) + 1
            world.shown_ns = {index: {}}
            done = world.run_until(lambda: not world.client.is_waiting, patience_ms=self.patience_ms, step_ms=_LOOK_MS)
            if not self.settles(done and world.run_until(world.settled, patience_ms=self.patience_ms)):
                return
            if (write.position.index, write.leader) == (index, leader.name):  # nobody deposed it meanwhile
                self._cell.writes.append(self._sample(write, leader, world.shown_ns[index], bound_ms))
        grown = leader.counts.since(before)
        load = self._cell.load
        self._cell.load = Load(
            **{name: getattr(load, name) for name in Load.__slots__ if not name.endswith("_per_write")},
            out_per_write=grown.entry_messages_out / count,
            bytes_out_per_write=grown.entry_bytes_out / count,
            delivered_per_write=grown.entry_deliveries / count,
        )

    def _sample(self, write: Write, leader: ScaledReplica, shown_ns: dict[int, int], bound_ms: float) -> WriteSample:
        """What a reader beside each replica would have been told at the moment of the acknowledgement."""
        asked_ns = write.acknowledged_ns + sum(HOP_MS) * _MS
        return WriteSample(
            latency_ms=(write.acknowledged_ns - write.invoked_ns) / _MS,
            bound_ms=bound_ms,
            stale=sum(shown > asked_ns for shown in shown_ns.values()),
            asked=len(self._world.replicas),
            lag_ms=[(shown - write.invoked_ns) / _MS for number, shown in shown_ns.items() if number != leader.number],
        )

    def kill_leader(self) -> None:
        """Kill the leader at any moment between two heartbeats, and see what comes of it; then start it again."""
        world = self._world
        world.run_for(self._heartbeat_ms * world.random.random())
        leader, now = self._leader(), world.events.now
        assert leader.core is not None
        term = leader.core.state.term
        silent_ms = (now - leader.spoke_ns) / _MS
        world.candidates.clear()
        stood = sum(one.counts.candidacies for one in world.replicas)
        leader.kill()
        write = world.client.write()
        world.run_until(lambda: not world.client.is_waiting, patience_ms=self.patience_ms, step_ms=_LOOK_MS)
        sample = FailoverSample(kill=len(self._cell.failovers) + 1, leader=leader.name, term_before=term)
        first = min(world.candidates.values(), default=now)
        if write.acknowledged_ns and write.position.term in world.reigns:
            successor, elected_ns = world.reigns[write.position.term]
            sample = FailoverSample(
                kill=sample.kill,
                leader=leader.name,
                successor=successor,
                term_before=term,
                term_after=write.position.term,
                silent_ms=silent_ms,
                candidate_ms=(first - now) / _MS,
                elected_ms=(elected_ns - now) / _MS,
                failover_ms=(write.acknowledged_ns - now) / _MS,
                candidates=len(world.candidates),
                elections=sum(one.counts.candidacies for one in world.replicas) - stood,
            )
        self._cell.failovers.append(sample)
        if not sample.took_effect:
            self._cell.problem = (
                f"after kill {sample.kill} nobody acknowledged a write within {self.patience_ms / 1e3:g} s"
            )
            return
        world.start(leader)
        self.settles(world.run_until(world.settled, patience_ms=self.patience_ms))
