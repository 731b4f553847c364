"""The page of `raftcache status --watch`: what is wrong, and what the figures of some nodes come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from raftcache.cli.status_figures import Figures, Seen
from raftcache.cli.status_troubles import GRAVE, WARNING, troubles
from raftcache.supervisor.views import METADATA

HOT_SHOWN = 10
TROUBLES_SHOWN = 6
BAR_CELLS = 12


class Page:
    """Two looks, the newer one and the one before; None for the first page."""

    def __init__(self, now: Seen, before: Seen | None, hot: Mapping[str, Any] | None, title: str) -> None:
        self._figures, self._hot, self._title = Figures(now, before), hot, title
        self._nodes_seen = now.nodes

    def render(self) -> RenderableType:
        """All of it."""
        tables = Columns([self._nodes(), self._shards()], padding=(0, 3))
        return Group(self._head(), tables, self._namespaces(), self._hot_keys())

    def _head(self) -> RenderableType:
        figures = self._figures
        up = sum(samples is not None for samples in self._nodes_seen.values())
        facts = (
            ("nodes", f"{up} of {len(self._nodes_seen)}"),
            ("reads/s", _number(figures.reads())),
            ("hit rate", _part(figures.hit_rate())),
            ("writes/s", _number(figures.rate("raftcache_sets_total"))),
            ("evicted/s", _number(figures.rate("raftcache_evicted_keys_total"))),
            ("expired/s", _number(figures.rate("raftcache_expired_keys_total"))),
            ("refused/s", _number(figures.rate("raftcache_rejected_commands_total"))),
            ("lost writes", f"{figures.sum('raftcache_lost_writes_total'):,.0f}"),
        )
        line = Text("   ").join(Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in facts)
        found = self._troubles()
        colour = found[0].style if found else "green"
        lines = found or [Text("all is well", "green")]
        return Panel(Group(*lines, line), title=escape(self._title), title_align="left", border_style=colour)

    def _troubles(self) -> list[Text]:
        found = troubles(self._figures)
        lines = [Text(f"{'✗' if each.colour == GRAVE else '!'} {each.text}", each.colour) for each in found]
        if len(lines) > TROUBLES_SHOWN:
            rest = len(lines) - TROUBLES_SHOWN + 1
            lines[TROUBLES_SHOWN - 1 :] = [Text(f"and {rest} more", found[TROUBLES_SHOWN - 1].colour)]
        return lines

    def _nodes(self) -> RenderableType:
        table = _table("nodes", "node", "state", "leads", "memory", "of limit", "HTTP/s", "behind")
        for node_id, samples in self._nodes_seen.items():
            if samples is None:
                table.add_row(escape(node_id), Text("silent", GRAVE), *["-"] * 5)
                continue
            used, limit = (self._figures.of(node_id, f"raftcache_memory_{name}_bytes") for name in ("used", "max"))
            ready = self._figures.of(node_id, "raftcache_ready")
            cells = (
                Text("ready", "green") if ready else Text("not ready", WARNING),
                f"{sum(samples.get('raftcache_is_leader', {}).values()):.0f}",
                _bytes(used),
                _bar(used / limit if limit else 0.0),
                _number(self._figures.rate("raftcache_http_requests_total", node=node_id)),
                f"{1000 * self._figures.of(node_id, 'raftcache_loop_lag_seconds'):.0f} ms",
            )
            table.add_row(escape(node_id), *cells)
        return table

    def _shards(self) -> RenderableType:
        table = _table("shards", "shard", "leader", "term", "keys", "lag", "uncommitted", "hottest key")
        for shard, leader in self._figures.leaders().items():
            lag_ms = self._figures.most("raftcache_replica_lag_ms", shard=shard)
            keys = "-" if shard == METADATA else f"{self._figures.most('raftcache_keys', shard=shard):,.0f}"
            cells = (
                Text(leader, "green") if leader else Text("none", GRAVE),
                f"{self._figures.most('raftcache_term', shard=shard):.0f}",
                keys,
                Text(f"{lag_ms:.0f} ms", WARNING if lag_ms > 1000 else ""),
                f"{self._figures.sum('raftcache_speculative_writes', shard=shard):,.0f}",
                f"{self._figures.most('raftcache_hottest_key_share', shard=shard):.0%}",
            )
            table.add_row(shard, *cells)
        return table

    def _namespaces(self) -> RenderableType:
        columns = ("keys", "memory", "of quota", "reads/s", "hit rate", "evicted/s", "limited/s", "refused/s")
        table = _table("namespaces", "namespace", *columns, "of window", "lost", words=1)
        size = self._figures.whole("raftcache_namespace_bytes")
        keys, used = self._figures.whole("raftcache_namespace_keys"), self._figures.used_of_quota()
        for name in sorted(self._figures.namespaces(), key=lambda name: (-size.get(name, 0.0), name)):
            quota = _bar(used[name]) if name in used else Text("no quota", "dim")
            held = (f"{keys.get(name, 0.0):,.0f}", _bytes(size.get(name, 0.0)))
            table.add_row(escape(name), *held, quota, *self._traffic(name))
        return table

    def _traffic(self, name: str) -> tuple[str | Text, ...]:
        """What was asked of a namespace, and what was refused: for its rate, or for want of room."""
        figures = self._figures
        refused = figures.rate("raftcache_namespace_refused_total", namespace=name)
        limited = figures.rate("raftcache_namespace_refused_total", namespace=name, code="rate_limited")
        lost = figures.sum("raftcache_lost_writes_total", namespace=name)
        return (
            _number(figures.reads(namespace=name)),
            _part(figures.hit_rate(namespace=name)),
            _number(figures.rate("raftcache_evicted_keys_total", namespace=name)),
            _noted(limited),
            _noted(None if refused is None or limited is None else refused - limited),
            f"{figures.most('raftcache_window_used_ratio', namespace=name):.0%}",
            Text(f"{lost:,.0f}", WARNING if lost else ""),
        )

    def _hot_keys(self) -> RenderableType:
        columns = ("qps", "hit rate", "bytes", "of its shard", "front ends", "shard")
        table = _table("hot keys", "namespace", "key", *columns)
        buckets = (self._hot or {}).get("buckets", [])
        newest = buckets[1] if len(buckets) > 1 else buckets[0] if buckets else {"keys": []}
        for row in newest["keys"][:HOT_SHOWN]:
            hit_rate = "-" if row["hitRate"] is None else f"{row['hitRate']:.0%}"
            cells = (f"{row['qps']:,.1f}", hit_rate, f"{row['bytes']:,}", _bar(row["shareOfShard"]))
            where = (str(row["fanoutCount"]), row["shard"])
            table.add_row(escape(row["namespace"]), escape(row["key"]), *cells, *where)
        return table


def _noted(rate: float | None) -> Text:
    """A rate that should be 0."""
    return Text(_number(rate), WARNING if rate else "")


def _table(title: str, *columns: str, words: int = 2) -> Table:
    """`words` is how many columns at the left are words; all others are figures."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold blue")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="left" if number < words else "right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


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
