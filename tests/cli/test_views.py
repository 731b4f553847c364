"""Reading `/v1/cluster`: who leads, and whether the cluster is whole."""

from __future__ import annotations

from typing import Any

import pytest

from cli.recorded import cluster_body
from raftcache.cli.local import choose_leader
from raftcache.cli.output import Failed
from raftcache.supervisor.cluster import plan_cluster
from raftcache.supervisor.probe import NodeView, serving
from raftcache.supervisor.views import in_slot_order, is_whole, leaders, led_by


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The recorded body with one value replaced."""
    body = cluster_body()
    target: Any = body
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return body


def test_a_whole_cluster() -> None:
    assert is_whole(cluster_body(), shards=2, replicas=3)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("shards", 1, "leader"), None),
        (("metadata", "leader"), None),
        (("shards", 0, "replicas", 2, "state"), "lagging"),
        (("shards", 0, "replicas", 2, "state"), "joining"),
        (("metadata", "replicas", 0, "state"), "unknown"),
        (("shards", 0, "replicas"), []),
        (("shards", 0, "replicas"), [{"node": "n0", "state": "voter"}]),
        (("shards",), []),
    ],
)
def test_what_makes_it_less_than_whole(place: tuple[Any, ...], value: Any) -> None:
    assert not is_whole(changed(place, value), shards=2, replicas=3)


def test_a_cluster_before_its_first_epoch_is_not_whole() -> None:
    assert not is_whole({"epoch": 0, "nodes": [], "shards": []}, shards=2, replicas=3)


def test_a_node_serves_when_it_is_ready_and_sees_all() -> None:
    cluster = plan_cluster(nodes=3, shards=2, replicas=3, base_port=7100)
    views = {
        "n0": NodeView(True, cluster_body()),
        "n1": NodeView(False, cluster_body()),
        "n2": NodeView(True, None),
    }
    assert serving(cluster, views) == {"n0": True, "n1": False, "n2": False}


def test_leaders_come_in_slot_order() -> None:
    assert list(leaders([cluster_body()]).items()) == [("2d25", "n1"), ("ccba", "n0"), ("meta", "n1")]
    assert [shard["id"] for shard in in_slot_order(cluster_body())] == ["2d25", "ccba"]
    assert led_by("n1", leaders([cluster_body()])) == ["2d25", "meta"]


def test_the_answer_of_the_highest_term_counts() -> None:
    old = cluster_body()
    new = changed(("shards", 1), {**old["shards"][1], "leader": "n2", "term": 3})
    unsure = changed(("shards", 1), {**old["shards"][1], "leader": None, "term": 3})
    for order in ([old, new, unsure], [unsure, new, old], [new, old, unsure]):
        assert leaders(order)["2d25"] == "n2"
    assert leaders([old, unsure])["2d25"] is None


@pytest.mark.parametrize(
    ("target", "chosen"),
    [(None, ("2d25", "n1")), ("ccba", ("ccba", "n0")), ("meta", ("meta", "n1"))],
)
def test_whom_kill_leader_hits(target: str | None, chosen: tuple[str, str]) -> None:
    assert choose_leader([cluster_body()], target) == chosen


def test_kill_leader_says_why_it_cannot() -> None:
    with pytest.raises(Failed, match="no shard 'ffff'; there are 2d25, ccba, meta"):
        choose_leader([cluster_body()], "ffff")
    with pytest.raises(Failed, match="2d25 has no leader"):
        choose_leader([changed(("shards", 1, "leader"), None)], None)
    with pytest.raises(Failed, match="no node answers"):
        choose_leader([], None)
