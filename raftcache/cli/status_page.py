"""The page of `raftcache status --watch`: what the metrics of some nodes and their hot keys come to. Pure.

Rates are what counters have grown by since the page before. What several nodes hold of one namespace is the same data
on each of its replicas, so of memory the largest figure of any node is shown, and of counters the sum, for leaders
count what they execute and nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

HOT_SHOWN = 10
BAR_CELLS = 12

Labels = frozenset[tuple[str, str]]
Samples = Mapping[str, Mapping[Labels, float]]
"""The series of one node's `/metrics`, by name and labels."""


class Seen(NamedTuple):
    """What one look has found: by node, its samples, None where it did not answer."""

    at_s: float
    nodes: Mapping[str, Samples | None]


class Page:
    """Two looks, the newer one and the one before; None for the first page."""

    def __init__(self, now: Seen, before: Seen | None, hot: Mapping[str, Any] | None, title: str) -> None:
        self._now, self._before, self._hot, self._title = now, before, hot, title
        self._passed_s = now.at_s - before.at_s if before is not None else 0.0

    def render(self) -> RenderableType:
        """All of it."""
        tables = Columns([self._nodes(), self._shards()], padding=(0, 3))
        return Group(self._head(), tables, self._namespaces(), self._hot_keys())

    # -- figures ---------------------------------------------------------------------------------

    def _values(self, name: str, **labels: str) -> list[float]:
        return _values(self._now, name, labels)

    def _sum(self, name: str, **labels: str) -> float:
        return sum(self._values(name, **labels))

    def _rate(self, name: str, **labels: str) -> float | None:
        """A second; None where there is no page before."""
        if self._before is None or self._passed_s <= 0:
            return None
        grown = self._sum(name, **labels) - sum(_values(self._before, name, labels))
        return max(0.0, grown) / self._passed_s

    def _most(self, name: str, label: str, by: Callable[[Labels], str]) -> dict[str, float]:
        """For each value of a label, the largest sum that one node has."""
        most: dict[str, float] = {}
        for samples in self._now.nodes.values():
            sums: dict[str, float] = {}
            for labels, value in (samples or {}).get(name, {}).items():
                sums[by(labels)] = sums.get(by(labels), 0.0) + value
            for key, value in sums.items():
                most[key] = max(most.get(key, 0.0), value)
        return most

    # -- parts -----------------------------------------------------------------------------------

    def _head(self) -> RenderableType:
        up = sum(samples is not None for samples in self._now.nodes.values())
        hits, misses = self._rate("raftcache_keyspace_hits_total"), self._rate("raftcache_keyspace_misses_total")
        reads = None if hits is None or misses is None else hits + misses
        hit_rate = "-" if not reads or hits is None else f"{hits / reads:.1%}"
        lost = self._sum("raftcache_lost_writes_total")
        facts = (
            ("nodes", f"{up} of {len(self._now.nodes)}"),
            ("reads/s", _number(reads)),
            ("hit rate", hit_rate),
            ("writes/s", _number(self._rate("raftcache_sets_total"))),
            ("evicted/s", _number(self._rate("raftcache_evicted_keys_total"))),
            ("expired/s", _number(self._rate("raftcache_expired_keys_total"))),
            ("refused/s", _number(self._rate("raftcache_rejected_commands_total"))),
            ("lost writes", f"{lost:,.0f}"),
        )
        line = Text("   ").join(Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in facts)
        return Panel(line, title=escape(self._title), title_align="left", border_style="blue")

    def _nodes(self) -> RenderableType:
        table = _table("nodes", "node", "state", "leads", "memory", "of limit", "HTTP/s", "behind")
        for node_id, samples in self._now.nodes.items():
            if samples is None:
                table.add_row(node_id, Text("silent", "red"), *["-"] * 5)
                continue
            ready = next(iter(samples.get("raftcache_ready", {}).values()), 0.0)
            used, limit = (_one(samples, f"raftcache_memory_{name}_bytes") for name in ("used", "max"))
            leads = sum(samples.get("raftcache_is_leader", {}).values())
            asked = self._node_rate(node_id, "raftcache_http_requests_total")
            state = Text("ready", "green") if ready else Text("not ready", "yellow")
            lag_ms = 1000 * _one(samples, "raftcache_loop_lag_seconds")
            bar = _bar(used / limit if limit else 0.0)
            table.add_row(node_id, state, f"{leads:.0f}", _bytes(used), bar, _number(asked), f"{lag_ms:.0f} ms")
        return table

    def _node_rate(self, node_id: str, name: str) -> float | None:
        before = self._before.nodes.get(node_id) if self._before is not None else None
        now = self._now.nodes[node_id]
        if before is None or now is None or self._passed_s <= 0:
            return None
        grown = sum(now.get(name, {}).values()) - sum(before.get(name, {}).values())
        return max(0.0, grown) / self._passed_s

    def _shards(self) -> RenderableType:
        table = _table("shards", "shard", "leader", "term", "keys", "lag", "uncommitted", "hottest key")
        for shard in sorted({dict(labels)["shard"] for labels in self._all("raftcache_is_leader")}):
            leader = next((n for n, s in self._now.nodes.items() if s and _at(s, "raftcache_is_leader", shard)), None)
            lag_ms = max(self._values("raftcache_replica_lag_ms", shard=shard), default=0.0)
            keys = max(self._values("raftcache_keys", shard=shard), default=0.0)
            share = max(self._values("raftcache_hottest_key_share", shard=shard), default=0.0)
            term = max(self._values("raftcache_term", shard=shard), default=0.0)
            told = Text(leader, "green") if leader else Text("none", "red")
            waits = self._sum("raftcache_speculative_writes", shard=shard)
            lag = Text(f"{lag_ms:.0f} ms", "yellow" if lag_ms > 1000 else "")
            table.add_row(shard, told, f"{term:.0f}", f"{keys:,.0f}", lag, f"{waits:,.0f}", f"{share:.0%}")
        return table

    def _namespaces(self) -> RenderableType:
        table = _table("namespaces", "namespace", "keys", "memory", "of quota", "evicted/s", "window", "lost")
        keys, size = self._by_namespace("keys"), self._by_namespace("bytes")
        quota_keys, quota_size = self._by_namespace("quota_keys"), self._by_namespace("quota_bytes")
        for name in sorted(keys, key=lambda name: -size.get(name, 0.0)):
            used = max(
                keys[name] / quota_keys[name] if quota_keys.get(name) else 0.0,
                size[name] / quota_size[name] if quota_size.get(name) else 0.0,
            )
            bounded = name in quota_keys or name in quota_size
            evicted = self._rate("raftcache_evicted_keys_total", namespace=name)
            window = self._sum("raftcache_window_writes", namespace=name)
            lost = self._sum("raftcache_lost_writes_total", namespace=name)
            quota = _bar(used) if bounded else Text("no quota", "dim")
            cells = (_number(evicted), f"{window:,.0f}", f"{lost:,.0f}")
            table.add_row(escape(name), f"{keys[name]:,.0f}", _bytes(size[name]), quota, *cells)
        return table

    def _by_namespace(self, what: str) -> dict[str, float]:
        return self._most(f"raftcache_namespace_{what}", "namespace", lambda labels: dict(labels)["namespace"])

    def _hot_keys(self) -> RenderableType:
        table = _table("hot keys", "namespace", "key", "qps", "hit rate", "bytes", "of its shard", "shard")
        buckets = (self._hot or {}).get("buckets", [])
        newest = buckets[1] if len(buckets) > 1 else buckets[0] if buckets else {"keys": []}
        for row in newest["keys"][:HOT_SHOWN]:
            hit_rate = "-" if row["hitRate"] is None else f"{row['hitRate']:.0%}"
            cells = (f"{row['qps']:,.1f}", hit_rate, f"{row['bytes']:,}", _bar(row["shareOfShard"]), row["shard"])
            table.add_row(escape(row["namespace"]), escape(row["key"]), *cells)
        return table

    def _all(self, name: str) -> set[Labels]:
        found = (samples.get(name, {}) for samples in self._now.nodes.values() if samples)
        return {labels for each in found for labels in each}


def _values(seen: Seen, name: str, labels: Mapping[str, str]) -> list[float]:
    wanted = set(labels.items())
    series = (each for samples in seen.nodes.values() for each in (samples or {}).get(name, {}).items())
    return [value for found, value in series if wanted <= found]


def _table(title: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold blue")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="left" if number < 2 else "right")
    return table


def _at(samples: Samples, name: str, shard: str) -> float:
    return sum(value for labels, value in samples.get(name, {}).items() if ("shard", shard) in labels)


def _one(samples: Samples, name: str) -> float:
    return next(iter(samples.get(name, {}).values()), 0.0)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes everything")


def _bar(part: float) -> Text:
    """A bar with its percentage: green, yellow from 75 %, red from 95 %."""
    cells = round(min(1.0, part) * BAR_CELLS)
    colour = "red" if part >= 0.95 else "yellow" if part >= 0.75 else "green"
    return Text.assemble(("━" * cells, colour), ("─" * (BAR_CELLS - cells), "dim"), f" {part:4.0%}")
