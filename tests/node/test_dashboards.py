"""The dashboard, the alert rules and the list of metrics, held against every metric of a node and its labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .exported import declared

ROOT = Path(__file__).parents[2]
SERVER_LABELS = {"instance", "job"}
"""What Prometheus adds to every series."""
OF_THE_SERVER = {"up": set[str]()}
"""Series that are Prometheus's own."""

LEFT_OUT = {
    "raftcache_term", "raftcache_commit_index", "raftcache_applied_index", "raftcache_snapshot_index",
    "raftcache_synced_index", "raftcache_durable_index", "raftcache_replica_number", "raftcache_suspect",
    "raftcache_lease_held", "raftcache_messages_dropped", "raftcache_log_syncs", "raftcache_snapshots_taken",
    "raftcache_keys", "raftcache_keyspace_bytes", "raftcache_reply_records", "raftcache_reply_records_bytes",
    "raftcache_sessions", "raftcache_session_records", "raftcache_session_records_bytes",
    "raftcache_speculative_writes", "raftcache_speculative_bytes",
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


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "configs/alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str, set[str]]]:
    """Where it stands, the expression, and the labels that the legend or the texts of the alert show."""
    drawn = [
        (panel["title"], target["expr"], set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])))
        for panel in panels()
        for target in panel["targets"]
    ]
    ruled = [
        (rule["alert"], rule["expr"], set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))))
        for rule in alerts()
    ]
    return drawn + ruled


def family_of(series: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", series)


def names_in(text: str) -> set[str]:
    """The families that an expression reads."""
    found = re.findall(r"\b(raftcache_\w+|up)\b(?!\s*\()", re.sub(r'"[^"]*"', "", text))
    return {family_of(name) for name in found}


@pytest.fixture(scope="module")
def families() -> dict[str, set[str]]:
    return declared() | OF_THE_SERVER


def mistakes(text: str, shown: set[str], families: dict[str, set[str]]) -> set[str]:
    """Names that there are not, and labels that what they are used on does not have."""
    names = names_in(text)
    if not names or not names <= families.keys():
        return names - families.keys() or {"no name"}
    wrong = set()
    for name, matchers in re.findall(r"\b(raftcache_\w+|up)\{([^}]*)\}", text):
        wrong |= set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", matchers)) - families[family_of(name)] - SERVER_LABELS
    of_all = set.intersection(*(families[name] for name in names)) | SERVER_LABELS
    grouped = [{label.strip() for label in each.split(",")} for each in re.findall(r"by \(([^)]*)\)", text)]
    wrong |= set().union(*grouped) - of_all
    is_one_number = not grouped and re.match(r"(sum|max|min|count|avg)\(", text)
    left = grouped[0] if grouped else of_all
    return wrong | (shown if is_one_number else shown - left)


def test_every_expression_names_what_there_is(families: dict[str, set[str]]) -> None:
    wrong = {where: found for where, text, shown in expressions() if (found := mistakes(text, shown, families))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sum by (shart) (raftcache_is_leader)", set()),
        ("sum(rate(raftcache_window_exceeded_total{bonud=\"ms\"}[5m]))", set()),
        ("sum by (namespace, reson) (rate(raftcache_evicted_keys_total[5m]))", set()),
        ("sum by (namespace) (raftcache_namespace_bytes) / sum by (namespace) (raftcache_keys)", set()),
        ("sum by (shard) (raftcache_is_leader)", {"namespace"}),
        ("sum(raftcache_is_leader)", {"shard"}),
        ("raftcache_memory_used_bytes", {"shard"}),
        ("sum(raftcache_is_laeder)", set()),
        ("sum(1)", set()),
    ],
)
def test_a_mistake_is_seen_also_where_there_is_no_series(
    text: str, shown: set[str], families: dict[str, set[str]]
) -> None:
    assert mistakes(text, shown, families)


def test_every_metric_is_on_a_panel_or_in_an_alert_or_left_out_on_purpose(families: dict[str, set[str]]) -> None:
    shown = {name for _, text, _ in expressions() for name in names_in(text)}
    assert families.keys() - shown - LEFT_OUT == set()
    assert not LEFT_OUT & shown and families.keys() >= LEFT_OUT, "the list is out of date"


def test_every_metric_is_told_of_in_the_operations_manual(families: dict[str, set[str]]) -> None:
    told = re.findall(r"\braftcache_\w+", (ROOT / "docs/operations.md").read_text())
    ours = families.keys() - OF_THE_SERVER.keys()
    assert ours - {family_of(name) for name in told} - set(told) == set(), "not told of"
    assert {name for name in told if name not in ours and family_of(name) not in ours} == set(), "there is none"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24 and panel["description"] and panel["targets"]
        assert all({"refId", "expr", "legendFormat"} <= target.keys() for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_alert_has_a_runbook_that_exists() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    titles = [re.sub(r"[^a-z0-9 -]", "", title.lower()) for title in re.findall(r"^#+ (.*)", text, re.M)]
    headings = {title.strip().replace(" ", "-") for title in titles}
    rules = alerts()
    assert len(rules) >= 19 and len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        page, _, section = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md" and section in headings, rule
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule
        assert re.fullmatch(r"\d+[smh]", rule["for"]), rule
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
