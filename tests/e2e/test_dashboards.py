"""The dashboard and the alert rules in `configs/`, held against the `/metrics` of a real node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jepsen_like.cluster import RealCluster
from raftcache.cli.api import Api

from .support import addresses, write

ROOT = Path(__file__).parents[2]
SERVER_LABELS = {"instance", "job", "le"}
"""What Prometheus adds to every series, or has of a histogram."""

LEFT_OUT = {
    "raftcache_term", "raftcache_commit_index", "raftcache_applied_index", "raftcache_snapshot_index",
    "raftcache_synced_index", "raftcache_durable_index", "raftcache_replica_number", "raftcache_suspect",
    "raftcache_lease_held", "raftcache_messages_dropped", "raftcache_log_syncs", "raftcache_snapshots_taken",
    "raftcache_keys", "raftcache_keyspace_bytes", "raftcache_reply_records", "raftcache_reply_records_bytes",
    "raftcache_speculative_writes", "raftcache_speculative_bytes", "raftcache_speculative_keys",
    "raftcache_waiting_commands", "raftcache_waiting_receipts", "raftcache_parked_replica_reads",
    "raftcache_policy_epoch", "raftcache_policy_points_pending", "raftcache_dropped_tags", "raftcache_drop_waiters",
    "raftcache_tagged_keys", "raftcache_awaiting_reclaim_keys", "raftcache_policy_waiters",
    "raftcache_batches_committed", "raftcache_writes_committed", "raftcache_replays_answered",
    "raftcache_replica_lag_entries", "raftcache_replica_connected", "raftcache_replica_staleness_ms",
    "raftcache_window_bytes", "raftcache_held_bytes", "raftcache_lost_writes_unresolved",
    "raftcache_lost_writes_upper_bound", "raftcache_replica_renewals", "raftcache_peer_links", "raftcache_rpc",
    "raftcache_peers_connected", "raftcache_epoch", "raftcache_requests_in_flight", "raftcache_requests_parked",
    "raftcache_http_in_flight", "raftcache_http_connections", "raftcache_rate_share", "raftcache_http_receiving_bytes",
}  # fmt: skip
"""For looking into something, not for watching: on no panel, and in no alert."""


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "configs/grafana-dashboard.json").read_text())
    return found


def alerts() -> list[dict[str, str]]:
    """The rules; every text of theirs is a JSON string, which is YAML as well."""
    rules: list[dict[str, str]] = []
    for line in (ROOT / "configs/alerts.yml").read_text().splitlines():
        name, _, text = line.strip().removeprefix("- ").partition(": ")
        if name == "alert":
            rules.append({"alert": text})
        elif rules and text:
            rules[-1][name] = json.loads(text) if text.startswith('"') else text
    return rules


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Where it stands, and the expression with what its legend names."""
    drawn = [(p["title"], t["expr"] + " by (" + _legend(t) + ")") for p in panels() for t in p["targets"]]
    ruled = [(rule["alert"], rule["expr"] + " by (" + _summary(rule) + ")") for rule in alerts()]
    return drawn + ruled


def _legend(target: dict[str, Any]) -> str:
    return ", ".join(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


def _summary(rule: dict[str, str]) -> str:
    return ", ".join(re.findall(r"\$labels\.(\w+)", rule["summary"]))


@pytest.fixture(scope="module")
def families(whole: RealCluster) -> dict[str, set[str]]:
    """Every family of ours, by the name of its series without `_bucket`, with its labels, as far as it has series."""
    found: dict[str, set[str]] = {}
    for address in addresses(whole, "http").values():
        write(address, "seen", 1)
        text = Api(f"http://{address}").call("GET", "/metrics").body.decode()
        for family in text_string_to_metric_families(text):
            if family.name.startswith("raftcache_"):
                labels = found.setdefault(family.name, set())
                labels.update(name for sample in family.samples for name in sample.labels)
    return found


def family_of(series: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", series)


def test_every_expression_names_what_there_is(families: dict[str, set[str]]) -> None:
    for where, text in expressions():
        names = {family_of(name) for name in re.findall(r"\braftcache_\w+", text)}
        assert names and names <= families.keys(), f"{where}: {names - families.keys()}"
        if not all(families[name] for name in names):
            continue  # Of one of them there is no series yet, so nobody knows its labels here.
        known = SERVER_LABELS.union(*(families[name] for name in names))
        listed = re.findall(r"by \(([^)]*)\)", text)
        used = {label.strip() for each in listed for label in each.split(",") if label.strip()}
        used |= set(re.findall(r"[{,]\s*(\w+)\s*=", text))
        assert used <= known, f"{where}: {used - known}"


def test_every_metric_is_on_a_panel_or_in_an_alert_or_left_out_on_purpose(families: dict[str, set[str]]) -> None:
    shown = {family_of(name) for _, text in expressions() for name in re.findall(r"\braftcache_\w+", text)}
    assert families.keys() - shown - LEFT_OUT == set()
    assert not LEFT_OUT & shown and families.keys() >= LEFT_OUT, "the list is out of date"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and panel["description"] and panel["targets"]
        assert all({"refId", "expr", "legendFormat"} <= target.keys() for target in panel["targets"])


def test_every_alert_has_a_runbook_that_exists() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    titles = [re.sub(r"[^a-z0-9 -]", "", title.lower()) for title in re.findall(r"^#+ (.*)", text, re.M)]
    headings = {title.strip().replace(" ", "-") for title in titles}
    rules = alerts()
    assert len(rules) >= 12 and len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        page, _, section = rule["runbook"].partition("#")
        assert page == "docs/operations.md" and section in headings, rule
        assert rule["severity"] in ("info", "warning", "critical") and re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["summary"] and rule["description"]
