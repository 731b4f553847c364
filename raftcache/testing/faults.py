"""What goes wrong in a simulated run: one fault after another, some on top of each other, from the run's own dice."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from raftcache.consensus import MemberId
from raftcache.metadata.commands import SetShard
from raftcache.testing.cluster import SimCluster
from raftcache.testing.files import Kind


class Nemesis:
    """Breaks the cluster from `start` until virtual second `until`, then repairs everything.

    With `power`, machines lose power as well, and disks fail: `on_power_loss` is told of each node that does, before it
    is gone."""

    def __init__(
        self, cluster: SimCluster, until: float, on_power_loss: Callable[[list[str]], None] | None = None
    ) -> None:
        self.cluster, self.until = cluster, until
        self.random = random.Random(cluster.loop.seed * 104_729 + 1)
        self.done: Counter[str] = Counter()
        self._faults: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill-leader": self._kill_leader,
            "kill-all": self._kill_all,
            "kill-at-a-write": self._kill_at_write,
            "pause": self._pause,
            "pause-leader": self._pause_leader,
            "isolate": self._isolate,
            "isolate-leader": self._isolate_leader,
            "one-way": self._one_way,
            "halves": self._halves,
            "break": self._break,
            "slow": self._slow,
            "transfer": self._transfer,
            "snapshot": self._snapshot,
            "move": self._move,
            "empty-disk": self._empty_disk,
            "heal": self.cluster.network.heal,
        }
        if on_power_loss is not None:
            self._on_power_loss = on_power_loss
            self._faults |= {
                "power-one": self._power_one,
                "power-leader": self._power_leader,
                "power-some": self._power_some,
                "power-all": self._power_all,
                "power-acknowledger": self._power_acknowledger,
                "disk-write": partial(self._disk_error, "write"),
                "disk-sync": partial(self._disk_error, "sync"),
            }

    def add(self, faults: dict[str, Callable[[], None]]) -> None:
        """Strike with these, too."""
        self._faults |= faults

    def narrow(self, name: str) -> None:
        """Strike with nothing but the fault `name`."""
        self._faults = {name: self._faults[name]}

    def start(self) -> None:
        """Begin in a moment."""
        self.cluster.loop.call_later(1.0, self._strike)

    def _strike(self) -> None:
        if self.cluster.loop.time >= self.until:
            return
        name = self.random.choice(sorted(self._faults))
        self.done[name] += 1
        self.cluster.loop.trace("fault", name)
        self._faults[name]()
        self.cluster.loop.call_later(self.random.uniform(0.2, 3.5), self._strike)

    def repair(self) -> None:
        """Heal the network, end the pauses, start what is down."""
        self.cluster.network.heal()
        for files in self.cluster.files.values():
            files.spare()
        for process in self.cluster.processes.values():
            process.runtime.resume()
        self.cluster.start_all()

    # -- faults ----------------------------------------------------------------------------------

    def _any(self) -> str:
        return self.random.choice(self.cluster.ids)

    def _leader(self) -> str:
        """The node that leads some group, or any node."""
        leaders = [
            process.node_id
            for process in self.cluster.running()
            for group in process.core.host.groups.values()
            if group.leads_now()
        ]
        return self.random.choice(leaders) if leaders else self._any()

    def _restart_later(self, node_id: str) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.1, 5.0), lambda: self.cluster.start(node_id))

    def _kill_one(self, node_id: str) -> None:
        self.cluster.kill(node_id)
        self._restart_later(node_id)

    def _kill(self) -> None:
        self._kill_one(self._any())

    def _kill_leader(self) -> None:
        self._kill_one(self._leader())

    def _kill_all(self) -> None:
        for node_id in self.cluster.ids:
            self._kill_one(node_id)

    def _kill_at_write(self) -> None:
        """Die in the middle of a callback, at one of the next file operations, with a write torn anywhere."""
        node_id = self._leader()
        self.cluster.files[node_id].kill_at(self.random.randrange(1, 60), self.random.randrange(0, 200))
        self.cluster.loop.call_later(1.0, lambda: self._restart_if_dead(node_id))

    def _restart_if_dead(self, node_id: str) -> None:
        if node_id not in self.cluster.processes:
            self._restart_later(node_id)

    def _pause_one(self, node_id: str) -> None:
        process = self.cluster.processes.get(node_id)
        if process is not None:
            process.runtime.pause(self.random.uniform(0.1, 6.0))

    def _pause(self) -> None:
        self._pause_one(self._any())

    def _pause_leader(self) -> None:
        self._pause_one(self._leader())

    def _heal_later(self) -> None:
        self.cluster.loop.call_later(self.random.uniform(0.3, 7.0), self.cluster.network.heal)

    def _isolate(self) -> None:
        self.cluster.network.isolate(self._any())
        self._heal_later()

    def _isolate_leader(self) -> None:
        self.cluster.network.isolate(self._leader())
        self._heal_later()

    def _one_way(self) -> None:
        source, target = self.random.sample(self.cluster.ids, 2)
        self.cluster.network.block(source, target)
        self._heal_later()

    def _halves(self) -> None:
        shuffled = self.random.sample(self.cluster.ids, len(self.cluster.ids))
        cut = len(shuffled) // 2
        self.cluster.network.partition(set(shuffled[:cut]), set(shuffled[cut:]))
        self._heal_later()

    def _break(self) -> None:
        source, target = self.random.sample(self.cluster.ids, 2)
        self.cluster.network.break_link(source, target)

    def _slow(self) -> None:
        source, target = self.random.sample(self.cluster.ids, 2)
        self.cluster.network.slow[source, target] = self.random.uniform(0.02, 0.4)
        self._heal_later()

    def _transfer(self) -> None:
        for process in self.cluster.running():
            for group in process.core.host.groups.values():
                if group.leads_now():
                    process.runtime.deliver(partial(group.transfer_leadership))

    def _empty_disk(self) -> None:
        """Lose a node's disk, when all others have what it had."""
        if self.cluster.whole():
            node_id = self._any()
            self.cluster.empty_disk(node_id)
            self.done["emptied"] += 1
            self._restart_later(node_id)

    def _move(self) -> None:
        """Want a shard on other nodes, where there are more nodes than a shard uses."""
        states = [p.core.view.state for p in self.cluster.running() if p.core.view.state.shards]
        if len(self.cluster.ids) <= self.cluster.settings.replication or not states:
            return
        shard = self.random.choice(max(states, key=lambda state: state.epoch).shards)
        nodes = self.random.sample(self.cluster.ids, self.cluster.settings.replication)
        replicas = tuple(MemberId(node_id, self.cluster.incarnations[node_id]) for node_id in nodes)
        self.cluster.submit_metadata(SetShard(shard.id, replicas, nodes[0]))

    def _power(self, node_ids: list[str]) -> None:
        self._on_power_loss(node_ids)
        for node_id in node_ids:
            self.cluster.lose_power(node_id)
            self._restart_later(node_id)

    def _power_one(self) -> None:
        self._power([self._any()])

    def _power_leader(self) -> None:
        self._power([self._leader()])

    def _power_acknowledger(self) -> None:
        """What would lose a write that a majority acknowledged, if a replica that has forgotten could elect: while one
        follower is cut off, the other acknowledges; then that one loses power and the leader dies."""
        leader = self._leader()
        followers = [node_id for node_id in self.cluster.ids if node_id != leader]
        lagging, acknowledging = self.random.sample(followers, 2)
        self.cluster.network.isolate(lagging)

        def strike() -> None:
            if self.cluster.loop.time >= self.until:
                return  # Everything is being repaired, and shall stay so.
            self.cluster.network.heal()
            self._on_power_loss([acknowledging])
            self.cluster.lose_power(acknowledging)
            self.cluster.start(acknowledging)
            self._kill_one(leader)

        self.cluster.loop.call_later(self.random.uniform(0.1, 0.5), strike)

    def _power_some(self) -> None:
        self._power(sorted(self.random.sample(self.cluster.ids, 2)))

    def _power_all(self) -> None:
        self._power(self.cluster.ids)

    def _disk_error(self, kind: Kind) -> None:
        """One operation fails, with a part of a write done; the replica that meets it has to come back by itself."""
        files = self.cluster.files[self._any()]
        files.fail_next(kind, OSError(errno.EIO, "the disk failed"), partial=self.random.randrange(0, 200))

    def _snapshot(self) -> None:
        for process in self.cluster.running():
            for group in process.core.host.groups.values():
                process.runtime.deliver(partial(group.take_snapshot))
