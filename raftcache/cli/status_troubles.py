"""What is wrong with a cluster, in the words for an operator: the first lines of `raftcache status --watch`. Pure.

The worst comes first. Thresholds are those of `configs/alerts.yml`, but here nothing has to last: what is shown is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from raftcache.cli.status_figures import Figures
from raftcache.supervisor.views import METADATA

MEMORY_FULL = 0.97
WINDOW_NEARLY_USED = 0.8
LAG_MS = 10_000.0
NAMES_SHOWN = 6
GRAVE, WARNING = "red", "yellow"


class Trouble(NamedTuple):
    """One thing that is wrong, and how bad it is: the colour to show it in."""

    colour: str
    text: str


def troubles(figures: Figures) -> list[Trouble]:
    """Everything that is wrong as far as these figures tell, the gravest first."""
    found = [
        *_nodes(figures),
        *_groups(figures),
        *_replicas(figures),
        *_losses(figures),
        *_memory(figures),
        *_refusals(figures),
        *_load(figures),
    ]
    return sorted(found, key=lambda trouble: trouble.colour != GRAVE)


def _nodes(figures: Figures) -> Iterator[Trouble]:
    nodes, bodies = figures.now.nodes, figures.now.clusters
    missing = {node_id for node_id, samples in nodes.items() if samples is None}
    cut: list[tuple[str, str]] = []
    for seen_by, body in bodies.items():
        for row in body["nodes"]:
            if row["state"] != "up" and row["id"] not in missing:
                cut.append((row["id"], seen_by))
    for node_id in sorted(missing):
        yield Trouble(GRAVE, f"{node_id} does not answer")
    yield from _cut_off(cut, set(nodes))
    for node_id, samples in nodes.items():
        if samples is not None and not figures.of(node_id, "raftcache_ready"):
            yield Trouble(WARNING, f"{node_id} is not ready: its /readyz says why")


def _cut_off(cut: list[tuple[str, str]], watched: set[str]) -> Iterator[Trouble]:
    """Pairs of nodes that do not hear each other, put down to the fewest nodes that explain them."""
    left = {frozenset(pair) for pair in cut}
    while left:
        names = sorted({name for pair in left for name in pair})
        worst = max(names, key=lambda name: (sum(name in pair for pair in left), name in {each for each, _ in cut}))
        others = sorted(name for pair in left if worst in pair for name in pair if name != worst)
        word = "is cut off from" if worst in watched else "is down, says"
        yield Trouble(GRAVE, f"{worst} {word} {', '.join(others)}")
        left = {pair for pair in left if worst not in pair}


def _groups(figures: Figures) -> Iterator[Trouble]:
    for shard in sorted(figures.labelled("raftcache_shard_lost", "shard")):
        if figures.most("raftcache_shard_lost", shard=shard):
            yield Trouble(GRAVE, f"shard {shard} is lost: `raftcache shard list`")
    leaders = figures.leaders()
    if without := [group for group, leader in leaders.items() if leader is None]:
        yield Trouble(GRAVE, f"no leader, so that writes fail: {_listed(without)}")
    if elected := [group for group in leaders if figures.rate("raftcache_elections_won_total", shard=group)]:
        yield Trouble(WARNING, f"another leader just now: {_listed(elected)}")


def _listed(groups: list[str]) -> str:
    names = ["the metadata group" if group == METADATA else f"shard {group}" for group in groups]
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _replicas(figures: Figures) -> Iterator[Trouble]:
    for node_id in figures.now.nodes:
        samples = figures.now.nodes[node_id] or {}
        if any(samples.get("raftcache_disk_error", {}).values()) or figures.of(node_id, "raftcache_votes_error"):
            yield Trouble(GRAVE, f"the disk of {node_id} refuses to be written")
        for labels, count in samples.get("raftcache_replicas", {}).items():
            state = dict(labels)["state"]
            if count and state in ("stopped", "refused"):
                yield Trouble(GRAVE, f"{count:.0f} replicas on {node_id} are {state}: its log says why")
    for node_id in sorted(figures.labelled("raftcache_replica_lag_ms", "node")):
        if (lag_ms := figures.most("raftcache_replica_lag_ms", node=node_id)) > LAG_MS:
            yield Trouble(WARNING, f"{node_id} is {lag_ms / 1000:.0f} s behind in replication")


def _losses(figures: Figures) -> Iterator[Trouble]:
    for name in sorted(figures.labelled("raftcache_lost_writes_total", "namespace")):
        if figures.rate("raftcache_lost_writes_total", namespace=name):
            yield Trouble(GRAVE, f"{name} has just lost acknowledged writes: `raftcache lost-writes`")
        elif lost := figures.sum("raftcache_lost_writes_total", namespace=name):
            yield Trouble(WARNING, f"{name} has lost {lost:,.0f} acknowledged writes since the nodes started")
    for name in sorted(figures.labelled("raftcache_window_used_ratio", "namespace")):
        if (used := figures.most("raftcache_window_used_ratio", namespace=name)) > WINDOW_NEARLY_USED:
            yield Trouble(WARNING, f"{name} has {used:.0%} of a shard's loss window in use")


def _memory(figures: Figures) -> Iterator[Trouble]:
    for node_id in figures.now.nodes:
        used, mark, limit = (figures.of(node_id, f"raftcache_memory_{name}_bytes") for name in ("used", "mark", "max"))
        if limit and used > MEMORY_FULL * limit:
            yield Trouble(GRAVE, f"{node_id} is at its memory limit: writes are refused")
        elif mark and used > mark:
            yield Trouble(WARNING, f"the memory of {node_id} is over the mark, at {used / limit:.0%} of the limit")
    for name in sorted(figures.labelled("raftcache_evicted_keys_total", "namespace")):
        if evicted := figures.rate("raftcache_evicted_keys_total", namespace=name, reason="node_memory"):
            yield Trouble(WARNING, f"{name} loses {evicted:,.0f} keys a second to the node's memory limit")


def _refusals(figures: Figures) -> Iterator[Trouble]:
    kinds = (
        (GRAVE, "quota_exceeded", "writes a second are refused, its quota is full"),
        (WARNING, "loss_window_full", "writes a second are refused, its loss window is full"),
        (WARNING, "rate_limited", "commands a second are refused, it asks for more than its rate"),
    )
    for name in sorted(figures.labelled("raftcache_namespace_refused_total", "namespace")):
        for colour, code, words in kinds:
            if refused := figures.rate("raftcache_namespace_refused_total", namespace=name, code=code):
                yield Trouble(colour, f"{name}: {_per_second(refused)} {words}")


def _load(figures: Figures) -> Iterator[Trouble]:
    for node_id in figures.now.nodes:
        if figures.of(node_id, "raftcache_shedding"):
            yield Trouble(GRAVE, f"{node_id} refuses requests: it has more work than it does in time")
        if bounds := figures.rate("raftcache_bounds_reached_total", node=node_id):
            yield Trouble(WARNING, f"{node_id} reaches bounds, {_per_second(bounds)} times a second")


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 1 else f"{rate:.1f}"
