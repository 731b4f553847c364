"""Plain writes that wait for a quorum share a place among a connection's replies."""

from __future__ import annotations

import pytest
from http_backend import FakeBackend
from resp_bytes import packed
from talk import Talk

from raftcache.commands.types import AckLevel, Failure, Version, Written
from raftcache.frontends.resp import session as sessions
from raftcache.shard.joint import Joint, JointWrites

OK, PONG, NONE = b"+OK\r\n", b"+PONG\r\n", b"$-1\r\n"
UNKNOWN = Failure("outcome_unknown", "by script", {})


class JointBackend(FakeBackend):
    """Keys of `safe` wait for the batch that is open; `commit` ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.batch, self.places = object(), list[JointWrites]()

    def write(
        self, key: bytes, value: bytes, now_s: float, joint: Joint | None = None
    ) -> Version | JointWrites | None:
        if not key.startswith(b"safe:") or joint is None:
            return None
        writes = joint.newest
        if writes is None or not writes.takes(self.batch, now_s):
            writes = joint.newest = JointWrites(self.batch, now_s)
            self.places.append(writes)
        writes.items.append((key, value, Version("7c1f", 1, len(writes.items) + 1)))
        return writes

    def commit(self, *replies: Failure | Written | None) -> None:
        """Answer the oldest place: all is written, or as is said."""
        place = self.places.pop(0)
        if place.batch is self.batch:
            self.batch = object()
        pairs = zip(replies, place.items, strict=True) if replies else ()
        place.finish([reply or written(item[2]) for reply, item in pairs] if replies else None)


def written(version: Version) -> Written:
    return Written(True, version, None, AckLevel.QUORUM)


@pytest.fixture
def talk() -> Talk:
    return Talk(JointBackend())


def test_all_of_a_batch_are_answered_at_once(talk: Talk) -> None:
    assert talk.raw(packed("SET", "safe:a", "1") * 16) == b""
    assert len(talk.backend.places) == 1
    talk.backend.commit()
    assert talk.wakes == 1
    assert talk.rest() == OK * 16
    assert talk.say("PING") == PONG


def test_what_is_asked_between_them_is_answered_between_them(talk: Talk) -> None:
    """A place takes no write in that comes behind another command."""
    asked = packed("SET", "safe:a", "1") + packed("PING") + packed("SET", "safe:b", "2") + packed("GET", "none")
    assert talk.raw(asked + packed("SET", "safe:c", "3") * 2) == b""
    assert [len(place.items) for place in talk.backend.places] == [1, 1, 2]
    talk.backend.commit()
    assert talk.rest() == OK + PONG
    talk.backend.commit()
    assert talk.rest() == OK + NONE
    talk.backend.commit()
    assert talk.rest() == OK * 2


def test_later_batches_have_places_of_their_own(talk: Talk) -> None:
    talk.say("SET", "safe:a", "1")
    talk.backend.batch = object()
    talk.say("SET", "safe:b", "2")
    first, second = talk.backend.places
    second.finish(None)
    assert talk.rest() == b"", "they wait for those before them"
    first.finish(None)
    assert talk.rest() == OK * 2


def test_each_has_the_reply_that_is_its_own(talk: Talk) -> None:
    talk.raw(packed("SET", "safe:a", "1") * 4)
    talk.backend.commit(None, UNKNOWN, None, Failure("no_leader", "by script", {}))
    said = talk.rest().split(b"\r\n")[:-1]
    assert (said[0], said[2]) == (b"+OK", b"+OK")
    assert said[1].startswith(b"-UNKNOWN") and said[3].startswith(b"-LOADING"), said
    assert sum(talk.front.metrics.errors.values()) == 2


def test_those_of_one_connection_are_no_matter_to_another(talk: Talk) -> None:
    other = Talk(talk.backend, talk.front)
    talk.say("SET", "safe:a", "1")
    assert other.say("PING") == PONG
    other.say("SET", "safe:b", "1")
    assert len(talk.backend.places) == 2
    talk.backend.commit()
    assert (talk.rest(), other.rest()) == (OK, b"")


def test_they_all_count_against_the_limit_of_pending_replies(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PENDING_LIMIT", 10)
    for _ in range(3):
        talk.raw(packed("SET", "safe:a", "1") * 25)
        assert (sum(len(place.items) for place in talk.backend.places), talk.session.hungry) == (10, False)
        talk.backend.commit()
        assert talk.rest() == OK * 10
        talk.backend.commit()
        assert talk.rest() == OK * 10
        talk.backend.commit()
        assert talk.rest() == OK * 5
        assert talk.session.hungry
    assert talk.front.metrics.stalls == {"pending_replies": 6}


def test_a_command_that_waits_for_all_before_it_waits_for_them(talk: Talk) -> None:
    talk.raw(packed("SET", "safe:a", "1") * 3 + packed("WAIT", "1", "0") + packed("SET", "safe:b", "1"))
    assert [len(place.items) for place in talk.backend.places] == [3]
    talk.backend.commit()
    assert talk.rest().startswith(OK * 3 + b":")
    assert [len(place.items) for place in talk.backend.places] == [1]


def test_what_is_answered_to_a_closed_connection_is_dropped(talk: Talk) -> None:
    talk.say("SET", "safe:a", "1")
    talk.session.close()
    talk.backend.commit()
    assert (talk.wakes, talk.session.take()) == (0, b"")


def test_in_a_block_they_are_commands_like_all_others(talk: Talk) -> None:
    assert talk.say("MULTI") == OK
    assert talk.say("SET", "safe:a", "1") == b"+QUEUED\r\n"
    assert not talk.backend.places


def test_options_make_it_a_command(talk: Talk) -> None:
    talk.say("SET", "safe:a", "1", "EX", "10")
    assert not talk.backend.places and talk.backend.commands
