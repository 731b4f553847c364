"""What the writers write: keys that stay in their shard, numbers that grow, one writer a key."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.load import NAMESPACE, WRITERS_PER_GROUP, Load, Target, policy_targets, shard_targets
from raftcache.routing.slots import even_ranges, slot_of

SHARDS = 4
BODY: dict[str, Any] = {
    "shards": [{"id": f"s{number}", "slots": [list(part)]} for number, part in enumerate(even_ranges(SHARDS))]
}


def keys_of(target: Target, writes: int = 40) -> set[str]:
    return {target.write(value).key for value in range(1, writes + 1)}


def test_every_shard_has_its_writers_and_their_keys_fall_into_it() -> None:
    targets = shard_targets(BODY)
    assert len(targets) == SHARDS * WRITERS_PER_GROUP
    for target in targets:
        ((first, last),) = next(shard["slots"] for shard in BODY["shards"] if shard["id"] == target.group)
        assert all(first <= slot_of(f"{NAMESPACE}:{key}".encode()) <= last for key in keys_of(target))


@pytest.mark.parametrize("targets", [shard_targets(BODY), policy_targets()], ids=["shards", "policies"])
def test_no_two_writers_share_a_key(targets: list[Target]) -> None:
    keys = [key for target in targets for key in keys_of(target)]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("target", [shard_targets(BODY)[0], policy_targets()[0]], ids=["shard", "policy"])
def test_a_writer_writes_its_number_to_a_register_and_to_new_keys(target: Target) -> None:
    writes = [target.write(value) for value in range(1, 41)]
    assert all(value in write.document.values() for value, write in enumerate(writes, start=1))
    often = {write.key for write in writes if [each.key for each in writes].count(write.key) > 1}
    assert len(often) == 1 and len(keys_of(target)) > 4


def test_the_groups_under_load_are_the_shards() -> None:
    assert Load(shard_targets(BODY), ["127.0.0.1:1"]).groups == ["s0", "s1", "s2", "s3"]
