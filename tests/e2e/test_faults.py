"""A killed leader, and a leader that is cut off from the others but not from its clients."""

from __future__ import annotations

from e2e.support import Written, put, read, samples, shards, write
from jepsen_like.cluster import RealCluster, wait_until
from jepsen_like.load import shard_targets
from raftcache.cli.api import Api
from raftcache.commands.types import Version


def key_in(address: str, shard_id: str, number: int = 0) -> str:
    """A key of `safe` that falls into the shard; another one for another number."""
    body = Api(f"http://{address}").send("GET", "/v1/cluster")
    target = next(target for target in shard_targets(body) if target.group == shard_id)
    return target.write(2 * number + 1).key


def test_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost(cluster: RealCluster) -> None:
    """Leadership may move between looking and killing (the controller balances): what counts is who was killed."""
    nodes = cluster.http()
    shard_id = next(group for group in cluster.leaders() if group != "meta")
    first = next(iter(nodes.values()))
    keys = [key_in(first, shard_id, number) for number in range(20)]
    written = {key: write(first, key, 1) for key in keys[:10]}
    before = cluster.wait_ready()
    killed = cluster.fault("kill-leader", shard_id).done[0]
    victim = str(killed["node"])
    assert (killed["leader_of"], killed["pid"]) == (shard_id, before[victim])
    other = next(address for node, address in nodes.items() if node != victim)
    written |= {key: acknowledged_in_the_end(other, key) for key in keys[10:]}
    old, new = (Version.parse(written[key].version) for key in (keys[0], keys[-1]))
    assert new.shard == old.shard and new.term > old.term
    wait_until(lambda: (cluster.ready() or before)[victim] != before[victim], "the killed node to be back")
    for address in nodes.values():
        assert read(address, keys) == written


def acknowledged_in_the_end(address: str, key: str) -> Written:
    """Write value 1, through whatever happens: writing the same again changes nothing but the version."""
    answers: list[Written] = []

    def acknowledged() -> bool:
        answer = put(address, key, {"value": 1})
        assert answer.status in (201, 503, 504), answer
        if answer.status == 201:
            answers.append(Written(1, answer.json()["version"]))
        return bool(answers)

    wait_until(acknowledged, f"{key} to be acknowledged")
    return answers[0]


def test_an_isolated_leader_steps_down_while_the_others_go_on(cluster: RealCluster) -> None:
    nodes = cluster.http()
    shard_id, leader = next((group, node) for group, node in cluster.leaders().items() if group != "meta")
    assert leader is not None
    alone, others = nodes[leader], [address for node, address in nodes.items() if node != leader]
    keys = [key_in(alone, shard_id, number) for number in range(20)]
    written = {key: write(alone, key, 1) for key in keys[:5]}

    cluster.fault("isolate", leader)
    cut_off = put(alone, keys[5], {"value": 2})
    assert (cut_off.status, cut_off.json()["error"]["code"]) in ((503, "no_leader"), (504, "outcome_unknown"))
    wait_until(lambda: _leads(alone, shard_id) == 0, "the isolated leader to step down")
    wait_until(lambda: all(_leader(address, shard_id) not in (None, leader) for address in others), "another leader")
    written |= {key: acknowledged_in_the_end(others[number % 2], key) for number, key in enumerate(keys[10:])}
    refused = Api(f"http://{alone}").call(
        "GET", f"/v1/cache/safe/{keys[0]}?consistency=linearizable", headers={"Raftcache-Timeout-Ms": "300"}
    )
    assert (refused.status, refused.json()["error"]["code"]) == (503, "no_leader")

    term = shards(others[0])[shard_id]["term"]
    cluster.fault("heal", leader)
    wait_until(lambda: shards(alone)[shard_id]["term"] >= term, "the healed node to hear of the new leader")
    for address in nodes.values():
        assert read(address, list(written)) == written
    found = read(alone, keys[5:6])
    assert not found or (cut_off.status == 504 and found[keys[5]].value == 2)
    assert write(alone, keys[6], 3).value == 3


def _leads(address: str, shard_id: str) -> float:
    return samples(address)["raftcache_is_leader"][(shard_id,)]


def _leader(address: str, shard_id: str) -> str | None:
    leader: str | None = shards(address)[shard_id]["leader"]
    return leader
