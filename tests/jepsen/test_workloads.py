"""Each workload asks what it is there to ask, and keeps to itself."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION, Operation, Outcome
from jepsen_like.workloads.acknowledged import Acknowledged
from jepsen_like.workloads.counter import Counter as CounterWorkload
from jepsen_like.workloads.loss_window import ON_EXCEEDED, LossWindow
from jepsen_like.workloads.policy_change import LARGE_BYTES, TIGHT_BYTES, PolicyChange
from jepsen_like.workloads.register import OPERATIONS_PER_KEY, UNKNOWN_PER_KEY, Keys, Register
from jepsen_like.workloads.registry import WORKLOADS, make
from jepsen_like.workloads.replica_reads import ReplicaReads
from jepsen_like.workloads.ttl import Ttl
from jepsen_like.workloads.workload import Options
from tests.jepsen.driven import LIVENESS_BOUND_S, SECONDS, Driven
from tests.jepsen.fake_target import FakeTarget

ACKS = ("primary", "quorum", "durable")


def options(ack: str = "quorum", **more: Any) -> Options:
    return Options(ack=ack, seconds=SECONDS, liveness_bound_s=LIVENESS_BOUND_S, **more)


def keys_of(operation: Operation) -> list[str]:
    value = operation.invoked.value
    if operation.invoked.name == "read-many":
        return list(value)
    if operation.invoked.name == "write-many":
        return [key for key, _ in value]
    return [str(value) if operation.invoked.name == "lost-writes" else operation.invoked.key]


@pytest.mark.parametrize("ack", ACKS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_touches_its_own_namespaces_alone(name: str, ack: str) -> None:
    driven = Driven(name, options(ack))
    own = set(driven.workload.namespaces())
    assert own and all(namespace.startswith("jl-") for namespace in own)
    touched = {key.partition(":")[0] for each in driven.operations() for key in keys_of(each)}
    assert touched == own
    assert driven.ran.trouble == []


def test_no_two_workloads_share_a_namespace() -> None:
    names = [name for each in WORKLOADS for name in make(each, options()).namespaces()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_found_by_its_name_and_says_what_it_is(name: str) -> None:
    workload = make(name, options())
    assert workload.name == name and workload.summary and "\n" not in workload.summary


def test_an_unknown_workload_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'regster' is none of register, counter, set, "):
        make("regster", options())


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("register", {"read", "write", "cas"}),
        ("counter", {"read", "incr"}),
        ("set", {"read", "write", "read-many"}),
        ("durable", {"read", "write", "read-many", "receipt"}),
        ("ttl", {"read", "write", "expire"}),
        ("loss-window", {"write", "write-many", "incr", "delete", "receipt", "lost-writes"}),
        ("receipts", {"write", "receipt", "read-many", "lost-writes"}),
        ("replica-reads", {"read", "write"}),
        ("batch", {"read", "write", "read-many", "write-many"}),
        ("policy-change", {"read", "write", "set-namespace", "delete-namespace"}),
        ("invalidate", {"read", "write", "invalidate"}),
        ("quota", {"read", "write"}),
        ("mix", {"read", "write", "incr", "receipt"}),
    ],
)
def test_what_a_workload_asks(name: str, asked: set[str]) -> None:
    driven = Driven(name, options())
    answered = Counter(each.invoked.name for each in driven.operations(phase="main") if each.outcome is Outcome.OK)
    assert answered.keys() | {"read"} == asked | {"read"}
    assert all(count >= 2 for name, count in answered.items() if name != "lost-writes")


@pytest.mark.parametrize("name", ["register", "counter", "set", "batch", "receipts", "loss-window", "mix"])
def test_where_writes_may_be_lost_the_cluster_is_asked_which(name: str) -> None:
    driven = Driven(name, options("primary"))
    asked = {each.invoked.value for each in driven.operations("receipt", "final")}
    acked = {
        each.completed.version
        for each in driven.operations(phase="main")
        if each.completed and each.completed.level == "primary" and each.invoked.name in ("write", "cas", "incr")
        and each.outcome is Outcome.OK
    }  # fmt: skip
    assert len(acked) > 50 and acked <= asked
    told = Counter(each.completed.value for each in driven.operations("receipt", "final") if each.completed)
    assert told["lost"] > 0 and told["committed"] > 50
    assert driven.operations("lost-writes", "final")


# -- register ------------------------------------------------------------------------------------


def test_values_of_a_register_are_unique() -> None:
    driven = Driven("register", options())
    values = [each.invoked.value for each in driven.operations("write")]
    values += [each.invoked.value[1] for each in driven.operations("cas")]
    assert len(values) == len(set(values)) > 500


def test_compare_and_set_wins_and_loses_and_knows_what_it_expects() -> None:
    driven = Driven("register", options())
    swaps = driven.operations("cas")
    won = [each for each in swaps if each.outcome is Outcome.OK]
    lost = [each for each in swaps if each.completed and each.completed.error == CONDITION]
    assert len(won) > 100 and len(lost) > 20
    written = {each.completed.version for each in driven.operations() if each.completed}
    for each in won:
        expected = each.invoked.details.get("ifVersion")
        assert (expected is None) == (each.invoked.value[0] is None)
        assert expected is None or expected in written


def test_a_key_is_left_after_so_many_operations_or_unknown_outcomes() -> None:
    keys, random = Keys("jl-x", 1), Random(1)
    assert {keys.pick(random) for _ in range(OPERATIONS_PER_KEY)} == {"jl-x:r0"}
    assert keys.pick(random) == "jl-x:r1"
    for _ in range(UNKNOWN_PER_KEY):
        keys.unknown("jl-x:r1")
    assert keys.pick(random) == "jl-x:r2"
    keys.unknown("jl-x:r0")
    assert list(keys.used) == ["jl-x:r0", "jl-x:r1", "jl-x:r2"]


def test_only_changes_of_unknown_outcome_wear_a_key_out() -> None:
    register, random = Register(options(keys=1)), Random(1)
    for _ in range(50):
        register.completed(0, Request(name="read", key="jl-register:r0"), Completion(kind="info"))
    assert next(register.final())[-1].key == "jl-register:r0"
    for _ in range(UNKNOWN_PER_KEY):
        register.completed(0, Request(name="write", key="jl-register:r0", value=1), Completion(kind="info"))
    register.next(0, 0.0, random)
    assert next(register.final())[-1].key == "jl-register:r1"


# -- counter -------------------------------------------------------------------------------------


def keyed(counter: CounterWorkload, worker: int, random: Random) -> Request:
    """The worker's next increment with a key that nobody has sent yet."""
    while True:
        request = counter.next(worker, 0.0, random)
        assert isinstance(request, Request)
        if request.details.get("idempotencyKey", "").startswith(f"jl-{worker}-"):
            return request
        counter.completed(worker, request, Completion(kind="ok", value=1))


def test_an_increment_in_doubt_is_sent_again_until_it_is_answered() -> None:
    counter, random = CounterWorkload(options()), Random(1)
    first = keyed(counter, 0, random)
    for kind in ("info", "fail", "info", "fail"):
        counter.completed(0, first, Completion(kind=kind, error="outcome_unknown"))  # type: ignore[arg-type]
        assert counter.next(0, 0.0, random) == first
    counter.completed(0, first, Completion(kind="ok", value=1, version="vs0.1.1"))
    assert counter.settle() == []
    assert keyed(counter, 0, random) != first


def test_an_increment_that_was_refused_is_not_sent_again() -> None:
    counter, random = CounterWorkload(options()), Random(1)
    first = keyed(counter, 0, random)
    counter.completed(0, first, Completion(kind="fail", error="not_leader"))
    assert counter.settle() == []


def test_what_is_in_doubt_when_the_time_is_over_is_settled() -> None:
    driven = Driven("counter", options())
    by_key: dict[str, list[Operation]] = {}
    for each in driven.operations("incr"):
        by_key.setdefault(each.invoked.details.get("idempotencyKey", ""), []).append(each)
    by_key.pop("")
    retried = {key for key, attempts in by_key.items() if any(each.outcome is Outcome.UNKNOWN for each in attempts)}
    assert len(retried) > 5
    assert all(any(each.outcome is Outcome.OK for each in by_key[key]) for key in retried)
    replayed = [key for key, each in by_key.items() if sum(one.outcome is Outcome.OK for one in each) > 1]
    assert len(replayed) > 20


def test_two_workers_send_one_increment_at_the_same_time() -> None:
    driven = Driven("counter", options())
    open_now: dict[str, int] = {}
    together = 0
    for event in driven.ran.events:
        key = event.details.get("idempotencyKey") if event.kind == "invoke" else None
        if key:
            together += any(other == key for other in open_now.values())
            open_now[event.process] = key
        elif event.kind != "invoke":
            open_now.pop(event.process, None)
    assert together > 5


# -- the others ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set", "durable"])
def test_every_element_that_was_tried_is_looked_for_in_the_end(name: str) -> None:
    driven = Driven(name, options())
    tried = [each.invoked.key for each in driven.operations("write")]
    looked = [key for each in driven.operations("read-many", "final") for key in each.invoked.value]
    assert len(tried) == len(set(tried)) > 300
    assert set(tried) == set(looked)


@pytest.mark.parametrize("name", ["set", "durable"])
def test_while_things_break_only_elements_are_read_that_were_acknowledged(name: str) -> None:
    driven = Driven(name, options())
    acked: set[str] = set()
    reads = 0
    for event in driven.ran.events:
        if event.name == "write" and event.kind == "ok":
            acked.add(event.key)
        elif event.name == "read" and event.kind == "invoke" and "probe" not in event.key:
            reads += 1
            assert event.key in acked
    assert reads > 100


def test_a_time_to_live_is_looked_at_from_both_sides() -> None:
    driven = Driven("ttl", options(), troubled=False)
    ends: dict[str, float] = {}
    before = after = 0
    for each in driven.operations(phase="main"):
        ttl = each.invoked.value if each.invoked.name == "expire" else each.invoked.details.get("ttlSeconds")
        if ttl is not None:
            ends[each.invoked.key] = each.began_ms + ttl * 1000
        elif each.invoked.name == "write":
            ends[each.invoked.key] = float("inf")
        elif each.invoked.key in ends:
            before += each.began_ms < ends[each.invoked.key] < each.began_ms + 300
            after += 0 < each.began_ms - ends[each.invoked.key] < 100
    assert before > 20 and after > 20
    assert float("inf") in ends.values()


def test_no_more_is_begun_while_enough_waits() -> None:
    ttl, random = Ttl(options(processes=1)), Random(1)
    begun = 0
    while isinstance(step := ttl.next(0, 0.0, random), Request):
        begun += 1
    assert 2 < begun < 12 and 0 < step <= 0.02


def test_all_workers_burst_together_each_into_a_namespace_of_its_own() -> None:
    driven = Driven("loss-window", options(), troubled=False)
    main, settle = driven.ran.phases["main"], driven.ran.phases["settle"]
    begun = [each for each in driven.operations() if main <= each.began_ms < settle and "probe" not in each.invoked.key]
    of_worker: dict[int, set[str]] = {}
    for each in begun:
        of_worker.setdefault(each.invoked.process, set()).add(keys_of(each)[0].partition(":")[0])
    assert all(len(namespaces) == 1 for namespaces in of_worker.values())
    assert {name for names in of_worker.values() for name in names} == {f"jl-spend-{then}" for then in ON_EXCEEDED}
    moments = Counter(int(each.began_ms % 500) // 100 for each in begun)
    assert moments[0] > 0.9 * len(begun)


def test_a_burst_fills_the_window_of_a_leader_that_is_cut_off() -> None:
    driven = Driven("loss-window", options())
    refused = [each for each in driven.operations() if each.completed and each.completed.error == "loss_window_full"]
    assert len(refused) > 20
    levels = Counter(each.completed.level for each in driven.operations("write") if each.completed)
    assert levels["primary"] > 200 and levels["quorum"] > 50


def test_the_window_can_be_chosen() -> None:
    window = {"ms": 50, "writes": 5, "bytes": None}
    for document in LossWindow(options(window=window)).namespaces().values():
        assert document["lossWindow"] == window
    assert "lossWindow" not in Register(options("quorum", window=window)).namespaces()["jl-register"]
    assert Register(options("primary", window=window)).namespaces()["jl-register"]["lossWindow"] == window


def test_receipts_are_asked_for_early_and_twice_in_the_end() -> None:
    driven = Driven("receipts", options("primary"))
    early = [each for each in driven.operations("receipt") if each.began_ms < driven.ran.phases["settle"]]
    told = {each.completed.value for each in early if each.completed}
    assert told >= {"pending", "committed", "lost"}
    final = Counter(each.invoked.value for each in driven.operations("receipt", "final"))
    assert set(final.values()) == {2}
    last = {each.invoked.value: each for each in driven.operations("receipt", "final")}
    assert all(each.told("durable") for each in last.values() if each.completed and each.completed.value == "committed")
    levels = {each.invoked.level for each in driven.operations("write")}
    assert levels == {"", "primary", "quorum", "durable"}


def test_a_session_asks_for_what_it_has_seen_and_gives_up_what_is_lost() -> None:
    reads, key = ReplicaReads(options(keys=1)), "jl-replicas:k0"
    write = Request(name="write", key=key, value=1)
    reads.completed(3, write, Completion(kind="ok", version="vs0.1.7"))
    asked = [reads.next(3, 0.0, random) for random in map(Random, range(200))]
    least = {each.details.get("minVersion") for each in asked if isinstance(each, Request) and each.details}
    assert least == {None, "vs0.1.7"}
    others = [reads.next(4, 0.0, random) for random in map(Random, range(200))]
    assert not any(each.details.get("minVersion") for each in others if isinstance(each, Request))
    reads.completed(3, Request(name="read", key=key), Completion(kind="fail", error="version_lost"))
    asked = [reads.next(3, 0.0, random) for random in map(Random, range(200))]
    assert not any(each.details.get("minVersion") for each in asked if isinstance(each, Request))


def test_replica_reads_bound_the_staleness_now_and_then() -> None:
    reads = [each for each in Driven("replica-reads", options()).operations("read") if each.invoked.details]
    bounds = Counter(each.invoked.details.get("maxStalenessMs") for each in reads)
    assert bounds.keys() == {None, 150, 400, 1500} and min(bounds.values()) > 20


def test_a_namespace_is_changed_by_its_owner_alone_one_change_at_a_time() -> None:
    driven = Driven("policy-change", options("durable"))
    changes = [each for each in driven.operations(phase="main") if each.invoked.name.endswith("-namespace")]
    ended: dict[str, float] = {}
    for each in changes:
        assert each.began_ms > ended.get(each.invoked.key, 0.0)
        ended[each.invoked.key] = each.completed.time_ms if each.completed else float("inf")
    asked = [each.invoked.value for each in changes if each.invoked.name == "set-namespace"]
    assert {document["ack"] for document in asked} == {"primary", "quorum", "durable"}
    assert {document["maxItemBytes"] for document in asked} == {TIGHT_BYTES, 120}
    assert any(each.invoked.name == "delete-namespace" and each.outcome is Outcome.OK for each in changes)


def test_values_are_written_that_a_tight_policy_refuses() -> None:
    driven = Driven("policy-change", options())
    sizes = Counter(len(each.invoked.value) for each in driven.operations("write"))
    assert sizes[LARGE_BYTES] == pytest.approx(sum(sizes.values()) / 3, rel=0.1)
    completed = [each for each in driven.operations("write") if each.completed]
    refused = {each.completed.error: len(each.invoked.value) for each in completed if each.completed}
    assert refused["value_too_large"] == LARGE_BYTES


def test_with_few_workers_somebody_uses_the_namespaces_still() -> None:
    assert len(PolicyChange(options(processes=3)).namespaces()) == 1
    assert len(PolicyChange(options(processes=4)).namespaces()) == 2


def test_what_was_acknowledged_is_remembered_batch_items_included() -> None:
    acked = Acknowledged(remembered=3)
    many = Request(name="write-many", value=[["n:a", 1], ["n:b", 2]])
    acked.note(many, Completion(kind="info", value=["vs0.1.1", "error outcome_unknown"]))
    acked.note(Request(name="delete", key="n:c"), Completion(kind="ok", value=False))
    acked.note(Request(name="write", key="n:d", value=1), Completion(kind="info", error="outcome_unknown"))
    assert acked.recent(5) == [("n:a", "vs0.1.1")]
    for number in range(4):
        acked.note(Request(name="write", key="n:e", value=1), Completion(kind="ok", version=f"vs0.2.{number}"))
    assert acked.recent(2) == [("n:e", "vs0.2.2"), ("n:e", "vs0.2.3")]
    assert [each.value for each in acked.receipts()] == ["vs0.2.1", "vs0.2.2", "vs0.2.3"]


def test_the_cluster_that_is_none_is_not_asked_what_it_does_not_know() -> None:
    assert FakeTarget().nodes() == ["n1", "n2", "n3"]
