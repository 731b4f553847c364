"""What the ports of the Redis protocol count, under the names that redis_exporter gives the same numbers of a Redis
(github.com/oliver006/redis_exporter), behind `raftcache_`. Plain numbers; Prometheus's objects are made when somebody
asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from raftcache.frontends.resp.parsing import Room
from raftcache.frontends.resp.scripts.cache import ScriptCache


class RespMetrics:
    """`calls` and `rejected` by command, where `unknown` stands for all that are none; `errors` by prefix; `stalls` by
    the bound that was reached; `dropped` by why a connection was given up."""

    def __init__(self, room: Room, scripts: ScriptCache) -> None:
        self.calls: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.stalls: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.accepted = self.turned_away = self.protocol_errors = self.shed = 0
        self.received_bytes = self.sent_bytes = 0
        self.connected: list[Callable[[], int]] = []
        """Clients of each port of this process."""
        self._room, self._scripts = room, scripts

    def count_error(self, line: str) -> None:
        """Count an error by its prefix. Prefixes are ours, so there are few."""
        self.errors[line.partition(" ")[0]] += 1

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        connected = sum(count() for count in self.connected)
        yield GaugeMetricFamily("raftcache_redis_connected_clients", "Connections open.", connected)
        for name, text, count in (
            ("connections_received", "Connections accepted.", self.accepted),
            ("rejected_connections", "Connections turned away: too many.", self.turned_away),
            ("protocol_errors", "Connections closed for what they sent.", self.protocol_errors),
            ("shed_commands", "Commands refused because this process is late.", self.shed),
            ("room_refused", "Connections closed for want of room for large commands.", self._room.refused),
            ("net_input_bytes", "Received.", self.received_bytes),
            ("net_output_bytes", "Sent.", self.sent_bytes),
            ("evicted_scripts", "Scripts that EVALSHA does not find any more.", self._scripts.evicted),
        ):
            yield CounterMetricFamily(f"raftcache_redis_{name}", text, count)
        yield _by("commands", "Commands, by name.", "cmd", self.calls)
        yield _by("commands_rejected_calls", "Commands refused before anything was done.", "cmd", self.rejected)
        yield _by("errors", "Error replies, by prefix.", "err", self.errors)
        yield _by("stalls", "Connections not read from for a while, by the bound reached.", "bound", self.stalls)
        yield _by("dropped_connections", "Connections given up, by why.", "reason", self.dropped)
        text = "Scripts that EVALSHA finds."
        yield GaugeMetricFamily("raftcache_redis_number_of_cached_scripts", text, len(self._scripts))
        text = "Bytes of these."
        yield GaugeMetricFamily("raftcache_redis_cached_scripts_bytes", text, self._scripts.size_bytes)
        text = "Room taken by large commands under way."
        yield GaugeMetricFamily("raftcache_redis_receiving_bytes", text, self._room.used_bytes)


def _by(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"raftcache_redis_{name}", text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family
