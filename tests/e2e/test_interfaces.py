"""What a real node shows of itself: the documented interface, and the promised metrics."""

from __future__ import annotations

import msgspec

from e2e.support import addresses, samples, write
from jepsen_like.cluster import RealCluster, wait_until
from raftcache.cli.api import Api
from raftcache.frontends.http.app import OPENAPI

NAMES = (
    "raftcache_http_requests_total",
    "raftcache_http_request_seconds_bucket",
    "raftcache_keyspace_hits_total",
    "raftcache_keyspace_misses_total",
    "raftcache_redis_connected_clients",
    "raftcache_is_leader",
    "raftcache_commit_index",
    "raftcache_speculative_writes",
    "raftcache_held_commands",
    "raftcache_replica_lag_ms",
    "raftcache_replica_lag_writes",
)


def test_the_interface_is_the_documented_one(whole: RealCluster) -> None:
    for address in addresses(whole, "http").values():
        assert Api(f"http://{address}").send("GET", "/v1/openapi.json") == msgspec.json.decode(OPENAPI)


def test_every_promised_metric_is_there(whole: RealCluster) -> None:
    http = addresses(whole, "http")
    for name in NAMES:
        assert any(name in samples(address) for address in http.values()), name


def test_metrics_count_what_happened(whole: RealCluster) -> None:
    address = addresses(whole, "http")["n0"]
    before = _totals(whole)
    write(address, "counted", 1)
    api = Api(f"http://{address}")
    assert [api.call("GET", f"/v1/cache/safe/{key}").status for key in ("counted", "not-there")] == [200, 404]
    after = _totals(whole)
    assert {name: after[name] - before[name] for name in after} == {"hits": 1, "misses": 1, "sets": 1, "puts": 1}


def test_a_hot_key_tells_by_how_many_front_ends_it_was_asked_for(whole: RealCluster) -> None:
    http = sorted(addresses(whole, "http").values())
    write(http[0], "asked-by-one", 1)
    for each in http:
        write(each, "asked-by-all", 1)
    seen: dict[str, int] = {}
    answer = Api(f"http://{http[0]}").send("GET", "/v1/hotkeys?namespace=safe&limit=100&bucketSeconds=60")
    for row in (row for bucket in answer["buckets"] for row in bucket["keys"]):
        seen[row["key"]] = max(seen.get(row["key"], 0), row["fanoutCount"])
    assert (answer["nodesAsked"], seen["asked-by-one"], seen["asked-by-all"]) == (3, 1, 3)


def _totals(cluster: RealCluster) -> dict[str, float]:
    """The counters that a write and two reads change, over all nodes."""
    totals = dict.fromkeys(("hits", "misses", "sets", "puts"), 0.0)
    for address in addresses(cluster, "http").values():
        seen = samples(address)
        for name in ("hits", "misses"):
            totals[name] += sum(seen[f"raftcache_keyspace_{name}_total"].values())
        totals["sets"] += sum(seen["raftcache_sets_total"].values())
        requests = seen["raftcache_http_requests_total"]
        totals["puts"] += requests.get(("PUT", "/v1/cache/{namespace}/{key}", "201"), 0.0)
    return totals


def test_a_retried_incr_counts_once_whatever_node_is_asked(whole: RealCluster) -> None:
    http = sorted(addresses(whole, "http").values())
    asked = {"namespace": "safe", "key": "retried"}
    key = {"Idempotency-Key": "e2e-1"}
    answers = [Api(f"http://{each}").send("POST", "/v1/cache/incr", asked, headers=key) for each in http * 2]
    assert answers == [answers[0]] * len(answers) and answers[0]["value"] == 1
    body = msgspec.json.encode({**asked, "delta": 2})
    other = Api(f"http://{http[0]}").call("POST", "/v1/cache/incr", body, {"Content-Type": "application/json", **key})
    assert (other.status, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert sum(sum(samples(each)["raftcache_replays_answered_total"].values()) for each in http) == len(answers) - 1


def test_each_shard_has_one_leader_and_two_replicas_that_keep_up(whole: RealCluster) -> None:
    def settled() -> bool:
        seen = [samples(address) for address in addresses(whole, "http").values()]
        led = [labels for each in seen for labels, value in each["raftcache_is_leader"].items() if value]
        lags = [lag for each in seen for lag in each.get("raftcache_replica_lag_writes", {}).values()]
        led_once = len(led) == len(set(led)) == whole.shards + 1
        return led_once and len(lags) == 2 * whole.shards and not any(lags)

    wait_until(settled, "every group to be led once and every shard to be replicated twice")
