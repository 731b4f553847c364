"""The check of loss windows itself: what it takes for a loss, and what for too much of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT, LossWindow, Namespace
from raftcache.commands.types import AckLevel, Counted, Failure, Incr, Many, MultiSet, Set, Version, Written
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES
from raftcache.testing.checks import Violation
from raftcache.testing.cluster import SimProcess
from raftcache.testing.window_check import Ack, WindowWatch, _hold, _widest

PRIMARY, QUORUM = AckLevel.PRIMARY, AckLevel.QUORUM
SMALL, REST = Namespace("small", 2), Namespace(DEFAULT, 1)


def ack(seq: int, at_s: float | None = 0.0, size_bytes: int = 10) -> Ack:
    return Ack(SMALL, 1, seq, size_bytes, at_s, 0.0)


def process_at(now_s: float, *namespaces: Namespace) -> SimProcess:
    """A process of which only the clock is asked for, and one shard's policies."""
    policies = SimpleNamespace(in_force=Namespaces(1, namespaces or (SMALL, REST)))
    core = SimpleNamespace(shards={"7c1f": SimpleNamespace(policies=policies)})
    return cast(SimProcess, SimpleNamespace(runtime=SimpleNamespace(now=lambda: now_s), core=core))


def test_a_loss_within_the_share_is_fine() -> None:
    window = LossWindow(ms=100, writes=5, bytes=60)
    _hold("here", [ack(1), ack(2, 0.1), ack(3, None)], window, (0, 2))
    _hold("here", [ack(n, n) for n in range(99)], LossWindow(None, None, None), (0, 2))


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ([ack(1), ack(2), ack(3)], "3 acknowledged writes"),
        ([ack(1), ack(2, size_bytes=21)], "31 acknowledged bytes"),
        ([ack(1), ack(2, 0.101)], "span 0.101 s"),
    ],
)
def test_a_loss_over_the_share_is_a_violation(lost: list[Ack], words: str) -> None:
    with pytest.raises(Violation, match=words):
        _hold("here", lost, LossWindow(ms=100, writes=5, bytes=60), (1, 2))


def test_only_what_was_written_and_answered_at_primary_is_noted() -> None:
    watch = WindowWatch(lambda: 7.0)
    version = Version("7c1f", 3, 9)
    watch.answered(process_at(1.5), Set(b"small:k", b"12"), Written(True, version, None, PRIMARY))
    watch.answered(process_at(2.5), Incr(b"small:n"), Counted(100, version, None, PRIMARY))
    watch.answered(process_at(1.0), Set(b"small:k", b"12"), Written(True, version, None, QUORUM))
    watch.answered(process_at(1.0), Set(b"small:k", b"12"), Written(False, version, None, PRIMARY))
    watch.answered(process_at(1.0), Set(b"small:k", b"12"), Failure("not_leader", ""))
    both = MultiSet((Set(b"k", b"1"), Set(b"small:k", b"1")))
    watch.answered(process_at(3.0), both, Many((Written(True, version, None, PRIMARY), Failure("overloaded", ""))))
    assert watch.acks["7c1f"] == [
        Ack(SMALL, 3, 9, 9 + EFFECT_OVERHEAD_BYTES, 1.5, 7.0),
        Ack(SMALL, 3, 9, 10 + EFFECT_OVERHEAD_BYTES, 2.5, 7.0),
        Ack(REST, 3, 9, 2 + EFFECT_OVERHEAD_BYTES, None, 7.0),
    ]


def test_what_is_deleted_and_created_again_has_a_window_of_its_own() -> None:
    """Seed 143 of the lease sweep: writes of `default`, and of the namespace that was created behind them, were held
    against one window."""
    watch, again = WindowWatch(lambda: 7.0), Namespace("small", 3, loss_window=LossWindow(ms=100))
    version = Version("7c1f", 3, 9)
    for at_s, namespaces in ((1.0, (REST,)), (1.5, (SMALL, REST)), (2.0, (again, REST))):
        watch.answered(process_at(at_s, *namespaces), Set(b"small:k", b""), Written(True, version, None, PRIMARY))
    assert [one.namespace for one in watch.acks["7c1f"]] == [REST, SMALL, again]
    assert _widest(watch.acks["7c1f"][1:]) == LossWindow()
    assert _widest(watch.acks["7c1f"][2:]) == LossWindow(ms=100)
