"""A cluster's life: it comes up from nothing, survives the death of all its nodes, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from e2e.support import addresses, is_ready, program, put, read, shards, write
from jepsen_like.cluster import RealCluster, is_alive, wait_until
from jepsen_like.ports import Ports
from raftcache.cli.api import Api
from raftcache.supervisor.cluster import KINDS

STOP_LIMIT_S = 10.0


def test_a_cluster_comes_up_from_an_empty_folder(cluster: RealCluster) -> None:
    document = json.loads(cluster.ready_file.read_bytes())
    ports = {"http": 0, "rpc": 1, "peer": 2}
    for number, node in enumerate(document["nodes"]):
        assert node["id"] == f"n{number}" and is_alive(node["pid"])
        base = cluster.base_port + 10 * number
        assert {kind: node[kind] for kind in ports} == {k: f"127.0.0.1:{base + offset}" for k, offset in ports.items()}
        assert is_ready(node["http"])
        seen = shards(node["http"]).values()
        assert len(seen) == cluster.shards
        for shard in seen:
            assert shard["leader"] in addresses(cluster, "http")
            assert [replica["state"] for replica in shard["replicas"]] == ["voter"] * 3
    listed = Api(f"http://{document['nodes'][0]['http']}").send("GET", "/v1/namespaces")["namespaces"]
    assert {each["name"]: each["ack"] for each in listed} == {"default": "primary", "safe": "quorum"}


def test_acknowledged_writes_survive_the_death_of_every_node_at_once(cluster: RealCluster) -> None:
    nodes = list(cluster.http().values())
    written = {f"key-{number}": write(nodes[number % 3], f"key-{number}", number) for number in range(100)}
    before = cluster.wait_ready()
    cluster.fault("kill", "--all")
    wait_until(lambda: _all_new(cluster.ready(), before), "all nodes to be back")
    for address in nodes:
        assert read(address, list(written)) == written
    assert write(nodes[0], "after", 1).version


def _is_new(cluster: RealCluster, node: str, before: dict[str, int]) -> bool:
    return (cluster.ready() or before)[node] != before[node]


def _all_new(now: dict[str, int] | None, before: dict[str, int]) -> bool:
    return now is not None and all(now[node] != before[node] for node in before)


def test_a_cluster_stopped_in_good_order_keeps_its_data(cluster: RealCluster) -> None:
    nodes = list(cluster.http().values())
    written = {f"key-{number}": write(nodes[0], f"key-{number}", number) for number in range(20)}
    cluster.stop()
    assert not cluster.ready_file.exists()
    cluster.start()
    cluster.wait_ready()
    assert read(nodes[1], list(written)) == written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_processes_in_time(cluster: RealCluster, number: signal.Signals) -> None:
    pids = cluster.wait_ready().values()
    assert cluster.up is not None
    cluster.fault("pause", "n1")
    asked_at = time.monotonic()
    cluster.up.send_signal(number)
    assert cluster.up.wait(STOP_LIMIT_S) == 0
    assert time.monotonic() - asked_at < STOP_LIMIT_S
    assert not any(is_alive(pid) for pid in pids)


def test_nodes_die_with_their_supervisor(cluster: RealCluster) -> None:
    pids = cluster.wait_ready().values()
    assert cluster.up is not None
    cluster.fault("pause", "n1")
    cluster.up.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "all nodes to be gone", patience_s=STOP_LIMIT_S)


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with Ports(3) as ports, socket.create_server(("127.0.0.1", ports.base + 11)) as server:
        taken = server.getsockname()[1]
        done = program("up", "--nodes", "3", "--base-port", str(ports.base), "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    assert done.stderr == f"raftcache: n1.rpc = 127.0.0.1:{taken}: cannot listen there: the port is already in use\n"
    assert not (tmp_path / "data" / "n0").exists()


@pytest.mark.parametrize("exposed", KINDS)
def test_without_a_secret_a_node_listens_on_loopback_only(tmp_path: Path, exposed: str) -> None:
    config = tmp_path / "node.toml"
    with Ports(1) as ports:
        listen = {kind: f"127.0.0.1:{ports.base + offset}" for offset, kind in enumerate(KINDS)}
        listen[exposed] = listen[exposed].replace("127.0.0.1", "0.0.0.0")
        fields = {"node_id": "n0", "cluster_id": "c", "data_dir": "data", **listen}
        config.write_text("".join(f'{name} = "{value}"\n' for name, value in fields.items()))
        done = program("node", "--config", config)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith(f"raftcache: protected mode: {exposed} = '0.0.0.0'"), done.stderr
    assert "set cluster_secret" in message


def test_a_second_supervisor_on_the_same_folder_is_refused(cluster: RealCluster) -> None:
    done = program("up", "--data-dir", cluster.data_dir)
    assert done.returncode == 1
    assert f"in use by another `raftcache up` (pid {cluster.up.pid if cluster.up else 0})" in done.stderr
    assert put(next(iter(cluster.http().values())), "still", {"value": 1}).status == 201
    assert os.path.exists(cluster.ready_file)


def test_a_killed_node_of_a_memory_only_cluster_comes_back_as_a_new_member(tmp_path: Path) -> None:
    with RealCluster(tmp_path, shards=2, memory=True) as cluster:
        nodes = list(cluster.http().values())
        written = {f"key-{number}": write(nodes[0], f"key-{number}", number) for number in range(20)}
        for victim in ("n0", "n1"):
            before = cluster.wait_ready()
            cluster.fault("kill", victim)
            wait_until(partial(_is_new, cluster, victim, before), f"{victim} to be a voter again")
        assert read(nodes[1], list(written)) == written, "two of the three that held it have lost everything since"
        assert cluster.tracebacks() == []
        kept = [path.name for path in cluster.data_dir.glob("n*/*") if path.name not in ("node.toml", "pid", "log")]
        assert kept == []
