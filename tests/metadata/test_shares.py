"""Quotas follow use over the shards, and their parts never add up to more than the quota."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from raftcache.commands.policy import SHARES_WHOLE, Limits, Namespace
from raftcache.commands.quotas import QuotaUse
from raftcache.metadata.shares import decide_shares, even_shares

QUOTA = 1000
SPACE = Namespace("q", 2, limits=Limits(quota_items=QUOTA))


def use(items: int, evicted: int = 0, share: int = 0, size_bytes: int = 0) -> QuotaUse:
    return QuotaUse(2, share, items, size_bytes, evicted)


def rounds(demand: list[int], limits: Limits = SPACE.limits, turns: int = 40) -> list[tuple[int, ...]]:
    """The splits, as they follow on each other where each shard could use so many items at all times."""
    space, splits = replace(SPACE, limits=limits), [even_shares(len(demand))]
    for _ in range(turns):
        shares = splits[-1]
        parts = [QUOTA * share // SHARES_WHOLE for share in shares]
        each = zip(demand, parts, shares, strict=True)
        told = [use(min(want, part), max(0, want - part), share) for want, part, share in each]
        following = decide_shares(space, told)
        if following is not None:
            splits.append(following)
            space = replace(space, shares=following)
    return splits


def test_nothing_moves_where_nobody_is_short() -> None:
    assert decide_shares(SPACE, [use(500), use(10)]) is None
    assert decide_shares(SPACE, [use(100, evicted=5), use(10)]) is None, "it evicts, and has room: a large value came"


def test_nothing_moves_where_all_are_short_alike() -> None:
    assert decide_shares(SPACE, [use(500, 9), use(500, 8)]) is None


def test_who_gives_is_made_smaller_first_and_who_takes_larger_when_all_follow() -> None:
    first = decide_shares(SPACE, [use(500, 90), use(20)])
    assert first is not None and first[0] == 5000 and first[1] < 4000
    space = replace(SPACE, shares=first)
    assert decide_shares(space, [use(500, 90), use(20)]) is None, "one still has the share of before in its log"
    following = [use(500, 90, 5000), use(20, 0, first[1])]
    second = decide_shares(space, following)
    assert second is not None and second[0] > 5500 and abs(second[1] - first[1]) < 3 and sum(second) <= SHARES_WHOLE
    above = [use(500, 90, 5000), use(QUOTA * first[1] // SHARES_WHOLE + 1, 0, first[1])]
    assert decide_shares(space, above) is None, "one has not come down to its part yet"


def test_a_skewed_use_gets_most_of_the_quota() -> None:
    splits = rounds([5000, 20, 20, 20])
    assert splits[-1][0] > 6500 and min(splits[-1]) >= SHARES_WHOLE // 4 // 4
    back = rounds([900, 900, 900, 900])
    assert back == [even_shares(4)]


def test_where_use_turns_round_the_split_does() -> None:
    shares = rounds([5000, 20])[-1]
    space = replace(SPACE, shares=shares)
    for _ in range(40):
        parts = [QUOTA * share // SHARES_WHOLE for share in shares]
        told = [use(min(20, parts[0]), 0, shares[0]), use(parts[1], 100, shares[1])]
        shares = decide_shares(space, told) or shares
        space = replace(space, shares=shares)
    assert shares[1] > 6500


@pytest.mark.parametrize("limits", [Limits(quota_bytes=1 << 20), Limits(quota_bytes=1 << 20, quota_items=QUOTA)])
def test_bytes_count_as_items_do(limits: Limits) -> None:
    told = [use(5, 9, size_bytes=1 << 19), use(5, size_bytes=100)]
    assert (decide_shares(replace(SPACE, limits=limits), told) or (0, 9999))[1] < 5000


def test_shards_with_just_enough_do_not_take_turns_in_being_short() -> None:
    """All were cut in proportion to their wishes once, and this went round for ever."""
    splits = rounds([0, 0, 0, 0, 0, 148, 600, 2800])
    assert len(splits) < 10 and splits[-1][5] >= SHARES_WHOLE * 148 // QUOTA


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=2, max_size=12))
def test_parts_never_add_up_to_more_than_the_quota(demand: list[int]) -> None:
    splits = rounds(demand)
    for before, after in pairwise(splits):
        assert sum(after) <= SHARES_WHOLE and min(after) >= SHARES_WHOLE // len(demand) // 5
        moves = [now - then for now, then in zip(after, before, strict=True)]
        assert max(moves) <= 0 or min(moves) >= 0, "some give, or some take"
        assert sum(map(max, before, after)) <= SHARES_WHOLE, "while some shards follow and others do not"
    assert len(splits) < 10, "it comes to rest"
