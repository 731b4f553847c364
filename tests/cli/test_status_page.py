"""The page of `raftcache status --watch`."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from raftcache.cli.main import main
from raftcache.cli.status_figures import Samples
from raftcache.cli.status_page import TROUBLES_SHOWN, Page

from .status_samples import body, seen, well


def node(hits: float = 0.0, keys: float = 30.0) -> Samples:
    return well(
        is_leader={"shard=aa": 1.0},
        term={"shard=aa": 3.0},
        keys={"shard=aa": 70.0},
        replica_lag_ms={"shard=aa,node=n1": 1500.0},
        keyspace_hits_total={"shard=aa,namespace=q": hits, "shard=bb,namespace=idle": 5.0},
        keyspace_misses_total={"shard=aa,namespace=q": hits / 3, "shard=bb,namespace=idle": 5.0},
        namespace_keys={"shard=aa,namespace=q": keys},
        namespace_bytes={"shard=aa,namespace=q": 4096.0},
        namespace_quota_keys={"shard=aa,namespace=q": 25.0, "shard=bb,namespace=q": 25.0},
        evicted_keys_total={"shard=aa,namespace=q,reason=quota_items": hits},
        namespace_refused_total={
            "shard=aa,namespace=q,code=rate_limited": 2 * hits, "shard=aa,namespace=q,code=quota_exceeded": hits,
        },
    )  # fmt: skip


def drawn(page: Page) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(page.render())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


HOT: dict[str, Any] = {
    "buckets": [
        {"keys": []},
        {
            "keys": [
                {
                    "namespace": "q", "key": "[b]", "qps": 5.5, "hitRate": None, "bytes": 9, "shareOfShard": 0.5,
                    "shard": "aa", "fanoutCount": 17,
                }
            ]
        },
    ]
}  # fmt: skip


def row_of(text: str, name: str) -> str:
    """The row of a table that begins with this name."""
    return next(line for line in text.splitlines() if line.lstrip().startswith(f"{name}  "))


def test_all_that_there_is_to_see() -> None:
    elsewhere = well(namespace_keys={"shard=bb,namespace=q": 10.0}, namespace_bytes={"shard=bb,namespace=q": 1024.0})
    before = seen(10.0, {"n0": node(100), "n1": elsewhere})
    now = seen(12.0, {"n0": node(130), "n1": elsewhere, "n2": None})
    text = drawn(Page(now, before, HOT, "here"))
    told = ("nodes 2 of 3", "reads/s 20", "hit rate 75.0%", "evicted/s 15", "silent", "3.0 MiB", "1500 ms", "[b]")
    assert [words for words in (*told, " 17 ") if words not in text] == []
    row = row_of(text, "q").split()
    assert row[:3] == ["q", "40", "5.0"] and "80%" in row, "of the whole namespace, each shard once"
    assert row[-7:] == ["20", "75.0%", "15", "30", "15", "0%", "0"]
    assert "n2 does not answer" in text and "all is well" not in text
    assert row_of(text, "idle").split()[-7:-5] == ["0", "-"], "of nothing there is no hit rate"


def test_replicas_of_a_shard_count_once() -> None:
    nodes: dict[str, Samples | None] = {"n0": node(keys=30), "n1": node(keys=35)}
    assert row_of(drawn(Page(seen(1.0, nodes), None, None, "here")), "q").split()[1] == "35"


def test_a_node_that_comes_back_is_no_burst_of_traffic() -> None:
    before, now = seen(10.0, {"n0": node(100), "n1": None}), seen(12.0, {"n0": node(100), "n1": node(1000)})
    assert "reads/s 0 " in drawn(Page(now, before, None, "here"))


def test_that_all_is_well_is_said() -> None:
    text = drawn(Page(seen(12.0, {"n0": well()}), seen(10.0, {"n0": well()}), None, "here"))
    assert "all is well" in text


def test_of_many_troubles_the_first_are_shown_and_the_others_counted() -> None:
    nodes: dict[str, Samples | None] = {f"m{n}": None for n in range(TROUBLES_SHOWN + 3)}
    text = drawn(Page(seen(10.0, nodes), None, None, "here"))
    assert text.count("does not answer") == TROUBLES_SHOWN - 1 and "and 4 more" in text


def test_the_first_page_knows_no_rates() -> None:
    text = drawn(Page(seen(10.0, {"n0": node(100)}), None, None, "here"))
    assert "reads/s -" in text and "hit rate -" in text


def test_nobody_answers() -> None:
    text = drawn(Page(seen(10.0, {"n0": None}), None, None, "here"))
    assert "nodes 0 of 1" in text and "silent" in text and "n0 does not answer" in text


def test_a_shard_without_a_leader_has_none() -> None:
    text = drawn(Page(seen(10.0, {"n0": node()}, n0=body(leader=None)), None, None, "here"))
    assert re.search(r"\baa +none\b", text) and "no leader, so that writes fail: shard aa" in text


def test_a_page_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--watch", "-o", "json"]) == 1
    assert "--watch" in capsys.readouterr().err
