"""Cluster status, health, metrics and the OpenAPI document."""

from __future__ import annotations

from http_caller import DOCUMENT, Caller

from raftcache.frontends.http.app import ROUTES


def test_cluster(caller: Caller) -> None:
    shard = {
        "id": "7c1f",
        "slots": [[0, 16383]],
        "replicas": [{"node": "n0", "state": "voter"}],
        "leader": "n0",
        "term": 3,
    }
    expected = {"epoch": 7, "nodes": [{"id": "n0", "state": "up"}], "shards": [shard]}
    assert caller.call("GET", "/v1/cluster").json == expected


def test_health(caller: Caller) -> None:
    assert caller.call("GET", "/livez").json == {"ok": True, "reason": ""}
    assert caller.call("GET", "/readyz").json == {"ok": True, "reason": ""}
    caller.backend.is_ready = (False, "shard 7c1f has no leader")
    answer = caller.call("GET", "/readyz")
    assert (answer.status, answer.json) == (503, {"ok": False, "reason": "shard 7c1f has no leader"})
    assert caller.call("GET", "/livez").status == 200


def test_metrics(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/k", {"value": 1})
    caller.call("GET", "/v1/cache/default/k")
    caller.call("GET", "/v1/cache/default/none")
    caller.call("GET", "/nowhere")
    answer = caller.call("GET", "/metrics")
    lines = answer.body.decode().splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    route = 'method="GET",route="/v1/cache/{namespace}/{key}"'
    assert f'raftcache_http_requests_total{{{route},status="200"}} 1.0' in lines
    assert f'raftcache_http_requests_total{{{route},status="404"}} 1.0' in lines
    assert 'raftcache_http_requests_total{method="any",route="unmatched",status="404"} 1.0' in lines
    assert f'raftcache_http_request_seconds_bucket{{le="0.0001",{route}}} 2.0' in lines
    assert f"raftcache_http_request_seconds_count{{{route}}} 2.0" in lines
    assert "raftcache_http_in_flight 1.0" in lines
    assert "raftcache_fake_entries 1.0" in lines


def test_snapshots_are_taken_and_reported(caller: Caller) -> None:
    caller.call("PUT", "/v1/cache/default/k", {"value": 1})
    row = {"node": "n0", "group": "7c1f", "index": 7, "keys": 1, "bytes": 100, "seconds": 0.5, "error": None}
    assert caller.call("POST", "/v1/snapshots", {}).json == {"snapshots": [row]}
    rows = caller.call("POST", "/v1/snapshots", {"nodes": ["n9"], "shards": ["7c1f"]}).json["snapshots"]
    assert [(each["node"], each["index"], each["error"]) for each in rows] == [("n9", None, "no such replica")]
    assert caller.call("POST", "/v1/snapshots", {"node": "n0"}).error["code"] == "bad_request"


def test_stray_paths_and_methods(caller: Caller) -> None:
    for path in ("/", "/v1/cache/default", "/v1/cache//k", "/v2/cache/a/b", "//v1/cluster"):
        answer = caller.call("GET", path)
        assert (answer.status, answer.error["code"]) == (404, "not_found"), path
    answer = caller.call("POST", "/v1/cluster")
    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "method_not_allowed", "GET")
    assert caller.call("PATCH", "/v1/cache/default/k").headers["allow"] == "DELETE,GET,PUT"


def test_the_document_is_served(caller: Caller) -> None:
    assert caller.call("GET", "/v1/openapi.json").json == DOCUMENT


def test_every_route_and_status_of_the_table_is_documented() -> None:
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        assert {int(status) for status in responses} == route.statuses
        assert all(response["description"] for response in responses.values())


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(ROUTES)


def test_the_limits_of_the_types_are_in_the_document() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Policy"]["properties"]["maxItemBytes"]["maximum"] == 1 << 20
    assert schemas["GetMany"]["properties"]["keys"]["maxItems"] == 1000
    assert schemas["PutBody"]["additionalProperties"] is False
    get = DOCUMENT["paths"]["/v1/cache/{namespace}/{key}"]["get"]
    assert {
        "name": "consistency",
        "in": "query",
        "required": False,
        "schema": {"enum": ["committed", "latest", "linearizable"]},
    } in get["parameters"]
