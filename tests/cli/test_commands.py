"""The command line: what it accepts, what it sends, what it prints, how it fails."""

from __future__ import annotations

import argparse
import json
import re
import socket
from pathlib import Path

import msgspec
import pytest

from cli.fake_server import FakeCache
from raftcache.cli.api import key_path, split_url
from raftcache.cli.kv import json_value
from raftcache.cli.main import build_parser, main
from raftcache.cli.output import Failed
from raftcache.cli.up import chosen_cluster
from raftcache.config import ConfigError, DialConfig
from raftcache.supervisor.cluster import KINDS, plan_cluster

GIVEN = ["up", "--nodes", "5", "--shards", "8", "--replicas", "3", "--base-port", "8000", "--data-dir", "d"]

COMMANDS = (
    "up",
    "node",
    "frontend",
    "status",
    "kv get",
    "kv set",
    "kv del",
    "kv incr",
    "kv expire",
    "kv mget",
    "kv invalidate-tag",
    "receipt",
    "lost-writes",
    "hotkeys",
    "namespace list",
    "namespace set",
    "namespace delete",
    "namespace invalidate",
    "shard list",
    "shard replace",
    "snapshot take",
    "snapshot inspect",
    "wal inspect",
    "wal verify",
    "wal dump",
    "replay",
    "fault kill",
    "fault kill-leader",
    "fault pause",
    "fault resume",
    "fault isolate",
    "fault heal",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert f"raftcache {command}" in shown.split("examples:")[1]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["jump"],
        ["kv"],
        ["kv", "get"],
        ["kv", "incr", "a", "x"],
        ["kv", "incr", "a", "--idempotency-key", "caf\u00e9"],
        ["kv", "incr", "a", "--idempotency-key", " "],
        ["kv", "expire", "a", "soon"],
        ["kv", "set", "a", "1", "--durability", "sure"],
        ["shard", "replace", "7c1f"],
        ["shard", "replace", "7c1f", "--empty", "--from", "n1"],
        ["up", "--nodes", "many"],
        ["node"],
        ["fault", "kill"],
        ["fault", "kill", "n0", "--all"],
        ["status", "--url", "http://h:1", "--data-dir", "d"],
        ["namespace", "set", "a", "--ack", "none"],
        ["namespace", "invalidate"],
        ["kv", "invalidate-tag"],
        ["kv", "set", "a", "1", "--tag"],
        ["receipt", "default", "k"],
        ["receipt", "default", "k", "v7c1f.3.1", "--wait", "long"],
        ["snapshot"],
        ["snapshot", "take", "--node"],
    ],
)
def test_wrong_usage_is_exit_code_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(wrong)
    assert left.value.code == 2
    assert "usage: raftcache" in capsys.readouterr().err


def test_up_takes_its_options_or_the_defaults() -> None:
    given = build_parser().parse_args(GIVEN)
    cluster = chosen_cluster(None, given)
    assert (len(cluster.nodes), cluster.shards, cluster.replicas, cluster.base_port) == (5, 8, 3, 8000)
    bare = chosen_cluster(None, build_parser().parse_args(["up"]))
    assert (len(bare.nodes), bare.shards, bare.replicas, bare.base_port) == (3, 4, 3, 7100)
    single = chosen_cluster(None, build_parser().parse_args(["up", "--nodes", "1"]))
    assert single.replicas == 1


def test_up_keeps_to_what_the_folder_holds() -> None:
    existing = plan_cluster(nodes=5, shards=8, replicas=3, base_port=8000)
    for arguments in (["up"], GIVEN):
        assert chosen_cluster(existing, build_parser().parse_args(arguments)) is existing
    for field, other in (("--nodes", "3"), ("--shards", "4"), ("--replicas", "5"), ("--base-port", "7100")):
        with pytest.raises(Failed, match=f"{field} {other}: the cluster in raftcache-data was created with"):
            chosen_cluster(existing, build_parser().parse_args(["up", field, other]))


def test_a_memory_only_cluster_is_followed_by_a_new_one() -> None:
    ended = chosen_cluster(None, build_parser().parse_args([*GIVEN, "--memory"]))
    assert ended.memory and not plan_cluster(nodes=1, shards=1, replicas=1, base_port=7100).memory
    for arguments in (["up"], ["up", "--memory"], GIVEN):
        new = chosen_cluster(ended, build_parser().parse_args(arguments))
        assert (new.memory, len(new.nodes), new.shards, new.replicas, new.base_port) == (True, 5, 8, 3, 8000)
        assert new.cluster_id != ended.cluster_id and new.metadata_members != ended.metadata_members
    with pytest.raises(Failed, match="--shards 4: the cluster in raftcache-data was created with 8"):
        chosen_cluster(ended, build_parser().parse_args(["up", "--shards", "4"]))


def test_a_memory_only_cluster_keeps_its_nodes_views_of_each_other() -> None:
    ended = chosen_cluster(None, build_parser().parse_args([*GIVEN, "--memory"]))
    ended = msgspec.structs.replace(ended, dial={"n1": {"n0": DialConfig(peer="127.0.0.1:9")}})
    assert chosen_cluster(ended, build_parser().parse_args(["up"])).dial == ended.dial


def test_a_cluster_on_disk_is_not_started_memory_only() -> None:
    existing = plan_cluster(nodes=3, shards=4, replicas=3, base_port=7100)
    with pytest.raises(Failed, match="--memory: the cluster in raftcache-data was created with a disk"):
        chosen_cluster(existing, build_parser().parse_args(["up", "--memory"]))


def test_up_refuses_zero_nodes_and_port_zero() -> None:
    for wrong in (["--nodes", "0"], ["--base-port", "0"], ["--shards", "0"]):
        with pytest.raises(ConfigError, match=wrong[0]):
            chosen_cluster(None, build_parser().parse_args(["up", *wrong]))


def test_a_taken_port_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftcache.cli.up.PORT_PATIENCE_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        base = taken.getsockname()[1] - 1
        code = main(["up", "--nodes", "1", "--base-port", str(base), "--data-dir", str(tmp_path / "d")])
    assert code == 1
    said = capsys.readouterr().err
    named = re.match(r"raftcache: n0\.(http|rpc|peer|redis_router) = 127\.0\.0\.1:(\d+): cannot listen", said)
    assert named is not None, "another program may hold a neighbouring port; then that one is named"
    assert int(named[2]) == base + KINDS.index(named[1])
    assert not (tmp_path / "d" / "cluster.json").exists()


def test_faults_need_a_running_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["fault", "kill", "n0"], ["fault", "kill-leader"], ["status"]):
        assert main([*command, "--data-dir", str(tmp_path)]) == 1
        assert f"no cluster runs with --data-dir {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "parts"),
    [("http://h:80", ("h", 80)), ("http://127.0.0.1:7100/", ("127.0.0.1", 7100)), ("http://[::1]:7", ("::1", 7))],
)
def test_urls(url: str, parts: tuple[str, int]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["", "127.0.0.1:7100", "https://h:1", "http://h:1/v1", "http://h:x", "http://:1"])
def test_bad_urls(url: str) -> None:
    with pytest.raises(Failed, match="--url"):
        split_url(url)


def test_paths_hold_any_key() -> None:
    assert key_path("a", b"x/y z\xff%") == "/v1/cache/a/x%2Fy%20z%FF%25"


@pytest.mark.parametrize(
    ("text", "sent"),
    [("hello", '"hello"'), ('"hello"', '"hello"'), ("42", "42"), ("{", '"{"'), ('{"a": [1]}', '{"a": [1]}')],
)
def test_a_value_is_json_or_a_json_string(text: str, sent: str, cache: FakeCache) -> None:
    assert main(["kv", "set", "k", text, "--url", cache.url]) == 0
    assert json.loads(cache.log[-1][2]) == {"value": json.loads(sent)}


def test_a_value_that_is_no_text_needs_raw() -> None:
    with pytest.raises(Failed, match="--raw"):
        json_value("\udcff")


def test_what_set_sends_and_shows(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["kv", "set", "a/b", "1", "--ttl", "1.5", "--if-absent", "--durability", "quorum", "--url", cache.url]
    assert main(arguments) == 0
    method, path, body = cache.log[-1]
    assert (method, path) == ("PUT", "/v1/cache/default/a%2Fb")
    assert json.loads(body) == {"value": 1, "ttlSeconds": 1.5, "ifAbsent": True, "durability": "quorum"}
    assert capsys.readouterr().out == "v7c1.1.2 (primary)\n"


def test_what_a_raw_set_sends(cache: FakeCache) -> None:
    assert main(["kv", "set", "a", "\udcff\x00", "--raw", "--if-absent", "--ttl", "2", "--url", cache.url]) == 0
    assert cache.log[-1] == ("PUT", "/v1/cache/default/a?ttlSeconds=2.0&ifAbsent=true", b"\xff\x00")


def test_a_write_sends_its_idempotency_key(cache: FakeCache) -> None:
    for arguments in (["set", "a", "1"], ["set", "a", "x", "--raw"], ["del", "a"], ["incr", "n"], ["expire", "n", "5"]):
        main(["kv", *arguments, "--idempotency-key", "a-1 b", "--url", cache.url])
        main(["kv", *arguments, "--url", cache.url])
    assert cache.idempotency == ["a-1 b", None] * 5


def test_what_get_shows(cache: FakeCache, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    cache.values["default", b"a"] = b'{"b":1}'
    for options, shown in (
        ([], b'{"b":1}\n'),
        (["--raw"], b'{"b":1}'),
        (["-o", "json"], b'{"hit":true,"value":{"b":1},"version":"v7c1.1.2","ttlRemainingSeconds":null}\n'),
    ):
        assert main(["kv", "get", "a", "--url", cache.url, *options]) == 0
        assert capsysbinary.readouterr().out == shown


def test_a_miss_is_told_from_an_unknown_namespace(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kv", "get", "a", "--url", cache.url]) == 1
    assert capsys.readouterr() == ("", "raftcache: miss: default/a\n")
    assert main(["kv", "get", "a", "--url", cache.url, "-o", "json"]) == 1
    assert capsys.readouterr().out == '{"hit":false}\n'
    assert main(["kv", "get", "a", "--namespace", "nix", "--url", cache.url]) == 1
    assert capsys.readouterr().err == "raftcache: unknown_namespace: namespace 'nix' does not exist\n"


def test_conditions_and_errors_of_a_write(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kv", "set", "taken", "1", "--if-absent", "--url", cache.url]) == 1
    assert capsys.readouterr().err == "raftcache: not written: the key is at v7c1.1.1\n"
    assert main(["kv", "set", "refused", "1", "--url", cache.url]) == 1
    assert capsys.readouterr().err == "raftcache: no_leader: nobody leads\n"


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert main(["kv", "get", "a", "--url", f"http://127.0.0.1:{port}"]) == 1
    error = capsys.readouterr().err
    assert f"raftcache: cannot reach http://127.0.0.1:{port}: " in error
    assert error.count("\n") == 1


def test_namespaces(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["namespace", "list", "--url", cache.url]) == 0
    table = capsys.readouterr().out
    assert [name in table for name in ("default", "safe", "quorum", "1048576")] == [True] * 4
    assert main(["namespace", "set", "new", "--ack", "quorum", "--default-ttl", "60", "--url", cache.url]) == 0
    assert cache.log[-1][:2] == ("PUT", "/v1/namespaces/new")
    assert json.loads(cache.log[-1][2]) == {"ack": "quorum", "defaultTtlSeconds": 60.0}
    assert main(["namespace", "set", "new", "--max-ttl", "90", "--ttl-jitter", "10", "--url", cache.url]) == 0
    assert json.loads(cache.log[-1][2]) == {"maxTtlSeconds": 90.0, "ttlJitterPercent": 10}


def test_a_namespace_is_invalidated(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["namespace", "invalidate", "default", "--url", cache.url]) == 0
    assert cache.log[-1][:2] == ("POST", "/v1/namespaces/default/invalidate")
    assert capsys.readouterr().out == "default: all its keys are dropped\n"
    assert main(["namespace", "invalidate", "default", "--url", cache.url, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"invalidated": True, "namespace": "default"}


def test_a_tag_is_invalidated(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kv", "invalidate-tag", "user:7", "--url", cache.url]) == 0
    assert cache.log[-1][:2] == ("POST", "/v1/cache/default/tags/user%3A7/invalidate")
    assert capsys.readouterr().out == "default: all keys with the tag user:7 are dropped\n"
    assert main(["kv", "invalidate-tag", "t", "--url", cache.url, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"invalidated": True, "namespace": "default", "tag": "t"}


@pytest.mark.parametrize("command", [["namespace", "invalidate"], ["kv", "invalidate-tag", "t", "--namespace"]])
def test_an_invalidation_that_is_not_confirmed_is_an_error(
    cache: FakeCache, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    for name, code in (("safe", "outcome_unknown"), ("nix", "unknown_namespace")):
        assert main([*command, name, "--url", cache.url]) == 1
        assert capsys.readouterr().err.startswith(f"raftcache: {code}: ")


def test_a_value_is_set_with_tags(cache: FakeCache) -> None:
    assert main(["kv", "set", "a", "1", "--tag", "t", "--tag", "user:7", "--url", cache.url]) == 0
    assert json.loads(cache.log[-1][2]) == {"value": 1, "tags": ["t", "user:7"]}
    assert main(["kv", "set", "a", "1", "--raw", "--tag", "t", "--tag", "u", "--url", cache.url]) == 0
    assert cache.log[-1][1] == "/v1/cache/default/a?tags=t%2Cu"


def test_a_loss_window_is_set_and_shown(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    window = ["--window-ms", "200", "--window-bytes", "none", "--on-exceeded", "wait"]
    assert main(["namespace", "set", "carts", *window, "--url", cache.url]) == 0
    wanted = {"lossWindow": {"ms": 200, "bytes": None}, "onExceeded": "wait"}
    assert json.loads(cache.log[-1][2]) == wanted
    assert "lossWindow.writes 10000" in capsys.readouterr().out
    assert main(["namespace", "list", "--url", cache.url]) == 0
    assert "10000 writes" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["namespace", "set", "carts", "--window-ms", "soon", "--url", cache.url])
    assert "--window-ms: must be a number or none, got 'soon'" in capsys.readouterr().err


TAKEN = {"node": "n0", "group": "7c1f", "index": 12, "keys": 1000, "bytes": 52000, "seconds": 0.25, "error": None}
REFUSED = dict.fromkeys(TAKEN) | {"node": "n1", "group": "7c1f", "error": "the disk is full"}
SILENT = dict.fromkeys(TAKEN) | {"node": "n2", "error": "it does not answer"}


def test_snapshots_are_asked_for_and_shown(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.snapshots = [TAKEN]
    assert main(["snapshot", "take", "--url", cache.url]) == 0
    table = capsys.readouterr().out
    assert all(part in table for part in ("n0", "7c1f", "12", "1,000", "52,000", "0.2"))
    assert cache.log[-1][:2] == ("POST", "/v1/snapshots")
    assert json.loads(cache.log[-1][2]) == {"nodes": [], "shards": []}
    wanted = ["--node", "n0", "n1", "--shard", "7c1f", "--shard", "meta", "-o", "json"]
    assert main(["snapshot", "take", "--url", cache.url, *wanted]) == 0
    assert json.loads(capsys.readouterr().out) == {"snapshots": [TAKEN]}
    assert json.loads(cache.log[-1][2]) == {"nodes": ["n0", "n1"], "shards": ["7c1f", "meta"]}


def test_a_snapshot_that_was_not_taken_is_a_failure(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.snapshots = [TAKEN, REFUSED, SILENT]
    assert main(["snapshot", "take", "--url", cache.url]) == 1
    shown = capsys.readouterr()
    assert "7c1f" in shown.out and "n1" not in shown.out
    assert shown.err == "raftcache: n1 7c1f: the disk is full; n2: it does not answer\n"


def test_a_parsed_command_line_carries_its_command() -> None:
    args = build_parser().parse_args(["kv", "incr", "visits", "--", "-3"])
    assert isinstance(args, argparse.Namespace)
    assert args.delta == -3
    assert callable(args.run)


LOST_SHARD = {
    "id": "7c1f",
    "slots": [[0, 8191]],
    "state": "lost",
    "replicas": [{"node": "n0", "state": "unknown"}, {"node": "n2", "state": "refused", "reason": "why"}],
    "leader": None,
    "term": 3,
    "survivors": [
        {"node": "n2", "member": "n2.a.0", "term": 3, "lastIndex": 41, "keys": 1234},
        {"node": "n0", "member": "n0.a.0", "term": 3, "lastIndex": 40, "keys": None},
    ],
}
WHOLE_SHARD = {
    "id": "02ab",
    "slots": [[8192, 16383]],
    "state": "active",
    "replicas": [{"node": "n0", "state": "voter"}],
    "leader": "n0",
    "term": 2,
}


def test_shards_are_listed_with_what_is_left_of_lost_ones(
    cache: FakeCache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.cluster["shards"] = [WHOLE_SHARD, LOST_SHARD]
    assert main(["shard", "list", "--url", cache.url]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"7c1f\W+lost\W+0-8191\W+-\W+n0:unknown n2:refused", shown)
    assert re.search(r"02ab\W+active\W+8192-16383\W+n0\W+n0:voter", shown)
    assert re.search(r"n2\W+3\W+41\W+1,234", shown) and re.search(r"n0\W+3\W+40\W+\?", shown)
    assert "shard 7c1f is lost; raftcache shard replace 7c1f --from n2 (or --empty)" in shown
    assert main(["shard", "list", "--url", cache.url, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shards": [WHOLE_SHARD, LOST_SHARD]}


def test_a_lost_shard_with_nothing_left_can_only_start_empty(
    cache: FakeCache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.cluster["shards"] = [{**LOST_SHARD, "survivors": []}]
    assert main(["shard", "list", "--url", cache.url]) == 0
    assert "shard 7c1f is lost; raftcache shard replace 7c1f --empty\n" in capsys.readouterr().out


def test_status_says_which_shards_are_lost(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.cluster["shards"] = [WHOLE_SHARD, LOST_SHARD]
    assert main(["status", "--url", cache.url]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"7c1f\W+0-8191\W+LOST", shown) and "shard 7c1f is lost; see raftcache shard list" in shown
    assert "02ab is lost" not in shown


def test_what_replace_sends_and_shows(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.cluster["shards"] = [LOST_SHARD]
    assert main(["shard", "replace", "7c1f", "--from", "n2", "--url", cache.url]) == 0
    method, path, body = cache.log[-1]
    assert (method, path, json.loads(body)) == ("POST", "/v1/shards/replace", {"shard": "7c1f", "from": "n2"})
    assert capsys.readouterr().out == "shard 0b0b takes the place of 7c1f and starts from what n2 holds of it\n"
    assert main(["shard", "replace", "7c1f", "--empty", "--url", cache.url]) == 0
    assert json.loads(cache.log[-1][2]) == {"shard": "7c1f", "from": None}
    assert capsys.readouterr().out == "shard 0b0b takes the place of 7c1f and starts empty\n"
    assert main(["shard", "replace", "ffff", "--empty", "--url", cache.url]) == 1
    assert "bad_request: shard must be one of the map's, got 'ffff'" in capsys.readouterr().err


def test_a_receipt_is_asked_for_and_shown(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receipt", "safe", "a/b c", "v7c1f.3.1", "--url", cache.url]) == 0
    assert capsys.readouterr().out == "pending\n"
    assert cache.log[-1][:2] == ("GET", "/v1/receipts/safe/a%2Fb%20c/v7c1f.3.1")
    cache.receipt = {"state": "committed", "durable": True, "shard": "7c1f", "term": 3}
    assert main(["receipt", "safe", "k", "v7c1f.3.1", "--wait", "1500", "--url", cache.url]) == 0
    assert capsys.readouterr().out == "committed, durable\n"
    assert cache.log[-1][1] == "/v1/receipts/safe/k/v7c1f.3.1?waitMs=1500"
    assert main(["receipt", "safe", "k", "v7c1f.3.1", "-o", "json", "--url", cache.url]) == 0
    assert json.loads(capsys.readouterr().out) == cache.receipt


def test_the_hot_keys_are_shown(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hotkeys", "--url", cache.url]) == 0
    assert "buckets of 10 s, of what 3 nodes executed\n" in capsys.readouterr().out
    assert cache.log[-1][1] == "/v1/hotkeys"
    row = {"namespace": "default", "key": "[red]k", "shard": "7c1f", "qps": 1234.5, "qpsError": 1.0, "hitRate": 0.995,
           "fanoutCount": 17}  # fmt: skip
    cold = {**row, "key": "cold", "hitRate": None, "bytes": 7, "shareOfShard": 0.001}
    times = ["2026-01-02T03:04:20Z", "2026-01-02T03:04:10Z", "2026-01-02T03:04:00Z"]
    keys = [{**row, "bytes": 123456, "shareOfShard": 0.5}, cold]
    cache.hot["buckets"] = [{"start": at, "seconds": 10.0, "operations": 9, "keys": keys} for at in times]
    cache.hot["unreachable"] = ["n2"]
    words = ["hotkeys", "--namespace", "a b", "--limit", "3", "--bucket-seconds", "1", "--url", cache.url]
    assert main(words) == 0
    assert cache.log[-1][1] == "/v1/hotkeys?namespace=a+b&limit=3&bucketSeconds=1"
    shown = capsys.readouterr().out
    assert re.search(r"03:04:20Z\W+default\W+\[red\]k\W+1,234.5\W+99.5%\W+123,456\W+50.0%\W+17\W+7c1f", shown)
    assert "03:04:10Z" in shown and "03:04:00Z" not in shown and "no answer from n2: theirs is missing" in shown
    assert main(["hotkeys", "-o", "json", "--url", cache.url]) == 0
    assert json.loads(capsys.readouterr().out) == cache.hot
    assert main(["hotkeys", "-o", "json", "--buckets", "1", "--url", cache.url]) == 0
    assert json.loads(capsys.readouterr().out)["buckets"] == cache.hot["buckets"][:1]


def test_the_lost_writes_are_shown(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lost-writes", "--url", cache.url]) == 0
    assert "0 acknowledged writes are lost" in capsys.readouterr().out and cache.log[-1][1] == "/v1/lost-writes"
    row = {"namespace": "default", "key": "k", "version": "v7c1f.3.1", "ackedAt": "2026-01-02T03:04:05Z"}
    cache.lost = {"lost": [row], "total": 1234, "truncated": True, "unreachable": ["n2"]}
    assert main(["lost-writes", "--namespace", "a b", "--url", cache.url]) == 0
    shown = capsys.readouterr().out
    assert "1,234 acknowledged writes are lost, the newest 1 of them above" in shown and "no answer from n2" in shown
    assert "v7c1f.3.1" in shown and cache.log[-1][1] == "/v1/lost-writes?namespace=a+b"
    assert main(["lost-writes", "-o", "json", "--url", cache.url]) == 0
    assert json.loads(capsys.readouterr().out) == cache.lost
