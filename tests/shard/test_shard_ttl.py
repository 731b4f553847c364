"""Times to live as a namespace's policy grants them: its default, its longest, and jitter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT, TTL_JITTER_LIMIT_PERCENT, Namespace, granted_ttl_ms
from raftcache.commands.types import TTL_LIMIT_MS, Command, Counted, Expire, Incr, Persist, Set, Written

TTLS = st.integers(1, TTL_LIMIT_MS)


@given(st.none() | TTLS, st.none() | TTLS, st.none() | TTLS, st.integers(0, TTL_JITTER_LIMIT_PERCENT), st.randoms())
def test_what_is_granted_is_never_longer_than_asked_or_allowed_nor_shorter_than_jitter_makes_it(
    asked_ms: int | None, default_ms: int | None, longest_ms: int | None, percent: int, dice: random.Random
) -> None:
    namespace = Namespace("x", 2, default_ttl_ms=default_ms, max_ttl_ms=longest_ms, ttl_jitter_percent=percent)
    granted_ms = granted_ttl_ms(asked_ms, namespace, dice.random)
    wanted = [each for each in (default_ms if asked_ms is None else asked_ms, longest_ms) if each is not None]
    if not wanted:
        assert granted_ms is None
    else:
        assert granted_ms is not None
        assert max(1, min(wanted) * (100 - percent) // 100) <= granted_ms <= min(wanted)


def test_without_jitter_no_dice_are_rolled() -> None:
    assert granted_ttl_ms(5, Namespace("x", 2), lambda: pytest.fail("rolled")) == 5


def bench_with(namespace: Namespace) -> Bench:
    return Bench(policies=Namespaces(1, (Namespace(DEFAULT, 1), namespace))).lead()


def lives_ms(bench: Bench, command: Command) -> int | None:
    """For how long the key lives that a command has written."""
    (reply,) = bench.send(command)
    assert isinstance(reply, Written | Counted) and (isinstance(reply, Counted) or reply.written)
    return None if reply.expires_at_ms is None else reply.expires_at_ms - bench.runtime.wall_ms()


def test_nothing_in_a_namespace_lives_longer_than_it_allows() -> None:
    bench = bench_with(Namespace("x", 2, max_ttl_ms=5000))
    assert lives_ms(bench, Set(b"x:k", b"v")) == 5000
    assert lives_ms(bench, Set(b"x:k", b"v", ttl_ms=90_000)) == 5000
    assert lives_ms(bench, Set(b"x:k", b"v", ttl_ms=7)) == 7
    assert lives_ms(bench, Expire(b"x:k", 80_000)) == 5000
    assert lives_ms(bench, Persist(b"x:k")) == 5000
    assert lives_ms(bench, Incr(b"x:n")) == 5000
    assert lives_ms(bench, Set(b"k", b"v")) is None


def test_keys_that_are_written_together_do_not_expire_together() -> None:
    bench = bench_with(Namespace("x", 2, default_ttl_ms=100_000, ttl_jitter_percent=30))
    lives = [lives_ms(bench, Set(b"x:%d" % number, b"v")) for number in range(200)]
    assert all(life is not None and 70_000 <= life <= 100_000 for life in lives)
    assert len(set(lives)) > 150
