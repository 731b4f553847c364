"""The data folder of a local cluster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from raftcache.config import ConfigError, DialConfig, NodeConfig, load_config
from raftcache.identity import load_identity
from raftcache.supervisor.cluster import KINDS, LocalCluster, plan_cluster, ports
from raftcache.supervisor.layout import DataDir
from raftcache.supervisor.run import write_ready_file


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def create(data_dir: DataDir, nodes: int = 3) -> LocalCluster:
    cluster = plan_cluster(nodes=nodes, shards=4, replicas=min(nodes, 3), base_port=7100)
    with data_dir.locked():
        data_dir.create(cluster)
    return cluster


def test_ports_are_ten_apart() -> None:
    cluster = plan_cluster(nodes=2, shards=4, replicas=2, base_port=7100)
    assert [(field, port) for field, _, port in ports(cluster)] == [
        ("n0.http", 7100),
        ("n0.rpc", 7101),
        ("n0.peer", 7102),
        ("n0.redis_router", 7103),
        ("n0.redis_cluster", 7104),
        ("n1.http", 7110),
        ("n1.rpc", 7111),
        ("n1.peer", 7112),
        ("n1.redis_router", 7113),
        ("n1.redis_cluster", 7114),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nodes": 0}, "--nodes must be from 1 to 32, got 0"),
        ({"nodes": 33}, "--nodes must be from 1 to 32, got 33"),
        ({"shards": 0}, "--shards must be from 1 to 1024, got 0"),
        ({"replicas": 4}, "--replicas must be from 1 to 3, got 4"),
        ({"base_port": 65_514}, "--base-port must be from 1 to 65511, got 65514"),
    ],
)
def test_a_cluster_that_cannot_be(changed: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan_cluster(**{"nodes": 3, "shards": 4, "replicas": 3, "base_port": 7100, **changed})
    assert refused.value.message == said


def test_what_a_new_folder_holds(data_dir: DataDir) -> None:
    cluster = create(data_dir, nodes=5)
    assert data_dir.load() == cluster
    assert (data_dir.path / "secret").stat().st_mode & 0o777 == 0o600
    assert cluster.metadata_members == tuple(f"{node.id}.{node.incarnation}.0" for node in cluster.nodes[:3])
    for node in cluster.nodes:
        folder = data_dir.node_dir(node.id)
        identity = load_identity(folder)
        assert identity is not None
        assert (identity.cluster_id, identity.incarnation) == (cluster.cluster_id, node.incarnation)
        config = load_config(NodeConfig, folder / "node.toml")
        assert [getattr(config, kind) for kind in KINDS] == [getattr(node, kind) for kind in KINDS]
        assert config.secret() == data_dir.secret(cluster)
        assert Path(config.data_dir).resolve() == folder.resolve()
        assert config.bootstrap.metadata_members == cluster.metadata_members
        assert sorted(config.peers) == [other.id for other in cluster.nodes if other is not node]


def test_what_a_memory_only_cluster_holds_and_what_follows_it(data_dir: DataDir) -> None:
    first, second = (plan_cluster(nodes=3, shards=4, replicas=3, base_port=7100, memory=True) for _ in range(2))
    with data_dir.locked():
        data_dir.create(first)
    secret, log = data_dir.secret(first), data_dir.node_dir("n0") / "log"
    log.write_text("said")
    data_dir.renew(second)
    assert data_dir.load() == second and data_dir.secret(second) == secret
    assert log.read_text() == "said"
    for node in second.nodes:
        folder = data_dir.node_dir(node.id)
        config = load_config(NodeConfig, folder / "node.toml")
        assert (config.data_dir, config.cluster_id) == ("", second.cluster_id)
        assert config.bootstrap.metadata_members == second.metadata_members
        assert load_identity(folder) is None


def test_two_clusters_are_strangers(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "a"), DataDir(tmp_path / "b")
    one, other = create(first), create(second)
    assert one.cluster_id != other.cluster_id
    assert first.secret(one) != second.secret(other)


def test_an_emptied_node_gets_its_configuration_back_but_not_its_identity(data_dir: DataDir) -> None:
    cluster = create(data_dir)
    shutil.rmtree(data_dir.node_dir("n1"))
    (data_dir.node_dir("n0") / "node.toml").write_text("# edited\n")
    data_dir.write_node_configs(cluster)
    config = load_config(NodeConfig, data_dir.node_dir("n1") / "node.toml")
    assert config.bootstrap.metadata_members == cluster.metadata_members
    assert load_identity(data_dir.node_dir("n1")) is None
    assert (data_dir.node_dir("n0") / "node.toml").read_text() == "# edited\n"


def test_each_node_dials_the_others_by_its_own_view(data_dir: DataDir) -> None:
    """And an emptied one again, since its view stands in `cluster.json`."""
    view = {"n1": {"n0": DialConfig(rpc="127.0.0.1:9")}}
    with data_dir.locked():
        data_dir.create(msgspec.structs.replace(plan_cluster(3, 1, 3, 7100), dial=view))
    shutil.rmtree(data_dir.node_dir("n1"))
    cluster = data_dir.load()
    assert cluster is not None
    data_dir.write_node_configs(cluster)
    dialled = [load_config(NodeConfig, data_dir.node_dir(node.id) / "node.toml").dial for node in cluster.nodes]
    assert dialled == [{}, view["n1"], {}]


def test_a_creation_that_was_cut_short_is_made_again(data_dir: DataDir) -> None:
    create(data_dir)
    (data_dir.path / "cluster.json").unlink()
    again = create(data_dir)
    identity = load_identity(data_dir.node_dir("n0"))
    assert identity is not None
    assert identity.cluster_id == again.cluster_id


def test_a_folder_with_other_data_is_not_overwritten(data_dir: DataDir) -> None:
    create(data_dir)
    (data_dir.path / "cluster.json").unlink()
    (data_dir.node_dir("n2") / "groups").mkdir()
    before = load_identity(data_dir.node_dir("n0"))
    with pytest.raises(ConfigError, match=r"n2 is not empty, but .* has no cluster\.json"):
        create(data_dir)
    assert load_identity(data_dir.node_dir("n0")) == before


def test_a_damaged_cluster_file_is_told_from_a_new_folder(data_dir: DataDir) -> None:
    assert data_dir.load() is None
    data_dir.path.mkdir()
    (data_dir.path / "cluster.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"cluster\.json: not a cluster file"):
        data_dir.load()


def test_a_folder_has_one_supervisor(data_dir: DataDir) -> None:
    assert not data_dir.running()
    with data_dir.locked():
        assert data_dir.running()
        with pytest.raises(ConfigError, match=r"in use by another `raftcache up` \(pid \d+\)"), data_dir.locked():
            pass
    assert not data_dir.running()
    with data_dir.locked():
        pass


def test_pids_come_and_go(data_dir: DataDir) -> None:
    create(data_dir)
    assert data_dir.pid("n0") is None
    data_dir.write_pid("n0", 4711)
    assert data_dir.pid("n0") == 4711
    data_dir.write_pid("n0", None)
    assert data_dir.pid("n0") is None
    data_dir.write_pid("n0", None)


def test_the_ready_file(tmp_path: Path) -> None:
    cluster = plan_cluster(nodes=2, shards=1, replicas=2, base_port=7100)
    write_ready_file(tmp_path / "ready", cluster, {"n1": 12, "n0": 11})
    assert json.loads((tmp_path / "ready").read_text()) == {
        "nodes": [
            {"id": "n0", "pid": 11, **{kind: f"127.0.0.1:{7100 + offset}" for offset, kind in enumerate(KINDS)}},
            {"id": "n1", "pid": 12, **{kind: f"127.0.0.1:{7110 + offset}" for offset, kind in enumerate(KINDS)}},
        ]
    }
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
