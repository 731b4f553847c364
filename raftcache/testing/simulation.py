"""One simulated run: a cluster, clients, faults, and every check; and a sweep over many seeds.

`python -m raftcache.testing.simulation --seeds 1000` runs seeds 0 to 999 with a progress bar, prints each one that
broke a promise with how to run it again, and ends with what all of them together did. A run that proves nothing
(too few writes committed, too few leader changes) is a failure as well.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace

from raftcache.config import Fsync
from raftcache.testing import checks, invalidation_check, policy_check
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.cluster import STANDARD_SPACES, ClusterSettings, SimCluster, sim_consensus
from raftcache.testing.faults import Nemesis
from raftcache.testing.joint_check import JOINT_CLIENTS, JointClient
from raftcache.testing.lease_faults import LeaseFaults, tightened
from raftcache.testing.minted_check import COUNTING_CLIENTS, CountingClient
from raftcache.testing.network import NetworkSettings
from raftcache.testing.plants import ALL_PLANTS, planted
from raftcache.testing.quota_check import HOARDERS, HOARDS, Hoarder, QuotaWatch
from raftcache.testing.read_levels import ReadLevels
from raftcache.testing.receipts_check import ReceiptsCheck
from raftcache.testing.retries_check import RETRYING_CLIENTS, RetryingClient
from raftcache.testing.window_check import SPENDERS, WINDOWED, Spender, WindowWatch
from raftcache.testing.workload import Client

CLIENTS = 6
SLOW_DELAY_S = 0.04
QUIET_S = 8.0
"""The last part of every run: everything is repaired, and the cluster has to serve and to agree again."""

READY_S, SLOW_READY_S = 5.0, 10.0
"""How long elections may take after that. Where a round trip takes half an election timeout, two candidates of which
each needs the other meet again and again."""

ALL_WELL_S, ANSWERED_S = 1.5, 5.0
"""After that: how long everything goes on without faults, and how long a client may wait for its next answer."""

WHOLE_S = 20.0
"""How long the controller may take to bring all memberships to what is wanted."""

SPACES = (*STANDARD_SPACES, *WINDOWED, *HOARDS, *invalidation_check.DROPPED_SPACES)

POLICY_S = 12.0
"""How long a change of policy may take to be confirmed after that."""

MIN_COMMITS = 200
MIN_LEADER_CHANGES = 3
EVIDENCE_S = 40.0
"""How long a run must be to prove something by itself. Of shorter ones, whoever runs several sums up what they did."""


@dataclass(frozen=True)
class RunResult:
    """What one run did. `violation` is empty where every check held."""

    seed: int
    commits: int
    leader_changes: int
    answered: int
    unknown: int
    snapshots: int
    faults: int
    durable: int
    leases_used: int
    power_losses: int
    majorities_lost: int
    lost: dict[str, int]
    """Writes acknowledged at `primary` and lost, by namespace. A run without any says nothing of the loss windows."""
    receipts: int
    lost_writes: int
    retried: int
    trace: str
    policy_changes: int = 0
    judged: int = 0
    violation: str = ""
    counted: int = 0
    repeated: int = 0
    """Writes under minted keys that came to a shard again, their outcome unknown."""
    joined: int = 0
    """Writes of clients that write several keys at once where these are led, acknowledged."""
    shown: int = 0
    replica_reads: int = 0
    lost_unread: int = 0
    """Writes of a namespace that reads at `committed` that were acknowledged and lost, and that nobody read."""


class Run:
    """One seed, one run."""

    def __init__(
        self,
        seed: int,
        seconds: float = 60.0,
        settings: ClusterSettings | None = None,
        power: bool = False,
        lease: bool = False,
    ) -> None:
        """`power`: machines lose power and disks fail, `lease`: faults are aimed at leases, beside everything else."""
        self.seed, self.seconds = seed, seconds
        self.power_losses = 0
        self.oracle = Oracle()
        self.cluster = SimCluster(seed, settings, self.oracle)
        self.oracle.digest_of, self.oracle.members_without = self.cluster.digest_of, self.cluster.members_without
        self.oracle.lease_holders = self.cluster.lease_holders
        self.slow = self.cluster.settings.network.delay[0] >= SLOW_DELAY_S
        clients = 3 * CLIENTS if self.slow else CLIENTS  # Each waits for its answers: on a slow network it asks less.
        self.clients = [Client(number, self.cluster, self.oracle) for number in range(clients)]
        self.watch = WindowWatch(lambda: self.cluster.loop.time)
        self.cluster.on_reply.append(self.watch.answered)
        self.spenders = [Spender(number, self.cluster) for number in range(SPENDERS)]
        self.quotas = QuotaWatch(self.cluster)
        self.cluster.on_reply.append(self.quotas.answered)
        self.droppers = [
            invalidation_check.Dropper(number, self.cluster)
            for number in range(len(invalidation_check.DROPPED_SPACES))
        ]
        self.hoarders = [Hoarder(number, self.cluster) for number in range(HOARDERS)]
        self.receipts = ReceiptsCheck(self.cluster, self.oracle)
        self.read_levels = ReadLevels(self.cluster, self.oracle)
        self.retrying = [RetryingClient(number, self.cluster, durable=power) for number in range(RETRYING_CLIENTS)]
        self.counting = [CountingClient(number, self.cluster, durable=power) for number in range(COUNTING_CLIENTS)]
        # What waits for a quorum alone survives no loss of power by a majority.
        self.joining = [JointClient(number, self.cluster) for number in range(0 if power else JOINT_CLIENTS)]
        self.owners = [policy_check.Owner(number, self.cluster) for number in range(policy_check.OWNERS)]
        self.nemesis = Nemesis(self.cluster, seconds - QUIET_S, self._power_lost if power else None)
        if lease:
            self.nemesis.add(LeaseFaults(self.cluster, self.nemesis).table)

    def execute(self) -> RunResult:
        """Run it; a broken promise is in the result."""
        violation = ""
        try:
            self._run()
        except (Violation, TimeoutError, AssertionError) as error:
            violation = f"{type(error).__name__} at {self.cluster.loop.time:.3f} s: {error}"
        cores = [process.core for process in self.cluster.processes.values()]
        snapshots = sum(g.inbox.installed + g.compaction.taken for c in cores for g in c.host.groups.values())
        return RunResult(
            seed=self.seed,
            commits=sum(self.oracle.commits.values()),
            leader_changes=self.oracle.leader_changes(),
            answered=sum(client.answered for client in self.clients),
            unknown=sum(client.unknown for client in self.clients),
            snapshots=snapshots,
            faults=sum(self.nemesis.done.values()),
            durable=sum(client.durable for client in self.clients),
            leases_used=self.oracle.leases_used,
            power_losses=self.power_losses,
            majorities_lost=self.oracle.majorities_lost,
            lost=dict(sorted(self.watch.lost.items())),
            receipts=self.receipts.asked,
            lost_writes=self.receipts.lost,
            retried=sum(client.retried for client in self.retrying),
            counted=sum(client.answered for client in self.counting),
            repeated=self.cluster.repeats,
            joined=sum(client.answered for client in self.joining),
            trace=self.cluster.loop.trace_hash(),
            policy_changes=sum(owner.confirmed for owner in self.owners),
            judged=sum(owner.judged_reads + owner.judged_writes for owner in self.owners),
            violation=violation,
            shown=self.read_levels.shown,
            replica_reads=self.read_levels.replica_reads,
            lost_unread=self.read_levels.lost,
        )

    def _power_lost(self, node_ids: list[str]) -> None:
        """Where these, with those that may have forgotten something already, are a majority of a group, it may go
        back."""
        self.power_losses += len(node_ids)
        before = self.oracle.majorities_lost
        for group_id in self.cluster.forgetful_groups(node_ids):
            commits = {
                node_id: process.core.host.groups[group_id].commit_index
                for node_id, process in self.cluster.processes.items()
                if group_id in process.core.host.groups
            }
            self.oracle.forgive(group_id, self.cluster.loop.time, commits)
        if self.oracle.majorities_lost > before:
            for client in self.clients:
                client.power_lost()

    def _run(self) -> None:
        self.cluster.create(SPACES)
        for client in self.clients:
            client.start()
        for spender in self.spenders:
            spender.start()
        for hoarder in self.hoarders:
            hoarder.start()
        for dropper in self.droppers:
            dropper.start()
        self.receipts.start()
        self.read_levels.start()
        for retrying in self.retrying:
            retrying.start()
        for counting in self.counting:
            counting.start()
        for joining in self.joining:
            joining.start()
        for owner in self.owners:
            owner.start()
        self.nemesis.start()
        while self.cluster.loop.time < self.nemesis.until:
            self.cluster.loop.run_until(min(self.cluster.loop.time + 5.0, self.nemesis.until))
            checks.check_logs(self.cluster)
            checks.check_running(self.cluster, self.oracle, last=False)
        self._heal()
        self._finish()

    def _heal(self) -> None:
        """Liveness: once everything is repaired, the cluster serves again and every client gets answers."""
        self.nemesis.repair()
        self.cluster.run_until_ready(SLOW_READY_S if self.slow else READY_S)
        before = [client.answered for client in self.clients]

        def stuck() -> list[int]:
            return [client.number for client, had in zip(self.clients, before, strict=True) if client.answered == had]

        self.cluster.loop.run_until(self.cluster.loop.time + ALL_WELL_S)
        if not self.cluster.loop.run_till(lambda: not stuck(), ANSWERED_S - ALL_WELL_S, 0.1):
            raise Violation(f"clients {stuck()} got no answer within {ANSWERED_S} seconds after healing")
        policy_check.check_confirming(self.owners, self.cluster, POLICY_S)

    def _finish(self) -> None:
        for client in self.clients:
            client.stopped = True
        for spender in self.spenders:
            spender.stopped = True
        for hoarder in self.hoarders:
            hoarder.stopped = True
        for dropper in self.droppers:
            dropper.stopped = True
        self.receipts.stopped = True
        self.read_levels.stop()
        for retrying in self.retrying:
            retrying.drain()
        for counting in self.counting:
            counting.stop()
        for joining in self.joining:
            joining.stop()
        for owner in self.owners:
            owner.stopped = True
        self.cluster.loop.run_until(self.cluster.loop.time + 1.0)
        self._become_whole()
        self._settle()
        checks.check_logs(self.cluster)
        checks.check_running(self.cluster, self.oracle, last=True)
        checks.check_caught_up(self.cluster, self.oracle)
        checks.check_digests(self.cluster)
        checks.check_acknowledged(self.cluster, self.oracle)
        self.watch.check(self.cluster, self.oracle)
        self.quotas.check()
        self.receipts.finish()
        self.read_levels.judge()
        for retrying in self.retrying:
            retrying.check()
        for counting in self.counting:
            counting.check()
        for joining in self.joining:
            joining.check()
        if self.seconds >= EVIDENCE_S:
            self._check_evidence()
            policy_check.check_evidence(self.owners)
            self.quotas.check_evidence()
            invalidation_check.check_evidence(self.droppers)

    def _become_whole(self) -> None:
        """Every group gets back to its wanted members: lost disks are refilled, moved shards have arrived."""
        if not self.cluster.loop.run_till(self.cluster.whole, WHOLE_S, 0.1):
            raise Violation(f"the groups do not have their wanted members, {WHOLE_S} seconds after healing")

    def _settle(self) -> None:
        """Wait for a moment at which all replicas have applied equally much: keys still expire, which is an
        effect like any other."""
        if not self.cluster.loop.run_till(lambda: checks.evenly_applied(self.cluster), 6.0, 0.01):
            raise Violation("the replicas do not come to the same index within six seconds without load")

    def _check_evidence(self) -> None:
        commits, changes = sum(self.oracle.commits.values()), self.oracle.leader_changes()
        if commits < MIN_COMMITS or changes < MIN_LEADER_CHANGES:
            raise Violation(f"proves nothing: {commits} commits through {changes} leader changes")


def shape_of(seed: int) -> ClusterSettings:
    """Seeds differ in the shape of their cluster too: three nodes or four (of which a shard uses three, so that
    shards move), a quick network or one as slow as between continents, appends whole or in small pieces, logs synced
    now and then, always or never."""
    fsync: tuple[Fsync, ...] = ("interval", "interval", "never", "interval", "always")
    consensus = replace(sim_consensus(), append_limit_bytes=(8 << 20, 20_000)[seed % 2], fsync=fsync[seed % 5])
    slow = NetworkSettings(delay=(SLOW_DELAY_S, 0.14))
    return ClusterSettings(
        nodes=4 if seed % 4 == 1 else 3,
        consensus=consensus,
        network=slow if seed % 8 == 3 else NetworkSettings(),
    )


def run_seed(
    seed: int,
    seconds: float = 60.0,
    settings: ClusterSettings | None = None,
    power: bool = False,
    lease: bool = False,
    fault: str | None = None,
) -> RunResult:
    """Run one seed, with all faults or `fault` alone; what the nodes log is not shown."""
    logging.disable(logging.CRITICAL)
    try:
        shape = settings or shape_of(seed)
        run = Run(seed, seconds, tightened(shape) if lease else shape, power, lease)
        if fault is not None:
            run.nemesis.narrow(fault)
        return run.execute()
    finally:
        logging.disable(logging.NOTSET)


# -- the command ---------------------------------------------------------------------------------


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/sim", description="Run the simulation over many seeds.")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (default 200)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds a run (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--power", action="store_true", help="machines lose power and disks fail, too")
    parser.add_argument("--lease", action="store_true", help="faults are aimed at leases, too")
    plants = sorted(ALL_PLANTS)
    parser.add_argument("--plant", choices=plants, help="put a bug into the code, to see it caught")
    return parser.parse_args(argv)


def _run_one(job: tuple[int, float, bool, bool, str | None]) -> RunResult:
    seed, seconds, power, lease, plant = job
    with planted(plant) if plant else nullcontext():
        return run_seed(seed, seconds, power=power, lease=lease)


def main(argv: list[str] | None = None) -> int:
    """The command line: 0 where every seed kept every promise, else 1."""
    from rich.progress import track

    options = _arguments(argv)
    first, more = options.first_seed, " --power" * options.power + " --lease" * options.lease
    jobs = [(first + i, options.seconds, options.power, options.lease, options.plant) for i in range(options.seeds)]
    failed, totals = 0, Counter[str]()
    with multiprocessing.Pool(options.jobs) as pool:
        results = pool.imap_unordered(_run_one, jobs)
        for result in track(results, description="simulating", total=len(jobs), disable=not sys.stderr.isatty()):
            totals.update(commits=result.commits, leader_changes=result.leader_changes, snapshots=result.snapshots)
            totals.update(answered=result.answered, unknown=result.unknown, faults=result.faults)
            totals.update(receipts=result.receipts, lost_writes=result.lost_writes)
            totals.update(runs_with_lost_writes=result.lost_writes > 0)
            totals.update(durable_acks=result.durable, power_losses=result.power_losses, retried=result.retried)
            totals.update(writes_lost=sum(result.lost.values()), runs_that_lost_writes=bool(result.lost))
            totals.update({f"lost_in_{name}": count for name, count in result.lost.items()})
            totals.update(shown=result.shown, replica_reads=result.replica_reads, lost_unread=result.lost_unread)
            totals.update(leases_used=result.leases_used, counted=result.counted, joined=result.joined)
            totals.update(repeated=result.repeated)
            totals.update(policy_changes=result.policy_changes, judged_under_policies=result.judged)
            totals.update(majorities_lost=result.majorities_lost, runs_with_majority_lost=result.majorities_lost > 0)
            if result.violation:
                failed += 1
                again = f"scripts/sim --first-seed {result.seed} --seeds 1 --seconds {options.seconds:g}{more}"
                print(f"seed {result.seed}: {result.violation}\n  again: {again}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(totals.items())))
    print(f"{len(jobs) - failed} of {len(jobs)} seeds kept every promise")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
