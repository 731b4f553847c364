"""The judgement of what readers saw, on histories whose verdict is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Failure,
    Get,
    Incr,
    ReadLevel,
    Reply,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.store.effects import LEADER_STARTED, PUT, REMOVE, Batch, encode_batch
from raftcache.testing.checks import Oracle, Violation
from raftcache.testing.read_levels import ReadLevels, Seen

KEY, COUNTER = b"shown:r1", b"shown:n1"
QUORUM = AckLevel.QUORUM


def v(seq: int, term: int = 1, shard: str = "s") -> Version:
    return Version(shard, term, seq)


def hit(value: bytes, version: Version, staleness_ms: int | None = None) -> Value:
    level = ReadLevel.COMMITTED if staleness_ms is None else ReadLevel.REPLICA
    return Value(value, 0, version, None, level, staleness_ms)


def miss(version: Version, staleness_ms: int | None = None) -> Value:
    return Value(None, 0, version, None, ReadLevel.COMMITTED, staleness_ms)


def unchanged(version: Version, current: Version | None) -> Written:
    return Written(False, version, None, QUORUM, current is not None, current)


def judged(*seen: tuple[Command, Reply, float], forgiven: bool = False) -> ReadLevels:
    """A log in which the key is set at 1 s and 2 s, removed at 3 s, and set by the next term at 4 s; a fourth effect of
    term 1 was lost."""
    loop = SimpleNamespace(time=0.0, seed=1)
    cluster: Any = SimpleNamespace(loop=loop)
    oracle = Oracle()
    levels = ReadLevels(cluster, oracle)
    for at_s, term, first, effects in (
        (0.5, 1, 1, [(LEADER_STARTED, "n0")]),
        (1.0, 1, 2, [(PUT, KEY, b"a", 0, 0, 1)]),
        (2.0, 1, 3, [(PUT, KEY, b"b", 0, 0, 1), (PUT, COUNTER, b"7", 0, 0, 1)]),
        (3.0, 1, 5, [(REMOVE, KEY)]),
        (4.0, 2, 1, [(LEADER_STARTED, "n1"), (PUT, KEY, b"c", 0, 0, 1)]),
    ):
        loop.time = at_s
        oracle.applied("s", "n0", int(at_s * 10) + 1, term, encode_batch(Batch(term, first, 0, effects)))
    if forgiven:
        oracle.forgiven["s"] = 9.0
    levels._seen.extend(Seen(*each) for each in seen)
    levels.judge()
    return levels


TRUE = [
    (Get(KEY), hit(b"a", v(2)), 5.0),
    (Get(KEY), miss(v(1)), 5.0),
    (Get(KEY), miss(v(5)), 5.0),
    (Get(KEY), miss(v(1, 2)), 5.0),
    (Incr(COUNTER), Counted(7, v(4), None, QUORUM), 5.0),
    (Set(KEY, b"", if_absent=True), unchanged(v(4), v(3)), 5.0),
    (Set(KEY, b"", if_version=v(9)), unchanged(v(5), None), 5.0),
    (Set(KEY, b"lost"), Written(True, v(6), None, AckLevel.PRIMARY), 5.0),
    (Get(KEY, replica=True), hit(b"a", v(2), 100), 2.05),
    (Get(KEY, replica=True), miss(v(5), 1500), 5.0),
    (Get(KEY, None, True, v(2)), hit(b"b", v(3), 9000), 5.0),
    (Get(KEY, None, True, v(6)), Failure("version_lost", ""), 5.0),
    (Get(KEY, None, True, v(2)), Failure("too_stale", ""), 5.0),
]
FALSE = [
    (Get(KEY), hit(b"x", v(6)), 5.0),
    (Get(KEY), hit(b"x", v(2)), 5.0),
    (Get(KEY), miss(v(6)), 5.0),
    (Get(KEY), miss(v(3)), 5.0),
    (Incr(COUNTER), Counted(8, v(4), None, QUORUM), 5.0),
    (Incr(COUNTER), Counted(8, v(6), None, QUORUM), 5.0),
    (Set(KEY, b"", if_absent=True), unchanged(v(4), v(6)), 5.0),
    (Set(KEY, b"", if_absent=True), unchanged(v(4), v(2)), 5.0),
    (Set(KEY, b"", if_version=v(9)), unchanged(v(3), None), 5.0),
    (Get(KEY, replica=True), hit(b"a", v(2), 100), 2.2),
    (Get(KEY, replica=True), miss(v(5), 900), 5.0),
    (Get(KEY, None, True, v(4)), hit(b"a", v(2), 9000), 5.0),
    (Get(KEY, None, True, v(5)), hit(b"b", v(3), 9000), 5.0),
    (Get(KEY, None, True, v(4)), Failure("version_lost", ""), 5.0),
    (Get(KEY), Failure("internal", ""), 5.0),
]


def test_a_true_history_is_kept_and_counted() -> None:
    levels = judged(*TRUE)
    assert (levels.shown, levels.replica_reads, levels.lost) == (10, 3, 1)


@pytest.mark.parametrize("seen", FALSE, ids=str)
def test_a_false_one_is_a_violation(seen: tuple[Command, Reply, float]) -> None:
    with pytest.raises(Violation):
        judged(seen)


def test_a_shard_that_a_majority_forgot_is_not_judged() -> None:
    judged(*(seen for seen in FALSE if not isinstance(seen[1], Failure)), forgiven=True)
