"""`raftcache replay --policies`: what it makes of a trace, held against caches of a few lines."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
import zstandard

from raftcache.cli.choosing import parse_size
from raftcache.cli.main import main
from raftcache.cli.output import Failed
from raftcache.cli.trace import Timed, read_timed
from tests.cli import reference_caches
from tests.cli.reference_caches import Reference

TRACE = Path(__file__).parents[1] / "data" / "cloudphysics-io.csv.gz"
REQUESTS = 113_872


def run(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    assert main(["replay", str(TRACE), "-o", "json", *options]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


@pytest.fixture(scope="module")
def requests() -> list[Timed]:
    return list(read_timed(TRACE))


SIZES = "1%,5%,10%,20%"
REFERENCES: list[tuple[str, str, Reference, float]] = [
    ("lru", "all", reference_caches.lru, 0.0005),
    ("lrm", "all", reference_caches.lrm, 0.0005),
    ("s3fifo", "all", reference_caches.s3fifo, 0.001),
    ("random", "all", reference_caches.at_random, 0.01),
    ("lfu", "all", reference_caches.lfu, 0.01),
    ("lru", "tinylfu", reference_caches.tinylfu_lru, 0.01),
]


@pytest.mark.parametrize(("policy", "admission", "reference", "tolerance"), REFERENCES)
def test_hit_ratios_are_those_of_a_reference(
    policy: str,
    admission: str,
    reference: Reference,
    tolerance: float,
    requests: list[Timed],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--policies", policy, "--admission", admission, "--sizes", SIZES, "--count", "items")
    items = len({request.key for request in requests})
    for row, size in zip(run(capsys, *options), SIZES.split(","), strict=True):
        assert (row["policy"], row["admission"], row["size"]) == (policy, admission, size)
        assert row["requests"] == REQUESTS == len(requests)
        assert row["capacity"] == items * int(size[:-1]) // 100
        assert row["hit_ratio"] == int(str(row["hits"])) / REQUESTS
        expected = reference(requests, int(str(row["capacity"])))
        assert abs(float(str(row["hit_ratio"])) - expected) < tolerance


def test_s3fifo_is_at_least_as_good_as_lru_at_every_size(requests: list[Timed]) -> None:
    """By the references, which are what `replay` gives."""
    items = len({request.key for request in requests})
    for size in (1, 5, 10, 20):
        capacity = items * size // 100
        assert reference_caches.s3fifo(requests, capacity) >= reference_caches.lru(requests, capacity) + 0.002


def test_every_policy_is_played_with_every_admission_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    policies, admissions = "lru,lfu,lrm,ttl,random,s3fifo,none", "all,tinylfu"
    options = ["--sizes", "1%,1MiB", "--limit", "3000", "--count", "bytes"]
    rows = run(capsys, "--policies", policies, "--admission", admissions, *options)
    wanted = [(p, a, s) for p in policies.split(",") for a in admissions.split(",") for s in ("1%", "1MiB")]
    assert [(row["policy"], row["admission"], row["size"]) for row in rows] == wanted
    assert all(set(row) == {"policy", "admission", "size", "capacity", "requests", "hits", "hit_ratio"} for row in rows)
    assert {row["capacity"] for row in rows if row["size"] == "1MiB"} == {1 << 20}


def test_a_table_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "hits.svg"
    options = ["--policies", "lru,s3fifo", "--admission", "all,tinylfu", "--limit", "2000", "--plot", str(picture)]
    assert main(["replay", str(TRACE), *options]) == 0
    shown = capsys.readouterr().out
    assert "hit ratios over 2,000 requests" in shown and shown.count("*") >= 5 and "s3fifo   tinylfu" in shown
    svg = ElementTree.parse(picture).getroot()
    drawn = [each for each in svg.iter() if each.tag.endswith("polyline")]
    assert len(drawn) == 4 and all(len(str(line.get("points")).split()) == 4 for line in drawn)
    assert {"lru", "s3fifo + tinylfu"} <= {each.text for each in svg.iter()}


def test_oracle_general_reads_as_the_same_trace_in_csv(tmp_path: Path) -> None:
    timed = [*read_timed(TRACE, 500)]
    records = b"".join(struct.pack("<IQIq", each.time_ms // 1000, int(each.key), each.size_bytes, -1) for each in timed)
    for name, content in (("t.oracleGeneral", records), ("t.oracleGeneral.zst", zstandard.compress(records))):
        path = tmp_path / name
        path.write_bytes(content)
        assert [*read_timed(path)] == timed
    torn = tmp_path / "torn.oracleGeneral"
    torn.write_bytes(records[:-3])
    with pytest.raises(Failed, match="record 500 has 21 bytes of 24"):
        [*read_timed(torn)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policies", "lru,fifo"], "--policies must name some of lru, lfu.*'fifo'"),
        (["--admission", "some"], "--admission must name some of all, tinylfu.*'some'"),
        (["--sizes", "0%"], "over 0%"),
        (["--sizes", "5 apples"], "shares such as 5%"),
        (["--sizes", "1MiB", "--count", "items"], "--count is items"),
        (["--policies", "lru", "--limit", "-1"], "--limit must not be negative"),
    ],
)
def test_mistakes_are_named(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(TRACE), *options]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_sizes() -> None:
    assert parse_size("2.5%", True).capacity(1000) == 25
    assert parse_size("0.01%", True).capacity(10) == 1
    assert parse_size("64MiB", False).capacity(0) == 64 << 20
    assert parse_size("2k", True).capacity(0) == 2000
