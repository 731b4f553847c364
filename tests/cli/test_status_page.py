"""The page of `raftcache status --watch`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from raftcache.cli.main import main
from raftcache.cli.status_page import Page, Samples, Seen


def series(**named: dict[str, float]) -> Samples:
    """Names without `raftcache_`; labels as `label=value,label=value`."""
    return {
        f"raftcache_{name}": {
            frozenset(tuple(pair.split("=")) for pair in labels.split(",") if pair): value  # type: ignore[misc]
            for labels, value in values.items()
        }
        for name, values in named.items()
    }


def node(hits: float = 0.0, keys: float = 30.0, leads: float = 1.0) -> Samples:
    return series(
        ready={"": 1.0},
        memory_used_bytes={"": 3 << 20},
        memory_max_bytes={"": 4 << 20},
        is_leader={"shard=aa": leads},
        term={"shard=aa": 3.0},
        keys={"shard=aa": 70.0},
        replica_lag_ms={"shard=aa,node=n1": 1500.0},
        keyspace_hits_total={"shard=aa": hits},
        keyspace_misses_total={"shard=aa": hits / 3},
        namespace_keys={"shard=aa,namespace=q": keys, "shard=bb,namespace=q": 10.0},
        namespace_bytes={"shard=aa,namespace=q": 4096.0},
        namespace_quota_keys={"shard=aa,namespace=q": 25.0, "shard=bb,namespace=q": 25.0},
        evicted_keys_total={"shard=aa,namespace=q,reason=quota_items": hits},
    )


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
                    "shard": "aa",
                }
            ]
        },
    ]
}  # fmt: skip


def test_all_that_there_is_to_see() -> None:
    before = Seen(10.0, {"n0": node(100), "n1": node(100, leads=0)})
    now = Seen(12.0, {"n0": node(130), "n1": node(100, keys=35, leads=0), "n2": None})
    text = drawn(Page(now, before, HOT, "here"))
    told = ("nodes 2 of 3", "reads/s 20", "hit rate 75.0%", "evicted/s 15", "silent", "3.0 MiB", "1500 ms", "[b]")
    assert [words for words in told if words not in text] == []
    row = next(line for line in text.splitlines() if line.startswith(" q ") or line.lstrip().startswith("q  "))
    assert " 45 " in row and "90%" in row, "of replicas the fullest, not their sum"


def test_the_first_page_knows_no_rates() -> None:
    text = drawn(Page(Seen(10.0, {"n0": node(100)}), None, None, "here"))
    assert "reads/s -" in text and "hit rate -" in text


def test_nobody_answers() -> None:
    text = drawn(Page(Seen(10.0, {"n0": None}), None, None, "here"))
    assert "nodes 0 of 1" in text and "silent" in text


def test_a_page_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--watch", "-o", "json"]) == 1
    assert "--watch" in capsys.readouterr().err
