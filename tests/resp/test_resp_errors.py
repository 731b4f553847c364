"""Failures over the Redis protocol: what is not executed and what is unknown are never mixed up."""

from __future__ import annotations

import pytest
from talk import Talk

from raftcache.commands.types import AckLevel, Failure, Many, Version, Written
from raftcache.errors import BY_CODE, NoLeader, OutcomeUnknown, Overloaded
from raftcache.frontends.resp.failures import failed_items, line_of_many
from raftcache.frontends.resp.session import Session

RETRIED_BY_CLIENTS = {"LOADING", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"}


@pytest.mark.parametrize("error", BY_CODE.values(), ids=BY_CODE.keys())
def test_the_prefix_says_whether_it_was_executed(error: type) -> None:
    for cluster in (True, False):
        prefix = error.to_resp("text", cluster).split()[0]
        assert (prefix == "UNKNOWN") == (not error.definite)
        assert prefix not in RETRIED_BY_CLIENTS or error.definite
    assert "CLUSTERDOWN" not in error.to_resp("text")


def test_failures_as_lines() -> None:
    talk = Talk()
    for failure, line in (
        (NoLeader("no leader of shard 7: not executed"), b"-LOADING no leader of shard 7: not executed\r\n"),
        (OutcomeUnknown("it may take effect"), b"-UNKNOWN it may take effect\r\n"),
        (Overloaded("full"), b"-BUSY full\r\n"),
    ):  # fmt: skip
        talk.backend.failing = failure
        assert talk.say("SET", "k", "v") == line
        assert talk.say("GET", "k") == line
    assert talk.front.metrics.errors == {"LOADING": 2, "UNKNOWN": 2, "BUSY": 2}


def written(happened: bool) -> Written:
    return Written(happened, Version("7", 1, 1), None, AckLevel.PRIMARY)


NO_LEADER, UNKNOWN = Failure("no_leader", "none"), Failure("outcome_unknown", "who knows")


@pytest.mark.parametrize(
    ("items", "line"),
    [
        ((NO_LEADER, NO_LEADER), "LOADING none"),
        ((written(False), NO_LEADER), "LOADING none"),
        ((NO_LEADER, UNKNOWN), "UNKNOWN who knows"),
        ((written(True), NO_LEADER), "UNKNOWN 1 of 2 keys were written and 1 failed, the first with: none"),
        (
            (written(True), NO_LEADER, UNKNOWN),
            "UNKNOWN 1 of 3 keys were written and 2 failed, the first with: who knows",
        ),
    ],
)
def test_of_many_keys(items: tuple[Written | Failure, ...], line: str) -> None:
    assert line_of_many(items, failed_items(items)) == line


def test_one_failed_key_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    monkeypatch.setattr(talk.backend, "_reply", lambda _command: Many((written(True), NO_LEADER)))
    assert (
        talk.say("MSET", "a", 1, "b", 2) == b"-UNKNOWN 1 of 2 keys were written and 1 failed, the first with: none\r\n"
    )


def test_too_many_values_for_one_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.frontends.resp.strings.REPLY_LIMIT_BYTES", 10)
    talk = Talk()
    talk.say("SET", "k", "v" * 6)
    assert talk.say("MGET", "k", "k") == b"-ERR the values have 12 bytes together, the limit of one reply is 10\r\n"
    assert talk.say("PING") == b"+PONG\r\n"


def test_a_defect_is_an_error_of_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(talk.backend, "execute", broken)
    assert talk.say("GET", "k") == b"-UNKNOWN this command met a defect; the node's log says more\r\n"
    monkeypatch.undo()
    monkeypatch.setattr(talk.backend, "_reply", lambda _command: Many(()))
    assert talk.say("GET", "k").startswith(b"-UNKNOWN this command met a defect")
    assert talk.say("PING") == b"+PONG\r\n"
    assert isinstance(talk.session, Session)
