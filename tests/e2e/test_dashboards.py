"""What a real node exports is what the dashboard and the alerts are held against (`node.test_dashboards`)."""

from __future__ import annotations

from node.exported import declared
from prometheus_client.parser import text_string_to_metric_families

from jepsen_like.cluster import RealCluster
from raftcache.cli.api import Api

from .support import addresses, write


def test_a_real_node_exports_the_declared_families_with_no_other_labels(whole: RealCluster) -> None:
    expected = declared()
    for address in addresses(whole, "http").values():
        write(address, "seen", 1)
        text = Api(f"http://{address}").call("GET", "/metrics").body.decode()
        found = {each.name: each for each in text_string_to_metric_families(text) if each.name.startswith("raftcache_")}
        assert found.keys() == expected.keys()
        for name, family in found.items():
            assert {label for sample in family.samples for label in sample.labels} <= expected[name], name
