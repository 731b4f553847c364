"""What `raftcache up` shows of a cluster."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from raftcache.supervisor.cluster import LocalCluster, plan_cluster
from raftcache.supervisor.report import PLAIN_WIDTH, Report, lines_to_paste


def shown(cluster: LocalCluster) -> list[str]:
    """The cells of the table."""
    console = Console(file=StringIO(), width=PLAIN_WIDTH, no_color=True)
    Report(console).overview(cluster, {}, [])
    assert isinstance(console.file, StringIO)
    return [cell.strip() for cell in console.file.getvalue().replace("\n", "").split("|")]


def pasted(cluster: LocalCluster) -> list[str]:
    return [line.strip() for line in lines_to_paste(cluster, Path("data"), "raftcache", "trace.gz").splitlines()]


def test_both_redis_ports_are_shown() -> None:
    cluster = plan_cluster(2, 1, 1, 7100)
    assert "127.0.0.1:7113 :7114" in shown(cluster)
    assert "redis-cli -h 127.0.0.1 -p 7103 GET greeting" in pasted(cluster)
    assert "redis-cli -c -h 127.0.0.1 -p 7104 GET greeting" in pasted(cluster)


def test_a_cluster_from_before_there_was_such_a_port_is_shown_without() -> None:
    new = plan_cluster(1, 1, 1, 7100)
    older = replace(new, nodes=tuple(replace(node, redis_cluster="") for node in new.nodes))
    oldest = replace(new, nodes=tuple(replace(node, redis_cluster="", redis_router="") for node in new.nodes))
    assert "127.0.0.1:7103" in shown(older) and not any(" -c " in line for line in pasted(older))
    assert "redis" in shown(oldest) and not any(":7103" in cell for cell in shown(oldest))
    assert not any("redis-cli" in line for line in pasted(oldest))
