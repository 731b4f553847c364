"""How a namespace's quota is split over the shards: by use. Pure.

Each shard's leader keeps to its own part of a quota and asks nobody (`shard.eviction`). An even split is right where
keys are many and alike. Where a shard evicts while others have room to spare, the metadata leader moves some of their
part to it, in two steps, so that the parts never add up to more than the quota, not for a moment:

1. the parts of those that give are made smaller;
2. once every shard follows that, and none has more than its part any more, the parts of those that take are made
   larger. What was given and not yet taken is nobody's.

Both are decided from the reports of the shards' leaders alone, so a new metadata leader goes on where the old one was.
A part never falls below a quarter of an even one, and nothing moves for less than a tenth of one: rates differ by
chance, and each step is a change of policy that all shards follow.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftcache.commands.policy import SHARES_WHOLE, Limits, Namespace
from raftcache.commands.quotas import QuotaUse

FULL = 0.9
"""A shard that has less than that of its part is not short of room, whatever it evicts."""
HEADROOM = 1.25
"""One that is not short is left a quarter more than it uses."""
LEAST_PARTS = 4
"""A part is at least a quarter of an even one."""
STEP_PARTS = 10
"""The least change is a tenth of an even part."""

QUOTA_USES_LIMIT = 256
"""Namespaces in a report; of more the first by id are told of."""


def even_shares(shards: int) -> tuple[int, ...]:
    """An even split."""
    return (SHARES_WHOLE // shards,) * shards


def decide_shares(namespace: Namespace, uses: Sequence[QuotaUse]) -> tuple[int, ...] | None:
    """The next split, given the uses of all shards in the order of their places; None to leave it as it is."""
    even = even_shares(len(uses))
    current = namespace.shares if len(namespace.shares) == len(uses) else even
    told = tuple(use.share or part for use, part in zip(uses, even, strict=True))
    rest = 0 if namespace.shares else 1  # An even split deals out what is left over, too.
    fills = [_fill(namespace.limits, share, use, rest) for share, use in zip(current, uses, strict=True)]
    if told != current or any(fill > 1 for fill in fills):
        return None  # Not everybody follows yet, or has come down to its part.
    short = [use.evicted > 0 and fill >= FULL for use, fill in zip(uses, fills, strict=True)]
    if not any(short):
        return None
    target = _target(current, fills, short)
    step = even[0] // STEP_PARTS
    if any(now - then >= step for now, then in zip(current, target, strict=True)):
        return tuple(map(min, current, target))
    grown = tuple(map(max, current, target))
    spare = SHARES_WHOLE - sum(current)
    return _within(current, grown, spare) if spare >= max(1, step // 2) and grown != current else None


def _fill(limits: Limits, share: int, use: QuotaUse, rest: int) -> float:
    """How much of its part a shard uses."""
    fills = [0.0]
    for quota, used in ((limits.quota_bytes, use.size_bytes), (limits.quota_items, use.items)):
        if quota is not None:
            fills.append(used / max(1, quota * share // SHARES_WHOLE + rest))
    return max(fills)


def _target(current: Sequence[int], fills: Sequence[float], short: Sequence[bool]) -> tuple[int, ...]:
    """Who is not short keeps what it uses and some headroom; who is short divides the rest, and draws nearer to even.

    Only what is above its headroom is taken from a shard that is not short: were all cut in proportion to their wishes,
    one that had just enough would be made short by its neighbour, take its part back in the next round, and so on.
    """
    least = SHARES_WHOLE // len(current) // LEAST_PARTS
    parts = list(zip(current, fills, short, strict=True))
    kept = [0 if wants else min(share, max(least, int(share * fill * HEADROOM))) for share, fill, wants in parts]
    rest = SHARES_WHOLE - sum(kept) - least * sum(short)
    wished = sum(share for share, wants in zip(current, short, strict=True) if wants)
    return tuple(
        least + rest * share // wished if wants else keep
        for (share, _, wants), keep in zip(parts, kept, strict=True)
    )


def _within(current: Sequence[int], grown: Sequence[int], spare: int) -> tuple[int, ...]:
    """As much of the growth as there is to spare, in proportion."""
    growth = sum(grown) - sum(current)
    part = min(1.0, spare / growth)
    return tuple(now + int((then - now) * part) for now, then in zip(current, grown, strict=True))
