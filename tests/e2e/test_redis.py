"""Redis clients, unmodified and by URL, against a real cluster of three nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import LoadBalancingStrategy
from redis.exceptions import LockError, LockNotOwnedError, NoScriptError
from redis.retry import Retry

from e2e.support import addresses, put, samples, shards, steady
from jepsen_like.cluster import RealCluster, wait_until
from raftcache.cli.api import Api

KEYS = 50
ADD = "local n = tonumber(redis.call('GET', KEYS[1]) or 0) redis.call('SET', KEYS[1], n + ARGV[1]) return n + ARGV[1]"
THREADS, ROUNDS = 6, 25


@pytest.fixture(params=(2, 3), ids=("resp2", "resp3"))
def clients(whole: RealCluster, request: pytest.FixtureRequest) -> Iterator[list[redis.Redis]]:
    """A client at each node: whoever leads a key's shard, two of them are forwarded to it."""
    urls = [f"redis://{address}/0?protocol={request.param}" for address in addresses(whole, "redis_router").values()]
    connected = [redis.Redis.from_url(url) for url in urls]
    for client in connected:
        client.delete(*client_keys())
    yield connected
    for client in connected:
        client.close()


def client_keys() -> list[str]:
    """Keys on all shards."""
    return [f"key-{number}" for number in range(KEYS)]


@steady
def test_what_one_node_wrote_the_others_read(clients: list[redis.Redis]) -> None:
    one, two, three = clients
    keys = client_keys()
    assert one.mset({key: key * 2 for key in keys}) is True
    assert two.mget(keys) == [(key * 2).encode() for key in keys]
    assert three.exists(*keys) == KEYS
    assert (one.set("key-0", b"\x00\xff", ex=100), two.get("key-0")) == (True, b"\x00\xff")
    assert 99 <= three.ttl("key-0") <= 100
    assert one.set("key-0", "other", nx=True) is None
    assert (two.incr("key-1-counter", 5), three.decr("key-1-counter"), one.delete("key-1-counter")) == (5, 4, 1)
    assert (one.strlen("key-1"), two.getrange("key-1", 0, 2), three.type("key-1")) == (10, b"key", b"string")
    assert (one.expire("key-1", 50), two.persist("key-1"), three.ttl("key-1"), one.ttl("none")) == (True, True, -1, -2)
    assert (one.delete(*keys), two.get("key-1")) == (KEYS, None)


@steady
def test_a_pipeline_keeps_its_order(clients: list[redis.Redis]) -> None:
    for client in clients:
        pipeline = client.pipeline(transaction=False)
        for number in range(200):
            pipeline.set(f"key-{number % KEYS}", number).get(f"key-{number % KEYS}")
        answers = pipeline.execute()
        assert answers[0::2] == [True] * 200
        assert answers[1::2] == [b"%d" % number for number in range(200)]


@steady
def test_what_clients_and_tools_ask_of_a_server(clients: list[redis.Redis]) -> None:
    client = clients[0]
    assert client.ping() is True
    info = client.info()
    assert (info["redis_version"], info["redis_mode"], info["role"]) == ("7.4.0", "standalone", "master")
    assert "raftcache_version" in info and info["connected_clients"] >= 1
    assert client.command_count() == len(client.command())
    assert client.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-lru"
    assert client.client_setname("me") and client.client_getname() in (b"me", "me")
    assert any(each["name"] == "me" for each in client.client_list())
    assert client.set("key-0", 1) and client.wait(1, 1000) == 1
    with pytest.raises(redis.ResponseError, match="unknown command 'LPUSH'"):
        client.lpush("key-0", "a")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incrby("key-0", 1 << 70)


@steady
def test_the_namespace_policy_holds_and_every_interface_reads_the_same(
    whole: RealCluster, clients: list[redis.Redis]
) -> None:
    client, http = clients[1], addresses(whole, "http")
    told = client.execute_command("RC.SET", "safe:key-2", "5", "ACK", "quorum", "EX", 60)
    told = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
    assert (bool(told[b"written"]), told[b"durability"]) == (True, b"quorum")
    assert client.execute_command("RC.VERSION", "safe:key-2") == told[b"version"]
    receipt = client.execute_command("RC.RECEIPT", "safe:key-2", told[b"version"])
    assert b"committed" in (receipt.values() if isinstance(receipt, dict) else receipt)
    asked = {"namespace": "safe", "key": "key-2"}
    assert Api(f"http://{http['n0']}").send("POST", "/v1/cache/incr", asked)["value"] == 6
    assert client.get("safe:key-2") == b"6"
    assert put(http["n2"], "key-3", {"value": [1, 2]}).status == 201
    assert client.get("safe:key-3") == b"[1,2]"
    with pytest.raises(redis.ResponseError, match="durability: primary is less than the policy"):
        client.execute_command("RC.SET", "safe:key-2", "5", "ACK", "primary")


@steady
def test_metrics_count_commands(whole: RealCluster, clients: list[redis.Redis]) -> None:
    http = addresses(whole, "http")["n0"]
    before = samples(http).get("raftcache_redis_commands_total", {}).get(("get",), 0.0)
    for _ in range(3):
        clients[0].get("key-0")
    seen = samples(http)
    assert seen["raftcache_redis_commands_total"][("get",)] == before + 3
    assert seen["raftcache_redis_connected_clients"][()] >= 1


def test_the_death_of_leaders_is_hidden_from_clients(cluster: RealCluster) -> None:
    """At a surviving node commands are held until there are leaders again, and what was on its way to the dead node is
    sent again. A client of the cluster ports, which asks the leaders themselves, repeats by itself what it lost the
    connection over."""
    http, ports = addresses(cluster, "http"), addresses(cluster, "redis_router")
    victim = next(iter(shards(http["n0"]).values()))["leader"]
    survivor = redis.Redis.from_url(f"redis://{next(ports[node] for node in ports if node != victim)}")
    cluster_ports = addresses(cluster, "redis_cluster")
    clustered = redis.RedisCluster.from_url(f"redis://{next(cluster_ports[node] for node in ports if node != victim)}")
    keys = client_keys()
    survivor.mset(dict.fromkeys(keys, 1))
    assert survivor.wait(1, 5000) == 1
    cluster.fault("kill", victim)
    for key in keys * 4:
        assert survivor.get(key) in (b"1", b"2") and clustered.get(key) in (b"1", b"2")
        assert clustered.set(key, 2) and survivor.set(key, 2)
    survivor.close()
    clustered.close()


class Load:
    """A client that never tries again by itself, and writes and counts until it is told to stop, in its own keys.

    `safe` loses nothing that was acknowledged, so its counters must say how often they were answered."""

    def __init__(self, number: int, address: str) -> None:
        self.client = redis.Redis.from_url(f"redis://{address}", retry=Retry(NoBackoff(), 0))
        self.keys = [f"load-{number}-{shard}" for shard in range(4)]
        self.counted = dict.fromkeys(self.keys, 0)
        self.errors: list[Exception] = []
        self.rounds = 0
        self.stopped = False

    def run(self) -> None:
        """Until `stopped`."""
        while not self.stopped:
            for key in self.keys:
                try:
                    self._round(key)
                except Exception as error:
                    self.errors.append(error)

    def _round(self, key: str) -> None:
        self.rounds += 1
        value = f"{self.rounds}"
        assert self.client.set(key, value) and self.client.exists(key) in (0, 1)
        steps = (self._incr, self._transaction, self._script)
        steps[self.rounds % 3](f"safe:{key}", key)
        assert self.client.set(f"safe:{key}-v", value, ex=100) and self.client.get(f"safe:{key}-v") == value.encode()
        old = self.client.set(f"safe:{key}-v", "x", get=True)
        assert old == value.encode()
        assert self.client.append(f"safe:{key}-v", "yz") == 3 and self.client.delete(f"safe:{key}-v") == 1
        assert self.client.mset({f"safe:{each}-m": value for each in self.keys})

    def _incr(self, counter: str, key: str) -> None:
        value = self.client.incr(counter)
        self._count(key, value)

    def _transaction(self, counter: str, key: str) -> None:
        pipeline = self.client.pipeline()
        self._count(key, pipeline.incr(counter).expire(counter, 1000).execute()[0])

    def _script(self, counter: str, key: str) -> None:
        self._count(key, self.client.eval(ADD, 1, counter, 1))

    def _count(self, key: str, value: int) -> None:
        self.counted[key] += 1
        assert value == self.counted[key], f"{key}: increment {self.counted[key]} was answered with {value}"


def _under_way(http: dict[str, str], ports: dict[str, str]) -> tuple[str, list[Load], list[threading.Thread]]:
    """Clients at two nodes, and the third node, which leads a shard that they write to. On a busy machine leaders may
    change as soon as there is load, and then it is another third node, with other keys."""
    for attempt in range(5):
        victim = next(iter(shards(next(iter(http.values()))).values()))["leader"]
        nodes = [node for node in ports if node != victim] * 3
        loads = [Load(10 * attempt + number, ports[node]) for number, node in enumerate(nodes)]
        threads = [threading.Thread(target=load.run, daemon=True) for load in loads]
        for thread in threads:
            thread.start()
        wait_until(lambda loads=loads: all(load.rounds > 20 for load in loads), "the load is under way")
        if victim in [each["leader"] for each in shards(next(iter(http.values()))).values()]:
            return victim, loads, threads
        _stopped(loads, threads)
    raise AssertionError("leaders change without end")


def _stopped(loads: list[Load], threads: list[threading.Thread]) -> None:
    for load in loads:
        load.stopped = True
    for thread in threads:
        thread.join(30)
    assert [error for load in loads for error in load.errors] == []


def test_the_kill_of_a_leader_under_load_shows_no_error_and_counts_each_increment_once(cluster: RealCluster) -> None:
    http, ports = addresses(cluster, "http"), addresses(cluster, "redis_router")
    victim, loads, threads = _under_way(http, ports)
    cluster.fault("kill", victim)
    before = [load.rounds for load in loads]
    wait_until(lambda: all(load.rounds > had + 20 for load, had in zip(loads, before, strict=True)), "it goes on")
    _stopped(loads, threads)
    retried = [samples(http[node])["raftcache_request_retries_total"] for node in ports if node != victim]
    assert sum(sum(each.values()) for each in retried) > 0, "nobody noticed anything, nor its node for it"
    for load in loads:
        for key, count in load.counted.items():
            assert load.client.get(f"safe:{key}") == b"%d" % count
        load.client.close()


@steady
def test_the_newer_options_of_strings(clients: list[redis.Redis]) -> None:
    one, two, three = clients
    assert one.set("key-0", "a", xx=True) is None
    assert (one.set("key-0", "a", px=50_000), two.set("key-0", "b", get=True, keepttl=True)) == (True, b"a")
    assert 0 < three.pttl("key-0") <= 50_000
    assert (three.getex("key-0", persist=True), one.ttl("key-0"), two.append("key-0", "cd")) == (b"b", -1, 3)
    assert (one.expire("key-0", 50, gt=True), two.expire("key-0", 50, lt=True)) == (False, True)
    assert (three.getset("key-0", "e"), one.getdel("key-0"), two.getdel("key-0")) == (b"bcd", b"e", None)


@steady
def test_transactions_and_optimistic_locking_from_every_node(clients: list[redis.Redis]) -> None:
    """Each of three clients adds one to a counter as redis-py's documentation does it, in turns that collide."""
    for client in clients:
        assert client.pipeline().set("key-0", 1).incr("key-0").get("key-0").execute() == [True, 2, b"2"]
        across = client.pipeline()
        for key in client_keys():
            across.set(key, 0)
        assert across.execute() == [True] * KEYS, "over many slots, as Django's set_many sends it"
    pipelines = [client.pipeline() for client in clients]
    for pipeline in pipelines:
        pipeline.watch("key-0")
    for pipeline, value in [(pipeline, int(pipeline.get("key-0") or 0)) for pipeline in pipelines]:
        pipeline.multi()
        pipeline.set("key-0", value + 1)
    outcomes = []
    for pipeline in pipelines:
        try:
            outcomes.append(pipeline.execute() == [True])
        except redis.WatchError:
            outcomes.append(False)
    assert outcomes == [True, False, False] and clients[2].get("key-0") == b"1"
    assert (clients[0].msetnx({"{t}a": 1, "{t}b": 2}), clients[1].msetnx({"{t}b": 3, "{t}c": 4})) == (True, False)
    assert clients[2].delete("{t}a", "{t}b") == 2


@steady
def test_keys_of_all_shards_are_told_of_by_every_node_and_flushed(clients: list[redis.Redis]) -> None:
    one, two, three = clients
    one.flushdb()
    keys = {f"key-{number}".encode() for number in range(KEYS)}
    assert (one.dbsize(), one.randomkey(), two.mset(dict.fromkeys(keys, "v"))) == (0, None, True)
    for client in clients:
        found = list(client.scan_iter(count=7))
        assert len(found) == KEYS and set(found) == keys == set(client.keys("key-*"))
        assert set(client.scan_iter(match="key-1?")) == {b"key-%d" % number for number in range(10, 20)}
        assert client.dbsize() == KEYS and client.randomkey() in keys
        assert client.info("keyspace")["db0"] == {"keys": KEYS, "expires": 0, "avg_ttl": 0}
    assert (three.memory_usage("key-1"), one.object("encoding", "key-1")) == (len("key-1v") + 170, b"embstr")
    for client in clients:
        assert client.object("freq", "none") is None
        with pytest.raises(redis.ResponseError, match="idle time not tracked yet"):
            client.object("idletime", "key-1")
    assert three.flushall() is True
    assert (one.dbsize(), two.keys(), one.get("key-1")) == (0, [], None)


@steady
def test_redis_clusters_clients_go_to_the_leaders(whole: RealCluster) -> None:
    one, two, _ = (f"redis://{address}" for address in addresses(whole, "redis_cluster").values())
    with redis.RedisCluster.from_url(one) as client, redis.RedisCluster.from_url(two) as other:
        client.flushall()
        keys = client_keys()
        assert all(client.set(key, key * 2) for key in keys)
        assert [other.get(key) for key in keys] == [(key * 2).encode() for key in keys]
        assert other.mget_nonatomic(keys) == [(key * 2).encode() for key in keys]
        assert client.mset({"{t}a": 1, "{t}b": 2}) is True and other.incr("{t}a") == 2
        assert client.pipeline().set("x", 1).get("x").set("y", 2).execute() == [True, b"1", True]
        assert sorted(other.scan_iter(match="key-*")) == sorted(key.encode() for key in keys)
        assert other.dbsize(target_nodes="primaries") == len(keys) + 4
        leaders = {shard["leader"] for shard in shards(addresses(whole, "http")["n0"]).values()}
        ports = {addresses(whole, "redis_cluster")[node] for node in leaders}
        assert {node.name for node in client.get_primaries()} == ports and len(ports) > 1, "one node leads it all"
        assert client.keyslot("{t}a") == client.cluster_keyslot("{t}b")
        client.flushall()


@steady
def test_readonly_connections_read_from_replicas_where_the_policy_allows(whole: RealCluster) -> None:
    """What a client of a Redis Cluster sends to a follower is answered there; a quorum namespace has no such reads, and
    the follower asks the leader."""
    ports = addresses(whole, "redis_cluster")
    anywhere = LoadBalancingStrategy.RANDOM_REPLICA
    with (
        redis.RedisCluster.from_url(f"redis://{ports['n0']}") as writer,
        redis.RedisCluster.from_url(f"redis://{ports['n1']}", load_balancing_strategy=anywhere) as reader,
    ):
        keys = client_keys()
        assert all(writer.set(key, key) for key in keys) and writer.set("safe:key", "s")
        wait_until(lambda: all(reader.get(key) for key in keys), "replicas to hear of it")
        before = redirections(whole)
        assert [reader.get(key) for key in keys] == [key.encode() for key in keys]
        for number in range(10):
            assert writer.set("safe:key", number) and reader.get("safe:key") == b"%d" % number
        assert redirections(whole) == before
        writer.flushall()


def redirections(cluster: RealCluster) -> float:
    """How often clients were sent to a leader, at all nodes."""
    told = [samples(http).get("raftcache_redis_errors_total", {}) for http in addresses(cluster, "http").values()]
    return sum(each.get(("MOVED",), 0.0) for each in told)


@steady
def test_a_lock_of_redis_py_holds_over_all_nodes(clients: list[redis.Redis]) -> None:
    mine, yours = (client.lock("door", timeout=10, blocking=False, sleep=0.01) for client in clients[:2])
    assert (mine.acquire(), yours.acquire()) == (True, False)
    assert mine.extend(20, replace_ttl=True) and 10_000 < clients[2].pttl("door") <= 20_000
    assert mine.reacquire() and clients[2].pttl("door") <= 10_000
    yours.local.token = b"forged"
    with pytest.raises(LockNotOwnedError):
        yours.release()
    mine.release()
    with pytest.raises(LockError):
        mine.release()
    with clients[2].lock("safe:door", timeout=5, blocking_timeout=2):
        assert clients[0].get("safe:door")
    assert clients[0].get("safe:door") is None


@steady
def test_a_registered_script_runs_at_every_node_and_none_loses_an_addition(clients: list[redis.Redis]) -> None:
    """A script reads and writes with nothing between: of many at once, over all nodes, every addition counts. Only one
    node was ever told of it by SCRIPT LOAD; at the others redis-py sends it anew."""
    clients[0].delete("total", "safe:total")
    for client in clients:
        client.script_flush()
    sha = clients[0].script_load(ADD)
    assert [client.script_exists(sha) for client in clients] == [[True], [False], [False]]
    with pytest.raises(NoScriptError):
        clients[1].evalsha(sha, 1, "total", 1)
    script = clients[0].register_script(ADD)
    threads = [
        threading.Thread(target=lambda n=n: [script(["total"], [1], client=clients[n % 3]) for _ in range(ROUNDS)])  # type: ignore[misc]
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clients[1].get("total") == b"%d" % (THREADS * ROUNDS)
    assert [script(["safe:total"], [2], client=client) for client in clients] == [2, 4, 6]


@steady
def test_registered_scripts_in_transactions_count_every_addition(clients: list[redis.Redis]) -> None:
    """`pipeline()` sends MULTI, EVALSHA and EXEC, and is atomic: of many at once, at all nodes, every addition counts,
    and the commands beside a script see what it wrote and nothing of another block."""
    clients[0].delete("{sum}n", "{sum}twin", "safe:{sum}")
    script, wrong = clients[0].register_script(ADD), []

    def add(client: redis.Redis) -> None:
        for _ in range(ROUNDS):
            block = client.pipeline(transaction=True)
            script(["{sum}n"], [1], client=block)
            block.incr("{sum}twin")
            script(["{sum}n"], [1], client=block)
            first, twin, second = block.execute()
            if not (second == first + 1 == 2 * twin):
                wrong.append((first, twin, second))

    threads = [threading.Thread(target=add, args=(clients[n % 3],)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and clients[1].mget("{sum}n", "{sum}twin") == [b"%d" % (n * THREADS * ROUNDS) for n in (2, 1)]
    for number, client in enumerate(clients, 1):
        block = client.pipeline().set("safe:{sum}x", number)
        script(["safe:{sum}"], [2], client=block)
        assert block.execute() == [True, 2 * number], "it waits for its commit"
        block = client.pipeline().set("{sum}x", 1).eval("return redis.call('INCR', KEYS[1])", 1, "{sum}x")
        failing = block.evalsha("f" * 40, 0).eval("error('MINE no')", 0).get("{sum}x").execute(raise_on_error=False)
        assert failing[:2] == [True, 2] and failing[4] == b"2"
        assert isinstance(failing[2], NoScriptError) and isinstance(failing[3], redis.ResponseError)


@steady
def test_what_a_script_may_not_do_is_an_error_and_its_node_goes_on(
    whole: RealCluster, clients: list[redis.Redis]
) -> None:
    client = clients[0]
    with pytest.raises(redis.ResponseError, match="the script was stopped, for it used more than 50 ms"):
        client.eval("while true do end", 0)
    with pytest.raises(redis.ResponseError, match="hash to the same slot"):
        client.eval("return 1", 2, "a", "b")
    with pytest.raises(redis.ResponseError, match="nonexistent global variable 'io'"):
        client.eval("return io.open('/etc/passwd')", 0)
    assert client.eval("return {KEYS[1], ARGV[1], 3.7, false, {ok = 'fine'}}", 1, "k", "v")[:3] == [b"k", b"v", 3]
    ran = [samples(http).get("raftcache_scripts_total", {}) for http in addresses(whole, "http").values()]
    assert sum(each.get(("time",), 0) for each in ran) >= 1 and sum(each.get(("done",), 0) for each in ran) > 0
