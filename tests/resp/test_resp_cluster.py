"""The cluster port: where commands belong, and what clients are told of the cluster."""

from __future__ import annotations

import hiredis
import pytest
from http_backend import FakeBackend
from talk import Talk

from raftcache.errors import NoLeader
from raftcache.frontends.resp.state import Front, Standing
from raftcache.frontends.resp.topology import Served, identity_of
from raftcache.routing.slots import slot_of


class Halves:
    """n0 leads the lower half of the slots, n1 the upper one; n2 leads nothing."""

    node_id = "n0"

    def __init__(self) -> None:
        self.led = [Served(0, 8191, "n0"), Served(8192, 16383, "n1")]
        self.addresses = {"n0": "127.0.0.1:7004", "n1": "127.0.0.1:7014", "n2": "[::1]:7024"}

    def leader_of(self, slot: int) -> str:
        return next(node for first, last, node, _ in self.led if first <= slot <= last)

    def address_of(self, node: str) -> str:
        return self.addresses.get(node, "")

    def nodes(self) -> list[str]:
        return sorted(self.addresses)

    def ranges(self) -> list[Served]:
        return self.led

    def own_slots(self) -> list[int]:
        return [first for first, _, node, is_led in self.led if node == self.node_id and is_led]


LOW, HIGH = "b", "a"
"""Keys of slots 3300 and 15495."""


@pytest.fixture
def halves() -> Halves:
    return Halves()


@pytest.fixture
def talk(halves: Halves) -> Talk:
    backend = FakeBackend()
    return Talk(backend, Front(backend, Standing("n0"), topology=halves))


def ask(talk: Talk, *words: str | int) -> object:
    reader = hiredis.Reader()
    reader.feed(talk.say(*words))
    return reader.gets()


def moved(key: str) -> bytes:
    return b"-MOVED %d 127.0.0.1:7014\r\n" % slot_of(key.encode())


def test_a_command_is_executed_here_or_the_client_is_sent_to_the_leader(talk: Talk) -> None:
    assert slot_of(LOW.encode()) < 8192 <= slot_of(HIGH.encode())
    assert (talk.say("SET", LOW, 1), talk.say("GET", LOW)) == (b"+OK\r\n", b"$1\r\n1\r\n")
    for words in (("GET", HIGH), ("SET", HIGH, 1), ("DEL", HIGH), ("MSET", HIGH, 1), ("OBJECT", "ENCODING", HIGH)):
        assert talk.say(*words) == moved(HIGH), words
    assert talk.say("PING") == b"+PONG\r\n"


def test_keys_of_several_slots_are_refused(talk: Talk) -> None:
    for words in (("MGET", LOW, HIGH), ("DEL", HIGH, LOW), ("MSET", LOW, 1, "c", 2), ("WATCH", LOW, "c")):
        assert talk.say(*words) == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n", words
    assert talk.say("MSET", "{b}1", 1, "{b}2", 2) == b"+OK\r\n"


def test_where_nobody_leads_it_is_executed_and_waits(talk: Talk, halves: Halves) -> None:
    halves.led[1] = Served(8192, 16383, "n0", False)
    assert talk.say("SET", HIGH, 1) == b"+OK\r\n"
    talk.backend.failing = NoLeader("nobody leads")
    assert talk.say("GET", HIGH).startswith(b"-CLUSTERDOWN ")


def test_a_leader_without_a_cluster_port_is_asked_from_here(talk: Talk, halves: Halves) -> None:
    """It was created before there were such ports."""
    del halves.addresses["n1"]
    assert talk.say("SET", HIGH, 1) == b"+OK\r\n"


def test_readonly_lets_reads_stay(talk: Talk) -> None:
    assert talk.say("READONLY") == b"+OK\r\n"
    assert (talk.say("GET", HIGH), talk.say("SET", HIGH, 1)) == (b"$-1\r\n", moved(HIGH))
    assert (talk.say("READWRITE"), talk.say("GET", HIGH), talk.say("ASKING")) == (b"+OK\r\n", moved(HIGH), b"+OK\r\n")


def test_a_transaction_is_of_one_slot_and_of_this_node(talk: Talk) -> None:
    assert [talk.say("MULTI"), talk.say("SET", "{b}1", 1), talk.say("EXEC")][2] == b"*1\r\n+OK\r\n"
    assert [talk.say("MULTI"), talk.say("SET", HIGH, 1)][1] == moved(HIGH)
    assert talk.say("EXEC").startswith(b"-EXECABORT")
    said = [talk.say("MULTI"), talk.say("SET", LOW, 1), talk.say("SET", "c", 1), talk.say("EXEC")]
    assert said[3] == b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"


def test_what_it_says_of_itself(talk: Talk) -> None:
    assert b"redis_mode:cluster" in talk.say("INFO") and b"cluster_enabled:1" in talk.say("INFO", "cluster")
    assert b"cluster" in talk.say("HELLO", 2)
    assert ask(talk, "CLUSTER", "MYID") == identity_of("n0").encode() and len(identity_of("n0")) == 40
    assert ask(talk, "CLUSTER", "KEYSLOT", "{b}x") == slot_of(b"b")


def test_slots_shards_and_nodes(talk: Talk, halves: Halves) -> None:
    zero, one = identity_of("n0").encode(), identity_of("n1").encode()
    assert ask(talk, "CLUSTER", "SLOTS") == [
        [0, 8191, [b"127.0.0.1", 7004, zero, []]],
        [8192, 16383, [b"127.0.0.1", 7014, one, []]],
    ]
    lines = ask(talk, "CLUSTER", "NODES")
    assert isinstance(lines, bytes)
    assert lines.decode().splitlines()[:2] == [
        f"{identity_of('n0')} 127.0.0.1:7004@17004 myself,master - 0 0 1 connected 0-8191",
        f"{identity_of('n1')} 127.0.0.1:7014@17014 master - 0 0 1 connected 8192-16383",
    ]
    assert " ::1:7024@17024 master - 0 0 1 connected" in lines.decode()
    shards = ask(talk, "CLUSTER", "SHARDS")
    assert isinstance(shards, list)
    assert [shard[1] for shard in shards] == [[0, 8191], [8192, 16383], []]
    halves.led[1] = Served(8192, 16383, "n0", False)
    here = [b"127.0.0.1", 7004, zero, []]
    assert ask(talk, "CLUSTER", "SLOTS") == [[0, 8191, here], [8192, 16383, here]], "to wait for a leader"


def test_info_says_whether_all_slots_are_served(talk: Talk, halves: Halves) -> None:
    assert b"cluster_state:ok" in talk.say("CLUSTER", "INFO")
    halves.led[1] = Served(8192, 16383, "n0", False)
    told = talk.say("CLUSTER", "INFO")
    assert b"cluster_state:fail" in told and b"cluster_slots_ok:8192" in told and b"cluster_known_nodes:3" in told


def test_a_router_port_has_no_cluster() -> None:
    talk = Talk(FakeBackend())
    disabled = b"-ERR This instance has cluster support disabled\r\n"
    for words in (("CLUSTER", "SLOTS"), ("CLUSTER", "COUNTKEYSINSLOT", 1), ("READONLY",), ("ASKING",)):
        assert talk.say(*words) == disabled, words
    assert ask(talk, "CLUSTER", "KEYSLOT", "a") == slot_of(b"a")


def test_all_keys_are_those_of_the_shards_that_it_leads(talk: Talk, halves: Halves) -> None:
    talk.say("SET", LOW, 1)
    assert ask(talk, "DBSIZE") == 1 and ask(talk, "CLUSTER", "COUNTKEYSINSLOT", slot_of(LOW.encode())) == 1
    assert ask(talk, "CLUSTER", "COUNTKEYSINSLOT", 1) == 0
    assert talk.say("CLUSTER", "COUNTKEYSINSLOT", 16384) == b"-ERR Invalid slot\r\n"
    halves.led[0] = Served(0, 8191, "n1")
    assert (ask(talk, "DBSIZE"), ask(talk, "KEYS", "*"), ask(talk, "SCAN", 0)) == (0, [], [b"0", []])


def test_two_ports_count_together() -> None:
    backend = FakeBackend()
    first = Front(backend)
    second = Front(backend, topology=Halves(), beside=first)
    first.new_client()
    second.new_client()
    (connected,) = [each for each in first.metrics.collect() if each.name == "raftcache_redis_connected_clients"]
    assert connected.samples[0].value == 2 and second.metrics is first.metrics and second.room is first.room
