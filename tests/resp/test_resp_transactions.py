"""MULTI, EXEC, DISCARD, WATCH and MSETNX against a real shard, in the bytes that clients get."""

from __future__ import annotations

import pytest
from resp_bytes import packed
from shard_backend import ShardBackend
from talk import Talk

from raftcache.commands.types import Command, MultiGet, Script, Set, Transaction, failure_of
from raftcache.errors import NoLeader, OutcomeUnknown
from raftcache.frontends.resp import transactions
from raftcache.frontends.resp.scripts import sandbox

OK, QUEUED, NOTHING = b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"


@pytest.fixture
def talk() -> Talk:
    return Talk(ShardBackend())


def say(talk: Talk, *lines: str) -> list[bytes]:
    return [talk.say(*line.split()) for line in lines]


def sent(talk: Talk) -> list[Transaction]:
    return [command for command, _ in talk.backend.commands if isinstance(command, Transaction)]


def test_a_block_is_executed_by_exec_and_answered_in_order(talk: Talk) -> None:
    said = say(talk, "MULTI", "SET {a}k 1", "INCR {a}k", "GET {a}k", "PING", "MGET {a}k {a}j", "DEL {a}k {a}j", "EXEC")
    assert said[:7] == [OK, *[QUEUED] * 6]
    results = b"*6\r\n+OK\r\n:2\r\n$1\r\n2\r\n+PONG\r\n*2\r\n$1\r\n2\r\n$-1\r\n:1\r\n"
    assert said[7] == results
    (transaction,) = sent(talk)
    assert len(transaction.items) == 7, "one slot, one transaction"


def test_in_one_write_it_is_the_same(talk: Talk) -> None:
    assert talk.raw(b"MULTI\r\nSET a 1\r\nGET a\r\nEXEC\r\nGET a\r\n") == (
        OK + QUEUED * 2 + b"*2\r\n+OK\r\n$1\r\n1\r\n" + b"$1\r\n1\r\n"
    )


def test_a_block_over_several_slots_is_one_transaction_a_slot(talk: Talk) -> None:
    said = say(talk, "MULTI", "SET a 1", "SET b 2", "GET a", "MSET a 3 c 4", "EXEC", "MGET a b c")
    assert said[5] == b"*4\r\n+OK\r\n+OK\r\n$1\r\n1\r\n+OK\r\n"
    assert said[6] == b"*3\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n4\r\n"
    assert [[item.key for item in each.items] for each in sent(talk)] == [[b"a", b"a", b"a"], [b"b"], [b"c"]]


def test_commands_fail_alone_and_what_is_no_command_fails_all(talk: Talk) -> None:
    said = say(talk, "SET a x", "MULTI", "INCR a", "SET a y WHAT", "SET a z", "EXEC", "GET a")
    head, _, rest = said[5].partition(b"\r\n")
    assert head == b"*3" and rest.startswith(b"-ERR value is not an integer")
    assert rest.endswith(b"-ERR syntax error\r\n+OK\r\n") and said[6] == b"$1\r\nz\r\n"
    for broken in ("NONSENSE a", "GET", "WAIT 0 0", "RC.RECEIPT a v1.1.1"):
        said = say(talk, "MULTI", "SET a never", broken, "EXEC", "GET a")
        assert said[2].startswith(b"-ERR "), broken
        assert said[3] == b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        assert said[4] == b"$1\r\nz\r\n"


def test_blocks_are_forgotten_and_not_nested(talk: Talk) -> None:
    assert say(talk, "MULTI", "SET a 1", "DISCARD", "GET a") == [OK, QUEUED, OK, b"$-1\r\n"]
    assert say(talk, "MULTI", "SET a 1", "RESET", "GET a")[3] == b"$-1\r\n"
    assert say(talk, "EXEC", "DISCARD") == [b"-ERR EXEC without MULTI\r\n", b"-ERR DISCARD without MULTI\r\n"]
    assert say(talk, "MULTI", "MULTI", "WATCH a", "EXEC") == [
        *(OK, b"-ERR MULTI calls can not be nested\r\n", b"-ERR WATCH inside MULTI is not allowed\r\n", b"*0\r\n"),
    ]


def test_watch_lets_exec_do_nothing_where_a_key_changed(talk: Talk) -> None:
    other = Talk(talk.backend, talk.front)
    changes = (("SET w 1", "SET w 2"), ("DEL w", "SET w 1"), ("SET w 1", "DEL w"), ("SET w 1", "EXPIRE w 9"))
    for before, change in changes:
        say(talk, before, "WATCH w", "MULTI", "SET {w}a 1")
        say(other, change)
        assert say(talk, "EXEC", "GET {w}a") == [NOTHING, b"$-1\r\n"], change
    assert say(talk, "WATCH w", "MULTI", "SET {w}a 1", "EXEC")[3] == b"*1\r\n+OK\r\n"
    say(talk, "WATCH w", "UNWATCH", "MULTI", "SET {w}a 2")
    say(other, "SET w 3")
    assert say(talk, "EXEC") == [b"*1\r\n+OK\r\n"]


def test_exec_ends_a_watch_and_an_empty_block_heeds_it(talk: Talk) -> None:
    assert say(talk, "WATCH w", "MULTI", "EXEC") == [OK, OK, b"*0\r\n"]
    say(talk, "WATCH w", "SET w 1", "MULTI")
    assert say(talk, "EXEC", "MULTI", "GET w", "EXEC") == [NOTHING, OK, QUEUED, b"*1\r\n$1\r\n1\r\n"]
    say(talk, "HELLO 3", "WATCH w", "SET w 2", "MULTI")
    assert say(talk, "EXEC") == [b"_\r\n"]


def test_what_is_watched_must_be_of_the_slot_of_the_commands(talk: Talk) -> None:
    said = say(talk, "WATCH a", "MULTI", "SET b 1", "EXEC", "GET b")
    assert said[3:] == [b"-CROSSSLOT Keys in request don't hash to the same slot\r\n", b"$-1\r\n"]


def test_msetnx_writes_all_or_nothing(talk: Talk) -> None:
    assert say(talk, "MSETNX {a}1 x {a}2 y", "MSETNX {a}2 z {a}3 z", "MGET {a}1 {a}2 {a}3") == [
        *(b":1\r\n", b":0\r\n", b"*3\r\n$1\r\nx\r\n$1\r\ny\r\n$-1\r\n"),
    ]
    assert say(talk, "MSETNX a 1 b 2")[0].startswith(b"-CROSSSLOT")
    assert say(talk, "MSETNX a 1 b")[0] == b"-ERR wrong number of arguments for 'msetnx' command\r\n"


def test_bounds(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "MULTI_KEY_LIMIT", 2)
    said = say(talk, "MULTI", "GET a", "GET a", "GET a", "EXEC")
    assert said[3] == b"-ERR a transaction has at most 2 commands\r\n" and said[4].startswith(b"-EXECABORT")
    monkeypatch.setattr(transactions, "QUEUED_LIMIT_BYTES", 20)
    said = say(talk, "MULTI", "SET a 123456789", "SET a 123456789", "EXEC")
    assert b"at most 20 bytes" in said[2] and said[3].startswith(b"-EXECABORT")
    monkeypatch.setattr(transactions, "WATCHED_LIMIT", 2)
    assert say(talk, "WATCH a b", "WATCH b c")[1] == b"-ERR a connection watches at most 2 keys\r\n"


def test_a_block_that_was_not_executed_is_one_error_and_a_split_one_says_which(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = talk.backend
    whole = backend._reply

    def reply(command: Command) -> object:
        first = command.items[0].key if isinstance(command, Transaction) else b""
        if first == b"b":
            return failure_of(OutcomeUnknown("it may still"))
        return failure_of(NoLeader("nobody leads")) if first == b"gone" else whole(command)

    monkeypatch.setattr(backend, "_reply", reply)
    assert say(talk, "MULTI", "SET gone 1", "GET gone", "EXEC")[3].startswith(b"-LOADING")
    said = say(talk, "MULTI", "SET a 1", "SET b 1", "GET a", "EXEC")[4]
    assert said.startswith(b"*3\r\n+OK\r\n-UNKNOWN it may still\r\n$1\r\n1\r\n")


def test_a_watch_that_cannot_read_watches_nothing(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = talk.backend._reply
    failing = lambda command: failure_of(NoLeader("no")) if isinstance(command, MultiGet) else whole(command)  # noqa: E731
    monkeypatch.setattr(talk.backend, "_reply", failing)
    assert say(talk, "WATCH a")[0].startswith(b"-LOADING") and not talk.client.watched


def test_what_a_block_writes_is_what_wait_waits_for(talk: Talk) -> None:
    say(talk, "MULTI", "SET a 1", "EXEC")
    assert [key for key, _ in talk.client.unproved.values()] == [b"a"]
    assert isinstance(sent(talk)[0].items[0], Set)


# -- scripts -------------------------------------------------------------------------------------

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
NO_SCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
CROSS_SLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"


def block(talk: Talk, *commands: tuple[str | int, ...]) -> bytes:
    """What EXEC says of a block of these commands, all of which are queued."""
    assert talk.say("MULTI") == OK
    assert [talk.say(*words) for words in commands] == [QUEUED] * len(commands)
    return talk.say("EXEC")


def test_scripts_run_within_a_block_where_they_stand(talk: Talk) -> None:
    sha = talk.say("SCRIPT", "LOAD", ADD).split()[1].decode()
    read = "return {redis.call('GET', KEYS[1]), ARGV[1]}"
    said = block(
        talk,
        ("SET", "k", 1),
        ("EVAL", ADD, 1, "k", 2),
        ("GET", "k"),
        ("EVALSHA", sha, 1, "k", 4),
        ("EVAL_RO", read, 1, "k", "x"),
        ("EVALSHA_RO", sha, 1, "k", 1),
        ("PING",),
    )
    refused = b"-ERR Write commands are not allowed from read-only scripts. script: %s, on @user_script.\r\n"
    answers = b"*7\r\n+OK\r\n:3\r\n$1\r\n3\r\n:7\r\n*2\r\n$1\r\n7\r\n$1\r\nx\r\n" + refused % sha.encode()
    assert said == answers + b"+PONG\r\n"
    (transaction,) = sent(talk)
    assert transaction.items[1] == Script(ADD.encode(), (b"k",), (b"2",)), "one slot, one transaction"
    assert len(transaction.items) == 6 and talk.say("GET", "k") == b"$1\r\n7\r\n"


def test_a_script_that_fails_is_an_error_in_its_place_and_what_it_did_remains(talk: Talk) -> None:
    source = "redis.call('SET', KEYS[1], 'word') redis.call('INCR', KEYS[1]) return 1"
    said = block(talk, ("SET", "k", 1), ("EVAL", source, 1, "k"), ("APPEND", "k", "s"))
    head, failed, last = said.split(b"\r\n", 3)[1:]
    assert (head, last) == (b"+OK", b":5\r\n") and failed.startswith(b"-ERR value is not an integer")
    assert talk.say("GET", "k") == b"$5\r\nwords\r\n"
    said = block(talk, ("EVAL", "return return", 0), ("EVAL", "error('MINE no')", 0), ("EVAL", "return {err='A b'}", 0))
    assert [line[:12] for line in said.split(b"\r\n")[1:4]] == [b"-ERR Error c", b"-ERR user_sc", b"-A b"]


def test_a_script_that_is_not_known_is_an_error_in_its_place(talk: Talk) -> None:
    said = block(talk, ("SET", "k", 1), ("EVALSHA", "f" * 40, 1, "k"), ("GET", "k"))
    assert said == b"*3\r\n+OK\r\n" + NO_SCRIPT + b"$1\r\n1\r\n"


def test_a_block_knows_the_scripts_that_it_was_told_of_before(talk: Talk) -> None:
    sha = talk.say("SCRIPT", "LOAD", "return 1").split()[1].decode()
    talk.say("SCRIPT", "FLUSH")
    said = block(talk, ("EVALSHA", sha, 0), ("EVAL", "return 1", 0), ("EVALSHA", sha, 0), ("SCRIPT", "FLUSH"))
    assert said == b"*4\r\n" + NO_SCRIPT + b":1\r\n:1\r\n" + OK
    said = block(talk, ("SCRIPT", "LOAD", "return 1"), ("EVALSHA", sha, 0), ("SCRIPT", "FLUSH"), ("EVALSHA", sha, 0))
    assert said == b"*4\r\n$40\r\n" + sha.encode() + b"\r\n:1\r\n" + OK + NO_SCRIPT


def test_scripts_of_several_slots_are_split_like_commands_and_one_over_several_is_refused(talk: Talk) -> None:
    scripts = [("EVAL", ADD, 1, "b", 5), ("EVAL", ADD, 1, "a", 1), ("EVAL", ADD, 2, "a", "b", 1)]
    said = block(talk, ("SET", "a", 1), *scripts)
    assert said == b"*4\r\n+OK\r\n:5\r\n:2\r\n" + CROSS_SLOT
    assert [[item.key for item in each.items] for each in sent(talk)] == [[b"a", b"a"], [b"b"]]
    for bad in ((ADD, "one", "a"), (ADD, 2, "a"), (ADD, -1)):
        assert block(talk, ("EVAL", *bad)).startswith(b"*1\r\n-ERR "), bad


def test_a_script_without_keys_goes_where_the_block_goes_and_wait_finds_what_it_wrote(talk: Talk) -> None:
    write = "return redis.call('SET', '{b}x', ARGV[1])"
    assert block(talk, ("EVAL", write, 0, 1), ("SET", "b", 1), ("SET", "a", 1)) == b"*3\r\n" + OK * 3
    assert [[item.key for item in each.items][1:] for each in sent(talk)] == [[b"b"], []]
    talk.client.unproved.clear()
    assert block(talk, ("EVAL", write, 0, 2), ("GET", "b")) == b"*2\r\n+OK\r\n$1\r\n1\r\n"
    assert [key for key, _ in talk.client.unproved.values()] == [b"b"]
    say(talk, "WATCH b")
    assert block(talk, ("EVAL", write, 0, 3)) == b"*1\r\n+OK\r\n" and sent(talk)[-1].key == b"b"
    assert block(talk, ("EVAL", write, 0, 4)) == b"*1\r\n+OK\r\n" and talk.say("GET", "{b}x") == b"$1\r\n4\r\n"


def test_watch_holds_for_scripts(talk: Talk) -> None:
    other = Talk(talk.backend, talk.front)
    say(talk, "SET w 1", "WATCH w", "MULTI")
    assert talk.say("EVAL", ADD, 1, "{w}a", 1) == QUEUED
    say(other, "SET w 2")
    assert say(talk, "EXEC", "GET {w}a") == [NOTHING, b"$-1\r\n"]
    say(talk, "WATCH w")
    assert block(talk, ("EVAL", ADD, 1, "{w}a", 1)) == b"*1\r\n:1\r\n"
    say(talk, "WATCH w")
    assert block(talk, ("EVAL", ADD, 1, "elsewhere", 1)) == CROSS_SLOT


def test_resp3_has_its_own_nothing_within_a_block(talk: Talk) -> None:
    say(talk, "HELLO 3")
    assert block(talk, ("EVAL", "return {false, 1}", 0)) == b"*1\r\n*2\r\n_\r\n:1\r\n"


def test_the_scripts_of_a_block_are_bounded_together_and_commands_go_on(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "TRANSACTION_INSTRUCTIONS_LIMIT", 25_000)
    loop = "redis.call('INCR', KEYS[1]) for i = 1, 20000 do end"
    said = block(talk, *[("EVAL", loop, 1, "k")] * 3, ("GET", "k")).split(b"\r\n")
    assert said[1] == b"$-1" and b"stopped, for it executed too many instructions" in said[2]
    assert said[3].endswith(b"it was not executed") and said[4:6] == [b"$1", b"2"]
    assert isinstance(talk.backend, ShardBackend)
    assert talk.backend.scripts.outcomes == {"done": 1, "instructions": 1, "not_begun": 1}
    assert block(talk, ("EVAL", loop, 1, "k")) == b"*1\r\n$-1\r\n"
    monkeypatch.setattr(sandbox, "RESULTS_LIMIT_BYTES", 1000)
    said = block(talk, *[("EVAL", "return ('x'):rep(600)", 0)] * 2, ("GET", "k")).split(b"\r\n")
    assert said[3].startswith(b"-ERR the results of the transaction's scripts") and said[4:6] == [b"$1", b"3"]


def test_what_is_too_much_to_be_sent_is_not(talk: Talk) -> None:
    """EVALSHA has few bytes in the block, and the script that it names is many."""
    sha = talk.say("SCRIPT", "LOAD", "return 1 --" + " " * (120 << 10)).split()[1].decode()
    before = len(talk.backend.commands)
    assert block(talk, *[("EVALSHA", sha, 0)] * 35).startswith(b"-ERR transaction: 4301185 bytes are over the limit")
    assert len(talk.backend.commands) == before


def test_without_lua_only_the_scripts_of_a_block_are_refused(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "lua51", None)
    said = block(talk, ("SET", "k", 1), ("EVAL", ADD, 1, "k", 1), ("GET", "k"))
    assert said.startswith(b"*3\r\n+OK\r\n-ERR script: this node has no Lua") and said.endswith(b"$1\r\n1\r\n")


def test_a_block_with_scripts_in_one_write(talk: Talk) -> None:
    words = (("MULTI",), ("EVAL", ADD, 1, "k", 3), ("GET", "k"), ("EXEC",))
    whole = b"".join([packed(*each) for each in words])
    assert talk.raw(whole) == OK + QUEUED * 2 + b"*2\r\n:3\r\n$1\r\n3\r\n"


def test_a_block_of_scripts_that_was_not_executed_is_one_error(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk.backend, "_reply", lambda _command: failure_of(NoLeader("nobody leads")))
    assert block(talk, ("EVAL", ADD, 1, "k", 3)).startswith(b"-LOADING")
    said = block(talk, ("EVAL", ADD, 1, "a", 3), ("EVAL", ADD, 1, "b", 3))
    assert said.startswith(b"*2\r\n-LOADING") and said.count(b"-LOADING") == 2
