"""One connection: order, what waits for what, and bounds."""

from __future__ import annotations

from typing import Any

import pytest
from http_backend import SHARD, TERM
from resp_bytes import packed
from talk import Talk

from raftcache.commands.types import Fate, Receipt, Version
from raftcache.frontends.resp import session as sessions

OK, PONG = b"+OK\r\n", b"+PONG\r\n"


def test_replies_wait_behind_one_that_is_late_and_other_connections_do_not() -> None:
    talk = Talk()
    other = Talk(talk.backend, talk.front)
    talk.backend.held = []
    assert talk.say("SET", "safe:k", "v") == b""
    late, talk.backend.held = talk.backend.held, None
    assert talk.say("GET", "k") == b"" and talk.say("PING") == b"" and talk.say("WHAT") == b""
    assert other.say("SET", "k", "w") == OK
    assert (talk.wakes, len(talk.backend.commands)) == (0, 3), "what is behind was executed"
    late[0]()
    assert talk.wakes == 1
    unknown = b"-ERR unknown command 'WHAT', with args beginning with: \r\n"
    assert talk.rest() == OK + b"$-1\r\n" + PONG + unknown


def test_late_replies_come_in_the_order_asked() -> None:
    talk = Talk()
    talk.backend.held = held = []
    for number in range(5):
        talk.say("INCR", f"c{number % 2}")
    for at in (4, 2, 0, 1, 3):
        held[at]()
    assert talk.rest() == b":1\r\n:1\r\n:2\r\n:2\r\n:3\r\n"


def test_a_reply_keeps_the_protocol_it_was_asked_in() -> None:
    talk = Talk()
    talk.backend.held = []
    talk.say("GET", "none")
    talk.say("HELLO", 3)
    talk.say("GET", "none")
    talk.backend.release()
    said = talk.rest()
    assert said.startswith(b"$-1\r\n%7\r\n") and said.endswith(b"_\r\n")


def test_with_too_many_replies_pending_nothing_more_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PENDING_LIMIT", 10)
    talk = Talk()
    talk.backend.held = []
    talk.raw(packed("INCR", "c") * 25)
    assert (len(talk.backend.commands), talk.session.hungry) == (10, False)
    assert talk.front.metrics.stalls == {"pending_replies": 1}
    talk.backend.release()
    assert talk.rest() == b"".join(b":%d\r\n" % number for number in range(1, 26))
    assert talk.session.hungry


def test_replies_held_back_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "HELD_LIMIT_BYTES", 1000)
    monkeypatch.setattr(sessions, "HELD_HARD_LIMIT_BYTES", 2000)
    talk = Talk()
    talk.say("SET", "k", "v" * 600)
    talk.backend.held = held = []
    talk.raw(packed("GETEX", "k") * 6)
    assert talk.session.hungry
    held[1]()
    held[2]()
    assert not talk.session.hungry and talk.front.metrics.stalls == {"held_bytes": 1}
    held[3]()
    assert talk.session.broken == "" and talk.wakes == 0
    held[4]()
    assert talk.session.broken == "held_replies" and talk.wakes == 1


def test_a_turn_executes_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk()
    talk.session.receive(packed("PING") * (sessions.COMMANDS_PER_TURN + 1))
    assert talk.session.take() == PONG * sessions.COMMANDS_PER_TURN
    assert talk.session.unfinished and not talk.session.hungry
    talk.session.go_on()
    assert talk.session.take() == PONG and not talk.session.unfinished and talk.session.hungry
    monkeypatch.setattr(sessions, "OUTPUT_PER_TURN_BYTES", 100)
    talk.session.receive(packed("ECHO", "x" * 60) * 5)
    assert talk.session.take().count(b"$60") == 2 and talk.session.unfinished


def test_a_client_that_does_not_read_is_not_executed_for() -> None:
    talk = Talk()
    talk.session.output_blocked = True
    assert talk.say("INCR", "c") == b"" and not talk.session.hungry
    talk.session.output_blocked = False
    assert talk.rest() == b":1\r\n"


def test_nonsense_gets_an_answer_in_its_turn_and_ends_the_connection() -> None:
    talk = Talk()
    talk.backend.held = []
    assert talk.raw(packed("INCR", "c") + b"*1\r\n$-5\r\n" + packed("INCR", "c")) == b""
    assert not talk.session.over
    talk.backend.release()
    assert talk.rest() == b":1\r\n-ERR Protocol error: invalid bulk length\r\n"
    assert talk.session.over and talk.front.metrics.protocol_errors == 1
    assert talk.raw(packed("PING")) == b""


@pytest.mark.parametrize("request_line", ["POST / HTTP/1.1", "GET / HTTP/1.1", "post /"])
def test_a_browser_is_turned_away_before_its_body(request_line: str) -> None:
    talk = Talk()
    said = talk.raw(f"{request_line}\r\nHost: 127.0.0.1:7103\r\nOrigin: x\r\n\r\nSET k v\r\n".encode())
    assert b"+OK" not in said and talk.session.over
    assert talk.backend.commands == [] and talk.front.metrics.protocol_errors == 1


def test_quit_is_the_last_word() -> None:
    talk = Talk()
    assert talk.raw(packed("QUIT") + packed("PING")) == OK
    assert talk.session.over


def test_a_client_that_sends_no_more_is_answered() -> None:
    talk = Talk()
    talk.backend.held = []
    talk.say("INCR", "c")
    talk.session.end_of_input()
    assert not talk.session.over
    talk.backend.release()
    assert talk.rest() == b":1\r\n" and talk.session.over


def test_replies_to_a_connection_that_is_gone_are_dropped() -> None:
    talk = Talk()
    talk.backend.held = []
    talk.say("INCR", "c")
    talk.session.close()
    talk.backend.release()
    assert (talk.wakes, talk.session.take()) == (0, b"")


def test_wait_asks_what_became_of_this_connections_writes() -> None:
    talk = Talk()
    talk.backend.cluster = lambda: {"shards": [{"replicas": [1, 2, 3]}, {"replicas": [1, 2, 3, 4, 5]}]}
    assert talk.say("WAIT", 1, 0) == b":1\r\n" and talk.backend.asked == []
    talk.raw(packed("SET", "a", 1) + packed("MSET", "b", 1, "c", 1) + packed("SET", "safe:k", 1))
    assert talk.say("WAIT", 1, 500) == b":1\r\n"
    newest = Version(SHARD, TERM, 3)
    assert talk.backend.asked == [([(b"c", newest)], 500, 1000.6)], "what was acknowledged at quorum is committed"
    assert talk.say("WAIT", 1, 0) == b":1\r\n" and len(talk.backend.asked) == 1


def test_wait_asks_about_the_newest_write_whichever_was_answered_last() -> None:
    talk = Talk()
    newer, older = Version(SHARD, TERM, 9), Version(SHARD, TERM, 8)
    talk.client.note_write(b"newer", newer)
    talk.client.note_write(b"older", older)
    assert talk.client.unproved == {(SHARD, TERM): (b"newer", newer)}


@pytest.mark.parametrize(("fate", "asked_again"), [(Fate.LOST, False), (Fate.PENDING, True)])
def test_wait_says_nought_of_what_is_not_committed(fate: Fate, asked_again: bool) -> None:
    talk = Talk()
    talk.backend._receipt = lambda version: Receipt(version, fate)
    talk.backend.cluster = lambda: {"shards": [{"replicas": [1, 2, 3]}]}
    talk.say("SET", "a", 1)
    assert talk.say("WAIT", 1, 10) == b":0\r\n"
    assert talk.say("WAIT", 1, 10) == (b":0\r\n" if asked_again else b":1\r\n")


def test_wait_comes_after_all_before_it_and_before_all_behind_it() -> None:
    talk = Talk()
    answers: list = []
    talk.backend.receipts = lambda asked, wait_ms, deadline, done: answers.append((asked, done))
    talk.backend.held = []
    assert talk.raw(packed("SET", "a", 1) + packed("WAIT", 1, 0) + packed("SET", "a", 2)) == b""
    assert answers == [] and len(talk.backend.commands) == 1
    talk.backend.release()
    assert talk.rest() == OK
    ((asked, done),) = answers
    assert asked == [(b"a", Version(SHARD, TERM, 1))] and len(talk.backend.commands) == 1
    done([Receipt(asked[0][1], Fate.COMMITTED)])
    assert talk.rest() == b":0\r\n" + OK and len(talk.backend.commands) == 2


def test_a_late_process_refuses_what_costs_and_no_more() -> None:
    talk = Talk()
    talk.front.shedding = lambda: True
    assert talk.say("GET", "k").startswith(b"-BUSY this process is late")
    assert talk.say("PING") == PONG
    assert talk.front.metrics.shed == 1


def test_what_is_counted() -> None:
    talk = Talk()
    for line in ("GET k", "get k", "GET", "WHAT", "SELECT 9"):
        talk.say(*line.split())
    metrics = talk.front.metrics
    assert metrics.calls == {"get": 2, "select": 1}
    assert metrics.rejected == {"get": 1, "unknown": 1, "select": 1}
    assert metrics.errors == {"ERR": 3}
    samples = {
        sample.name: sample.value for family in metrics.collect() for sample in family.samples if not sample.labels
    }
    assert samples["raftcache_redis_connected_clients"] == 1
    assert samples["raftcache_redis_net_input_bytes_total"] == metrics.received_bytes > 0
    assert samples["raftcache_redis_net_output_bytes_total"] == metrics.sent_bytes > 0


def test_the_clock_is_read_again_after_what_may_have_taken_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in review: a write behind slow commands of one read was executed as of the moment of that read."""
    talk, now_s, looked = Talk(), [1000.0], list[float]()
    monkeypatch.setattr(talk.backend.runtime, "now", lambda: now_s[0])
    execute = talk.backend.execute

    def slow(*args: Any) -> None:
        now_s[0] += 1
        execute(*args)

    def look(key: bytes, at_s: float) -> None:
        looked.append(at_s)

    monkeypatch.setattr(talk.backend, "execute", slow)
    monkeypatch.setattr(talk.backend, "look", look)
    talk.raw(packed("GET", "a") + packed("INCR", "c") + packed("GET", "a") + packed("PING") + packed("GET", "a"))
    assert looked == [1000, 1002, 1003]
