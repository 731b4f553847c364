"""Joint writes from the moment that they are executed until they are answered, changes of leaders included."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from raftcache.commands.types import AckLevel, Failure, Fate, Receipt, Reply, Set, Version, Written
from raftcache.routing.joining import Joining
from raftcache.shard.joint import JointWrites

KEYS = [b"a", b"b", b"c"]


class FakeDispatcher:
    """Remembers what it is asked; answers come by hand."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.retries = Counter[str]()
        self.asked: list[Any] = []
        self.sent: list[tuple[Any, float, Any]] = []
        self.sweeps = 0

    def now(self) -> float:
        return self.time_s

    def sweep_soon(self) -> None:
        self.sweeps += 1

    def receipts(self, asked: Any, wait_ms: int, deadline: float, done: Any) -> None:
        self.asked.append((asked, wait_ms, deadline))
        self.learned = done

    def execute(self, command: Any, deadline: float, reply: Any) -> None:
        self.sent.append((command, deadline, reply))


class Case:
    """Three joint writes that wait, with two seconds left."""

    def __init__(self) -> None:
        self.dispatcher = FakeDispatcher()
        self.joining = Joining(self.dispatcher)
        self.writes = JointWrites(object(), 100.0)
        self.told: list[list[Reply] | None] = []
        self.writes.tell = self.told.append
        for number, key in enumerate(KEYS):
            self.writes.items.append((key, b"v%d" % number, Version("7c1f", 3, 10 + number)))
        self.joining.take_in(self.writes, 102.0)

    def learn(self, *fates: Fate | Failure) -> None:
        pairs = zip(self.writes.items, fates, strict=True)
        receipts = [Receipt(item[2], fate) if isinstance(fate, Fate) else fate for item, fate in pairs]
        self.dispatcher.learned(receipts)

    @property
    def replies(self) -> list[Any]:
        (replies,) = self.told
        assert replies is not None
        return replies


NOT_LEADER = Failure("not_leader", "by script", {})
UNKNOWN = Failure("outcome_unknown", "by script", {})
WRITTEN = Written(True, Version("7c1f", 3, 10), None, AckLevel.QUORUM)
AGAIN = Written(True, Version("7c1f", 4, 2), None, AckLevel.QUORUM)


def test_a_commit_answers_all_once() -> None:
    case = Case()
    assert (len(case.joining), case.joining.writes, case.dispatcher.sweeps) == (1, 3, 1)
    case.writes(WRITTEN)
    case.writes(UNKNOWN)
    assert case.told == [None]
    assert (len(case.joining), case.writes.done) == (0, True)
    case.joining.sweep(200.0)
    assert case.told == [None]


def test_what_was_never_proposed_is_sent_again() -> None:
    case = Case()
    case.writes(NOT_LEADER)
    assert [(command, deadline) for command, deadline, _ in case.dispatcher.sent] == [
        (Set(key, b"v%d" % number), 102.0) for number, key in enumerate(KEYS)
    ]
    assert not case.told and case.dispatcher.retries == {"not_leader": 3}
    for _, _, reply in reversed(case.dispatcher.sent):
        reply(AGAIN)
    assert case.replies == [AGAIN] * 3


def test_what_was_proposed_is_asked_about_and_only_what_is_lost_is_sent_again() -> None:
    case = Case()
    case.dispatcher.time_s = 100.5
    case.writes(UNKNOWN)
    asked = [(key, version) for key, _, version in case.writes.items]
    assert case.dispatcher.asked == [(asked, 1500, 102.0)]
    assert not case.dispatcher.sent, "it may be committed"
    case.learn(Fate.COMMITTED, Fate.LOST, Fate.COMMITTED)
    assert [command for command, _, _ in case.dispatcher.sent] == [Set(b"b", b"v1")]
    assert not case.told
    case.dispatcher.sent[0][2](AGAIN)
    assert case.replies == [WRITTEN, AGAIN, Written(True, Version("7c1f", 3, 12), None, AckLevel.QUORUM)]


@pytest.mark.parametrize("said", [Fate.PENDING, Failure("unknown_version", "by script", {}), NOT_LEADER])
def test_what_nobody_can_say_stays_unknown_with_its_version(said: Fate | Failure) -> None:
    case = Case()
    case.writes(UNKNOWN)
    case.learn(said, Fate.COMMITTED, said)
    assert [reply.code for reply in case.replies if isinstance(reply, Failure)] == ["outcome_unknown"] * 2
    assert case.replies[0].details == {"version": str(Version("7c1f", 3, 10))}
    assert isinstance(case.replies[1], Written)
    assert not case.dispatcher.sent


def test_a_lost_one_is_not_sent_behind_its_deadline_and_that_is_no_unknown_outcome() -> None:
    case = Case()
    case.writes(UNKNOWN)
    case.dispatcher.time_s = 102.0
    case.learn(Fate.LOST, Fate.LOST, Fate.LOST)
    assert not case.dispatcher.sent
    assert [reply.code for reply in case.replies] == ["no_leader"] * 3


def test_a_failure_of_another_kind_is_theirs() -> None:
    case = Case()
    refused = Failure("internal", "by script", {})
    case.writes(refused)
    assert case.replies == [refused] * 3


def test_a_batch_that_never_commits_is_answered_at_the_deadline() -> None:
    case = Case()
    case.joining.sweep(101.9)
    assert not case.told
    case.joining.sweep(102.0)
    assert [reply.code for reply in case.replies] == ["outcome_unknown"] * 3
    case.writes(WRITTEN)
    case.writes(NOT_LEADER)
    assert len(case.told) == 1 and not case.dispatcher.sent, "what comes after it is dropped"
    assert len(case.joining) == 0
