"""The cluster port: where commands belong, and what clients are told of the cluster."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from http_backend import FakeBackend
from redis._parsers.helpers import parse_cluster_info, parse_cluster_nodes
from redis.cluster import parse_cluster_shards, parse_cluster_slots
from talk import Talk

from raftcache.commands.types import Get, MultiGet, Transaction, Usage
from raftcache.errors import NoLeader
from raftcache.frontends.resp.clustering import Row, masters_first
from raftcache.frontends.resp.state import Front, Standing
from raftcache.frontends.resp.topology import Served, identity_of
from raftcache.routing.slots import slot_of


class Halves:
    """n0 leads the lower half of the slots, n1 the upper one; n2 leads nothing and has replicas of both."""

    node_id, epoch = "n0", 7

    def __init__(self) -> None:
        self.led = [
            Served(((0, 8191),), "n0", replicas=("n1", "n2")),
            Served(((8192, 16000), (16002, 16383)), "n1", replicas=("n0", "n2")),
            Served(((16001, 16001),), "n0", replicas=("n2",)),
        ]
        self.addresses = {"n0": "127.0.0.1:7004", "n1": "127.0.0.1:7014", "n2": "[::1]:7024"}
        self.down: set[str] = set()

    def shard(self, slot: int) -> Served:
        return next(served for served in self.led if served.owns(slot))

    def leader_of(self, slot: int) -> str:
        return self.shard(slot).node

    def follows(self, slot: int) -> bool:
        served = self.shard(slot)
        return self.node_id in served.replicas or (served.node == self.node_id and not served.is_led)

    def address_of(self, node: str) -> str:
        return self.addresses.get(node, "")

    def is_within_reach(self, node: str) -> bool:
        return node not in self.down

    def nodes(self) -> list[str]:
        return sorted(self.addresses)

    def shards(self) -> list[Served]:
        return self.led

    def own_slots(self) -> list[int]:
        return [each.slots[0][0] for each in self.led if each.node == self.node_id and each.is_led]

    def lose_the_leader(self) -> None:
        """Nobody leads the upper half any more."""
        self.led[1] = self.led[1]._replace(node="n0", is_led=False, replicas=("n1", "n2"))
        self.down.add("n1")


LOW, HIGH = "b", "a"
"""Keys of slots 3300 and 15495."""


@pytest.fixture
def halves() -> Halves:
    return Halves()


@pytest.fixture
def talk(halves: Halves) -> Talk:
    backend = FakeBackend()
    return Talk(backend, Front(backend, Standing("n0"), topology=halves))


def ask(talk: Talk, *words: str | int) -> Any:
    reader = hiredis.Reader()
    reader.feed(talk.say(*words))
    return reader.gets()


def asked(talk: Talk) -> Any:
    """The last command that went to the shards."""
    return talk.backend.commands[-1][0]


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


def test_scripts_of_a_block_are_of_its_slot(talk: Talk) -> None:
    said = [talk.say("MULTI"), talk.say("EVAL", "return 1", 2, LOW, "c"), talk.say("EXEC")]
    assert said[1].startswith(b"-CROSSSLOT") and said[2].startswith(b"-EXECABORT")
    said = [talk.say("MULTI"), talk.say("EVAL", "return 1", 1, HIGH), talk.say("EXEC")]
    assert said[1] == moved(HIGH) and said[2].startswith(b"-EXECABORT")
    said = [talk.say("MULTI"), *(talk.say("EVAL", "return 1", 1, key) for key in (LOW, "c")), talk.say("EXEC")]
    assert said[1:] == [b"+QUEUED\r\n", b"+QUEUED\r\n", b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"]


def test_where_nobody_leads_it_is_executed_and_waits(talk: Talk, halves: Halves) -> None:
    halves.lose_the_leader()
    assert talk.say("SET", HIGH, 1) == b"+OK\r\n"
    talk.backend.failing = NoLeader("nobody leads")
    assert talk.say("GET", HIGH).startswith(b"-CLUSTERDOWN ")


def test_a_leader_without_a_cluster_port_is_asked_from_here(talk: Talk, halves: Halves) -> None:
    """It was created before there were such ports."""
    del halves.addresses["n1"]
    assert talk.say("SET", HIGH, 1) == b"+OK\r\n"


def test_an_ipv6_address_is_told_without_brackets(talk: Talk, halves: Halves) -> None:
    """Clients split at the last colon."""
    halves.led[1] = halves.led[1]._replace(node="n2")
    assert talk.say("GET", HIGH) == b"-MOVED %d ::1:7024\r\n" % slot_of(HIGH.encode())


def test_readonly_lets_replicas_answer_reads(talk: Talk) -> None:
    assert talk.say("READONLY") == b"+OK\r\n"
    assert (talk.say("GET", HIGH), asked(talk)) == (b"$-1\r\n", Get(HIGH.encode(), replica=True))
    assert talk.say("MGET", "{a}1", "{a}2").startswith(b"*2\r\n")
    assert asked(talk) == MultiGet((Get(b"{a}1", replica=True), Get(b"{a}2", replica=True)))
    for words in (("STRLEN", HIGH), ("TTL", HIGH), ("EXISTS", HIGH), ("OBJECT", "ENCODING", HIGH)):
        assert not talk.say(*words).startswith(b"-") and asked(talk).replica, words
    for words in (("SET", HIGH, 1), ("EVAL", "return 1", 1, HIGH), ("WATCH", HIGH), ("GETEX", HIGH)):
        assert talk.say(*words) == moved(HIGH), words
    assert talk.say("OBJECT", "FREQ", HIGH) and asked(talk) == Usage(HIGH.encode()), "leaders know, and are asked"
    assert talk.say("GET", LOW) == b"$-1\r\n" and asked(talk) == Get(LOW.encode()), "this node leads it"
    assert [talk.say("MULTI"), talk.say("GET", HIGH), talk.say("EXEC")][1:] == [b"+QUEUED\r\n", b"*1\r\n$-1\r\n"]
    assert asked(talk) == Transaction((Get(HIGH.encode()),)), "leaders execute blocks"
    assert (talk.say("READWRITE"), talk.say("GET", HIGH), talk.say("ASKING")) == (b"+OK\r\n", moved(HIGH), b"+OK\r\n")
    assert [talk.say("READONLY"), talk.say("RESET"), talk.say("GET", HIGH)][2] == moved(HIGH)


def test_a_readonly_read_that_no_replica_may_answer_is_one_for_the_leader(talk: Talk, halves: Halves) -> None:
    """The client is not sent there: it would choose a replica again."""
    safe = "safe:{a}"
    talk.say("READONLY")
    for words in (("GET", safe), ("MGET", HIGH, safe)):
        assert not talk.say(*words).startswith(b"-"), words
    assert asked(talk) == MultiGet((Get(HIGH.encode()), Get(safe.encode()))), "a quorum namespace, or one key of two"
    halves.lose_the_leader()
    talk.say("GET", HIGH)
    assert asked(talk).replica, "nobody leads, and the replica knows"
    talk.say("GET", safe)
    assert not asked(talk).replica, "that waits for a leader"


def test_a_readonly_read_is_sent_on_where_there_is_no_replica(talk: Talk, halves: Halves) -> None:
    halves.led[1] = halves.led[1]._replace(replicas=("n2",))
    talk.say("READONLY")
    assert talk.say("GET", HIGH) == moved(HIGH)


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


def test_slots_are_told_with_replicas_within_reach_and_masters_first(talk: Talk, halves: Halves) -> None:
    zero, one, two = (
        [host, port, identity_of(node).encode(), []]
        for node, host, port in (("n0", b"127.0.0.1", 7004), ("n1", b"127.0.0.1", 7014), ("n2", b"::1", 7024))
    )
    assert ask(talk, "CLUSTER", "SLOTS") == [
        [0, 0, zero],
        [8192, 8192, one],
        [1, 8191, zero, one, two],
        [8193, 16000, one, zero, two],
        [16002, 16383, one, zero, two],
        [16001, 16001, zero, two],
    ]
    halves.lose_the_leader()
    assert ask(talk, "CLUSTER", "SLOTS") == [
        [0, 0, zero],
        [1, 8191, zero, two],
        [8192, 16000, zero, two],
        [16002, 16383, zero, two],
        [16001, 16001, zero, two],
    ], "who asks here waits for a leader"


def test_every_slot_is_told_once_with_masters_first() -> None:
    rows = [Row(0, 0, "a", ("b",)), Row(1, 5, "b", ("a",)), Row(6, 9, "a", ("b",))]
    told = masters_first(rows)
    assert told == [Row(0, 0, "a"), Row(1, 1, "b"), Row(2, 5, "b", ("a",)), Row(6, 9, "a", ("b",))]
    assert sorted(slot for row in told for slot in range(row.first, row.last + 1)) == list(range(10))


def test_a_master_without_a_cluster_port_is_asked_through_this_node(talk: Talk, halves: Halves) -> None:
    """Clients want all slots covered."""
    del halves.addresses["n1"]
    covered = parse_cluster_slots(ask(talk, "CLUSTER", "SLOTS"))
    assert {row["primary"] for row in covered.values()} == {("127.0.0.1", 7004)}
    assert sum(last - first + 1 for first, last in covered) == 16384
    assert all(("127.0.0.1", 7004) not in row["replicas"] for row in covered.values())


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_reads_slots_shards_nodes_and_info(talk: Talk, halves: Halves, protocol: int) -> None:
    talk.say("HELLO", protocol)
    slots = parse_cluster_slots(ask(talk, "CLUSTER", "SLOTS"))
    assert slots[8193, 16000] == {
        "primary": ("127.0.0.1", 7014), "replicas": [("127.0.0.1", 7004), ("::1", 7024)],
    }  # fmt: skip
    nodes = parse_cluster_nodes(ask(talk, "CLUSTER", "NODES"))
    assert [(node, told["flags"], told["slots"]) for node, told in nodes.items()] == [
        ("127.0.0.1:7004", "myself,master", [["0", "8191"], ["16001"]]),
        ("127.0.0.1:7014", "master", [["8192", "16000"], ["16002", "16383"]]),
        ("::1:7024", "slave", []),
    ]
    assert nodes["127.0.0.1:7014"]["node_id"] == identity_of("n1") and nodes["::1:7024"]["connected"]
    assert nodes["::1:7024"]["master_id"] == identity_of("n0") and nodes["::1:7024"]["epoch"] == "7"
    assert parse_cluster_info(ask(talk, "CLUSTER", "INFO"))["cluster_current_epoch"] == "7"
    shards = [_plain(each) for each in parse_cluster_shards(ask(talk, "CLUSTER", "SHARDS"))]
    assert [_flat(shard["slots"]) for shard in shards] == [[0, 8191], [8192, 16000, 16002, 16383], [16001, 16001]]
    assert [(node["port"], node["role"]) for node in shards[1]["nodes"]] == [
        (7014, b"master"), (7004, b"replica"), (7024, b"replica"),
    ]  # fmt: skip


def test_who_is_out_of_reach_is_told_as_failed(talk: Talk, halves: Halves) -> None:
    halves.lose_the_leader()
    lines = parse_cluster_nodes(ask(talk, "CLUSTER", "NODES"))
    assert lines["127.0.0.1:7004"]["slots"] == [["0", "16383"]]
    assert (lines["127.0.0.1:7014"]["flags"], lines["127.0.0.1:7014"]["connected"]) == ("slave,fail", False)
    shards = [_plain(each) for each in parse_cluster_shards(ask(talk, "CLUSTER", "SHARDS"))]
    health = [(node["port"], node["health"]) for node in shards[1]["nodes"]]
    assert health == [(7004, b"online"), (7014, b"failed"), (7024, b"online")]


def test_a_node_without_any_shard_is_told_as_an_empty_master(talk: Talk, halves: Halves) -> None:
    halves.addresses["n3"] = "127.0.0.1:7034"
    shards = [_plain(each) for each in parse_cluster_shards(ask(talk, "CLUSTER", "SHARDS"))]
    assert [(shard["slots"], len(shard["nodes"])) for shard in shards[3:]] == [([], 1)]
    told = parse_cluster_nodes(ask(talk, "CLUSTER", "NODES"))["127.0.0.1:7034"]
    assert (told["flags"], told["master_id"], told["slots"]) == ("master", "-", [])


def _plain(shard: Any) -> dict[str, Any]:
    """With the names that redis-py's client makes of them, whichever protocol is spoken."""
    named = {name if isinstance(name, str) else name.decode(): value for name, value in shard.items()}
    return named | {"nodes": [{name.decode(): value for name, value in node.items()} for node in named["nodes"]]}


def _flat(slots: list[Any]) -> list[int]:
    return [bound for each in slots for bound in (each if isinstance(each, tuple) else (each,))]


def test_info_says_whether_all_slots_are_served(talk: Talk, halves: Halves) -> None:
    assert b"cluster_state:ok" in talk.say("CLUSTER", "INFO")
    halves.lose_the_leader()
    told = talk.say("CLUSTER", "INFO")
    assert b"cluster_state:fail" in told and b"cluster_slots_ok:8193" in told and b"cluster_known_nodes:3" in told


def test_a_router_port_has_no_cluster() -> None:
    talk = Talk(FakeBackend())
    disabled = b"-ERR This instance has cluster support disabled\r\n"
    for words in (("CLUSTER", "SLOTS"), ("CLUSTER", "COUNTKEYSINSLOT", 1), ("READONLY",), ("ASKING",)):
        assert talk.say(*words) == disabled, words
    assert ask(talk, "CLUSTER", "KEYSLOT", "a") == slot_of(b"a")


def test_all_keys_are_those_of_the_shards_that_it_leads(talk: Talk, halves: Halves) -> None:
    talk.say("SET", LOW, 1)
    halves.led.pop()
    assert b"db0:keys=1,expires=0," in talk.say("INFO", "keyspace")
    assert ask(talk, "DBSIZE") == 1 and ask(talk, "CLUSTER", "COUNTKEYSINSLOT", slot_of(LOW.encode())) == 1
    assert ask(talk, "CLUSTER", "COUNTKEYSINSLOT", 1) == 0
    assert talk.say("CLUSTER", "COUNTKEYSINSLOT", 16384) == b"-ERR Invalid slot\r\n"
    halves.led = [served._replace(node="n1") for served in halves.led]
    assert (ask(talk, "DBSIZE"), ask(talk, "KEYS", "*"), ask(talk, "SCAN", 0)) == (0, [], [b"0", []])


def test_what_several_shards_do_not_count_is_one_error(talk: Talk, halves: Halves) -> None:
    talk.backend.failing = NoLeader("nobody leads")
    assert talk.say("DBSIZE").startswith(b"-CLUSTERDOWN") and talk.front.metrics.errors == {"CLUSTERDOWN": 1}
    assert len(talk.backend.commands) == 2, "each shard was asked"


def test_keys_of_a_slot_are_looked_for_in_its_shard_alone(talk: Talk, halves: Halves) -> None:
    for number in range(5):
        talk.say("SET", f"{{b}}{number}", 1)
    talk.say("SET", "c", 1)
    slot = slot_of(b"b")
    talk.backend.commands.clear()
    assert ask(talk, "CLUSTER", "COUNTKEYSINSLOT", slot) == 5
    assert [command.slot for command, _ in talk.backend.commands] == [0], "not the other shard that it leads"  # type: ignore[union-attr]
    assert ask(talk, "CLUSTER", "GETKEYSINSLOT", slot, 3) == [b"{b}0", b"{b}1", b"{b}2"]
    assert ask(talk, "CLUSTER", "GETKEYSINSLOT", slot, 0) == []
    assert talk.say("CLUSTER", "GETKEYSINSLOT", slot, -1) == b"-ERR Invalid number of keys\r\n"
    assert ask(talk, "CLUSTER", "COUNTKEYSINSLOT", slot_of(HIGH.encode())) == 0, "another node leads it"
    talk.backend.failing = NoLeader("nobody leads")
    assert talk.say("CLUSTER", "COUNTKEYSINSLOT", slot).startswith(b"-CLUSTERDOWN ")


def test_help_and_failure_reports(talk: Talk) -> None:
    told = ask(talk, "CLUSTER", "HELP")
    assert told[0].startswith(b"CLUSTER <subcommand>") and b"COUNTKEYSINSLOT" in told and b"HELP" in told
    assert ask(talk, "CLIENT", "HELP")[1] == b"SETNAME"
    assert ask(talk, "CLUSTER", "COUNT-FAILURE-REPORTS", identity_of("n2")) == 0
    assert talk.say("CLUSTER", "COUNT-FAILURE-REPORTS", "f" * 40) == b"-ERR Unknown node %b\r\n" % (b"f" * 40)


def test_two_ports_count_together() -> None:
    backend = FakeBackend()
    first = Front(backend)
    second = Front(backend, topology=Halves(), beside=first)
    first.new_client()
    second.new_client()
    (connected,) = [each for each in first.metrics.collect() if each.name == "raftcache_redis_connected_clients"]
    assert connected.samples[0].value == 2 and second.metrics is first.metrics and second.room is first.room
