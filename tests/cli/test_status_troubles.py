"""What `raftcache status --watch` says is wrong."""

from __future__ import annotations

import pytest

from raftcache.cli.status_figures import Figures, Samples, Seen
from raftcache.cli.status_troubles import GRAVE, WARNING, troubles

from .status_samples import body, seen, well

THREE = ("n0", "n1", "n2")


def look(at_s: float, **changes: dict[str, float]) -> Seen:
    """Three nodes, of which the first is changed."""
    return seen(at_s, {"n0": well(**changes), "n1": well(), "n2": well()})


def told(now: Seen, before: Seen | None = None) -> list[tuple[str, str]]:
    return [(each.colour, each.text) for each in troubles(Figures(now, before))]


def test_nothing_is_wrong() -> None:
    assert told(look(12.0), look(10.0)) == [] and told(look(12.0)) == []


@pytest.mark.parametrize(
    ("changes", "colour", "text"),
    [
        ({"ready": {"": 0.0}}, WARNING, "n0 is not ready: its /readyz says why"),
        ({"shard_lost": {"shard=aa": 1.0}}, GRAVE, "shard aa is lost: `raftcache shard list`"),
        ({"disk_error": {"shard=aa": 1.0}}, GRAVE, "the disk of n0 refuses to be written"),
        ({"votes_error": {"": 1.0}}, GRAVE, "the disk of n0 refuses to be written"),
        ({"replicas": {"state=stopped": 2.0}}, GRAVE, "2 replicas on n0 are stopped: its log says why"),
        ({"replica_lag_ms": {"shard=aa,node=n2": 12_000.0}}, WARNING, "n2 is 12 s behind in replication"),
        ({"window_used_ratio": {"shard=aa,namespace=q": 0.9}}, WARNING, "q has 90% of a shard's loss window in use"),
        ({"memory_used_bytes": {"": 4 << 20}}, GRAVE, "n0 is at its memory limit: writes are refused"),
        (
            {"memory_used_bytes": {"": 0.96 * (4 << 20)}},
            WARNING,
            "the memory of n0 is over the mark, at 96% of the limit",
        ),
        ({"shedding": {"": 1.0}}, GRAVE, "n0 refuses requests: it has more work than it does in time"),
        (
            {"lost_writes_total": {"namespace=q": 3.0}},
            WARNING,
            "q has lost 3 acknowledged writes since the nodes started",
        ),
    ],
)
def test_what_is_wrong_now(changes: dict[str, dict[str, float]], colour: str, text: str) -> None:
    assert told(look(12.0, **changes), look(10.0, **changes)) == [(colour, text)]


@pytest.mark.parametrize(
    ("name", "labels", "colour", "text"),
    [
        ("elections_won_total", "shard=aa", WARNING, "another leader just now: shard aa"),
        ("lost_writes_total", "namespace=q", GRAVE, "q has just lost acknowledged writes: `raftcache lost-writes`"),
        (
            "evicted_keys_total",
            "shard=aa,namespace=q,reason=node_memory",
            WARNING,
            "q loses 10 keys a second to the node's memory limit",
        ),
        (
            "namespace_refused_total",
            "shard=aa,namespace=q,code=quota_exceeded",
            GRAVE,
            "q: 10 writes a second are refused, its quota is full",
        ),
        (
            "namespace_refused_total",
            "shard=aa,namespace=q,code=loss_window_full",
            WARNING,
            "q: 10 writes a second are refused, its loss window is full",
        ),
        (
            "namespace_refused_total",
            "shard=aa,namespace=q,code=rate_limited",
            WARNING,
            "q: 10 commands a second are refused, it asks for more than its rate",
        ),
        ("bounds_reached_total", "shard=aa,bound=b", WARNING, "n0 reaches bounds, 10 times a second"),
    ],
)
def test_what_has_happened_since_the_look_before(name: str, labels: str, colour: str, text: str) -> None:
    begun = {name: {labels: 0.0}}
    assert told(look(12.0, **{name: {labels: 20.0}}), look(10.0, **begun)) == [(colour, text)]
    assert told(look(12.0, **{name: {labels: 20.0}}), look(10.0, **{name: {labels: 20.0}})) in (
        [],
        [(WARNING, "q has lost 20 acknowledged writes since the nodes started")],
    )


def test_a_shard_without_a_leader() -> None:
    nodes: dict[str, Samples | None] = {node_id: well() for node_id in THREE}
    now = seen(10.0, nodes, **{node_id: body(leader=None) for node_id in THREE})
    assert told(now) == [(GRAVE, "no leader, so that writes fail: shard aa")]


def test_groups_are_named_in_one_line_and_many_are_counted() -> None:
    shards = [{"id": f"s{n}", "slots": [[n, n]], "leader": None, "term": 1} for n in range(7)]
    told_by_n0 = {**body(), "shards": shards, "metadata": {"leader": None, "term": 1}}
    [(_, text)] = told(seen(10.0, {"n0": well()}, n0=told_by_n0))
    assert text.endswith(": shard s0, shard s1, shard s2, shard s3, shard s4, shard s5 and 2 more")


def test_a_node_that_is_down() -> None:
    nodes: dict[str, Samples | None] = {"n0": well(), "n1": well(), "n2": None}
    now = seen(10.0, nodes, n0=body(n2="down"), n1=body(n2="down"))
    assert told(now) == [(GRAVE, "n2 does not answer")]


def test_a_node_that_is_cut_off_is_named_once_and_not_the_others() -> None:
    nodes: dict[str, Samples | None] = {node_id: well() for node_id in THREE}
    bodies = {"n0": body(n1="down"), "n1": body(n0="down", n2="down"), "n2": body(n1="down")}
    assert told(seen(10.0, nodes, **bodies)) == [(GRAVE, "n1 is cut off from n0, n2")]


def test_seen_from_a_single_node_others_are_down_as_it_says() -> None:
    now = seen(10.0, {"localhost:7100": well()}, **{"localhost:7100": body(n2="down")})
    assert told(now) == [(GRAVE, "n2 is down, says localhost:7100")]


def test_the_gravest_comes_first() -> None:
    changes: dict[str, dict[str, float]] = {"ready": {"": 0.0}, "disk_error": {"shard=aa": 1.0}}
    assert [colour for colour, _ in told(look(12.0, **changes))] == [GRAVE, WARNING]
