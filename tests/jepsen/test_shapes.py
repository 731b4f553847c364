"""The rows of production clusters, and the mix that is shaped like one."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from jepsen_like.asking import Completion, Request
from jepsen_like.workloads.mix import VALUE_LIMIT_BYTES, Mix
from jepsen_like.workloads.shapes import USUAL_ALPHA, shape, shapes
from jepsen_like.workloads.workload import Options


def drawn(name: str, count: int = 4000) -> list[Request]:
    mix, random = Mix(Options(shape=name)), Random(1)
    found = [mix.next(0, 0.0, random) for _ in range(count)]
    assert all(isinstance(each, Request) for each in found)
    return [each for each in found if isinstance(each, Request)]


def test_a_row_is_read() -> None:
    row = shape("cluster4")
    assert (row.key_bytes, row.value_bytes, row.alpha) == (67, 2439, 1.1004)
    assert row.operations == {"get": 0.93, "set": 0.07}
    assert row.ttls_s == {60: 0.39, 300: 0.24, 3600: 0.13, 600: 0.12, 4 * 3600: 0.09, 86_400: 0.03}


def test_every_row_that_tells_its_operations_is_a_shape() -> None:
    assert len(shapes()) == 53 and "cluster5" not in shapes()
    assert shape("cluster43").alpha == USUAL_ALPHA
    assert shape("cluster54").ttls_s[3.8 * 3600] == 0.13


def test_an_unknown_row_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'cluster5' is none of cluster1, cluster2, "):
        Mix(Options(shape="cluster5"))


def test_every_shape_can_be_drawn_from() -> None:
    known = {"read", "write", "cas", "incr", "delete"}
    for name in shapes():
        assert {each.name for each in drawn(name, 300)} <= known


def test_the_operations_come_as_often_as_in_the_row() -> None:
    names = Counter(each.name for each in drawn("cluster23"))
    for name, share in {"read": 0.36, "write": 0.31, "incr": 0.30, "delete": 0.02}.items():
        assert names[name] / 4000 == pytest.approx(share, abs=0.03)


def test_sizes_and_times_to_live_are_those_of_the_row() -> None:
    writes = [each for each in drawn("cluster4", 20_000) if each.name == "write"]
    assert sum(len(each.value) for each in writes) / len(writes) == pytest.approx(2439, rel=0.1)
    ttls = Counter(each.details["ttlSeconds"] for each in writes)
    assert ttls[60] / len(writes) == pytest.approx(0.39, abs=0.05)
    assert {len(each.key) for each in writes} == {67}
    assert max(len(each.value) for each in drawn("cluster50") if each.name == "write") == VALUE_LIMIT_BYTES


def test_keys_are_as_popular_as_the_row_says() -> None:
    """By Zipf's law with exponent 1.1 the first key of 1,000 has 18.6 % of the requests, half of that the 1.9th."""
    keys = Counter(each.key for each in drawn("cluster4", 20_000)).most_common()
    assert keys[0][0].startswith("jl-mix:m0-")
    total = sum(rank**-1.1004 for rank in range(1, 1001))
    assert keys[0][1] / 20_000 == pytest.approx(1 / total, rel=0.05)
    even = Counter(each.key for each in drawn("cluster10", 20_000))
    assert len(even) == 1000 and max(even.values()) < 60


def test_compare_and_set_goes_by_what_was_read_last() -> None:
    mix, random = Mix(Options(shape="cluster25", keys=1)), Random(2)
    key = "jl-mix:m0-".ljust(49, "k")
    seen = Completion(kind="ok", value="v", version="vs0.1.1")
    swaps = set()
    for _ in range(500):
        mix.completed(0, Request(name="read", key=key), seen)
        request = mix.next(0, 0.0, random)
        assert isinstance(request, Request)
        if request.name == "cas":
            swaps.add((request.value[0], request.details.get("ifVersion"), request.details.get("ifAbsent")))
    assert swaps == {("v", "vs0.1.1", None), (None, None, True)}
