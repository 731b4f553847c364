"""Policy points: what a shard follows is in its log, tightening from the append and loosening from the commit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from shard_harness import POLICIES, Bench, follower_of

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import DEFAULT, Eviction, Limits, LossWindow, Namespace, OnExceeded
from raftcache.commands.types import (
    AckLevel,
    Command,
    Delete,
    Expire,
    Failure,
    Get,
    MultiGet,
    Persist,
    ReadLevel,
    Set,
    Value,
    Version,
    Written,
)
from raftcache.errors import NotLeader, RaftcacheError
from raftcache.shard import following
from raftcache.shard.policies import (
    STRICTER,
    Point,
    Policies,
    after,
    difference,
    effect_of,
    has_point,
    point_of,
    stricter,
)
from raftcache.shard.salvage import salvage
from raftcache.shard.snapshot import count_rows, prepare
from raftcache.store.effects import Batch, decode_batch, encode_batch

PRIMARY, QUORUM = AckLevel.PRIMARY, AckLevel.QUORUM
BASE = (Namespace(DEFAULT, 1), Namespace("x", 2))


def spaces(epoch: int, *namespaces: Namespace) -> Namespaces:
    return Namespaces(epoch, namespaces)


def bench_with(*namespaces: Namespace) -> Bench:
    return Bench(policies=spaces(1, *namespaces)).lead()


def level_of(bench: Bench, key: bytes) -> AckLevel:
    """At which level a write without a wish is answered, and whether that was at once."""
    replies = bench.send(Set(key, b"v"))
    at_once = bool(replies)
    bench.settle()
    (reply,) = replies
    assert isinstance(reply, Written), reply
    assert at_once == (reply.ack == PRIMARY)
    return reply.ack


def confirmations(bench: Bench, epoch: int, wait_s: float = 1e9) -> list[RaftcacheError | None]:
    answers: list[RaftcacheError | None] = []
    bench.replica.confirm_policies(epoch, bench.runtime.now_s + wait_s, answers.append)
    return answers


# -- the pure part -------------------------------------------------------------------------------


def test_every_field_of_a_namespace_has_a_rule() -> None:
    assert set(STRICTER) == set(Namespace.__struct_fields__)


def test_the_stricter_of_two_policies_keeps_both() -> None:
    old = Namespace("x", 2, QUORUM, None, 1000, 50)
    new = Namespace("x", 9, PRIMARY, ReadLevel.LATEST, None, 100)
    both = Namespace("x", 9, QUORUM, ReadLevel.LINEARIZABLE, None, 50, allow_replica_reads=False)
    assert stricter(old, new) == both
    assert stricter(new, old) == replace(both, id=2, default_ttl_ms=1000)
    assert stricter(old, old) is old


def test_the_stricter_of_two_longest_times_to_live_is_the_shorter() -> None:
    without, long, short = (Namespace("x", 2, max_ttl_ms=longest_ms) for longest_ms in (None, 9000, 50))
    assert stricter(without, long).max_ttl_ms == stricter(long, without).max_ttl_ms == 9000
    assert stricter(long, short).max_ttl_ms == stricter(short, long).max_ttl_ms == 50
    assert stricter(without, without).max_ttl_ms is None


def test_of_limits_the_smaller_hold_and_of_shares_what_both_grant() -> None:
    old = Namespace("x", 2, limits=Limits(quota_bytes=1 << 30, quota_items=10, weight=5), eviction=Eviction.NONE)
    new = Namespace("x", 2, limits=Limits(quota_bytes=1 << 20, weight=9, operations_per_second=3))
    for first, then in ((old, new), (new, old)):
        both = stricter(first, then)
        assert both.limits == Limits(1 << 20, 10, then.limits.weight, 3) and both.eviction == then.eviction
    split = Namespace("x", 2, shares=(8000, 2000))
    assert stricter(Namespace("x", 2), split).shares == (5000, 2000)
    assert stricter(split, Namespace("x", 2)).shares == (5000, 2000)
    assert stricter(split, Namespace("x", 2, shares=(3000, 7000))).shares == (3000, 2000)


def test_the_stricter_of_two_windows_has_the_smaller_of_each_bound() -> None:
    old = Namespace("x", 2, loss_window=LossWindow(ms=None, writes=10, bytes=None), on_exceeded=OnExceeded.WAIT)
    new = Namespace("x", 2, loss_window=LossWindow(ms=5, writes=20, bytes=None), on_exceeded=OnExceeded.REJECT)
    assert stricter(old, new).loss_window == stricter(new, old).loss_window == LossWindow(5, 10, None)
    assert stricter(new, old).on_exceeded == OnExceeded.WAIT


names = st.sampled_from((DEFAULT, "a", "b", "c"))
namespace = st.builds(
    Namespace,
    names,
    st.integers(1, 5),
    st.sampled_from(AckLevel),
    st.sampled_from((None, *ReadLevel)),
    st.none() | st.integers(1, 9),
    st.integers(1, 9),
)
tables = st.lists(namespace, unique_by=lambda each: each.name, max_size=4)


@given(tables, tables)
def test_a_point_leads_from_one_table_to_the_other_through_the_log(old: Any, new: Any) -> None:
    before, wanted = spaces(3, *old), spaces(4, *new)
    point = difference(before, wanted)
    batch = decode_batch(encode_batch(Batch(1, 1, 0, [effect_of(point)])))
    assert has_point(batch) and point_of(batch.effects[0]) == point == point_of(effect_of(point))
    reached = after(before, point)
    assert reached.by_name == wanted.by_name and reached.epoch == 4


@given(st.lists(tables, min_size=2, max_size=5), st.sampled_from((b"a:1", b"b:1", b"z:1", b"k")))
def test_what_is_in_force_is_at_least_as_strict_as_anything_that_may_come_to_hold(
    rows: list[list[Namespace]], key: bytes
) -> None:
    first, *later = [spaces(epoch, *namespaces) for epoch, namespaces in enumerate(rows, 1)]
    policies = Policies(first)
    for seq, namespaces in enumerate(later, 1):
        policies.append(difference(policies.newest, namespaces), seq)
    for left in range(len(later), -1, -1):
        possible = [each.resolve(key) for each in [first, *later][len(later) - left :]]
        held = policies.in_force.resolve(key)
        assert (held.name, held.id) == (possible[-1].name, possible[-1].id)
        assert held.ack == max(each.ack for each in possible)
        assert held.reads_at == max(each.reads_at for each in possible)
        assert held.max_item_bytes == min(each.max_item_bytes for each in possible)
        if left:
            policies.committed()
    assert policies.in_force.by_name == policies.applied.by_name and not policies.pending


def test_a_point_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="policy point"):
        point_of([7, "x", [], []])


# -- tightening and loosening --------------------------------------------------------------------


def test_tightening_holds_from_the_append_and_loosening_from_the_commit() -> None:
    bench = bench_with(*BASE)
    assert level_of(bench, b"x:1") == PRIMARY
    bench.follow(spaces(2, BASE[0], Namespace("x", 2, QUORUM)))
    tightened = bench.send(Set(b"x:1", b"v"))
    assert tightened == []
    bench.settle()
    bench.follow(spaces(3, *BASE))
    loosened = bench.send(Set(b"x:1", b"v"))
    assert loosened == []
    bench.settle()
    assert isinstance(loosened[0], Written) and loosened[0].ack == QUORUM
    assert level_of(bench, b"x:1") == PRIMARY


def test_undone_tightening_is_no_more_and_undone_loosening_never_was() -> None:
    bench = bench_with(BASE[0], Namespace("x", 2, QUORUM))
    bench.follow(spaces(2, *BASE))
    bench.runtime.turn()
    bench.group.lose()
    assert bench.replica.policies.in_force.resolve(b"x:1").ack == QUORUM
    bench.group.truncate(bench.group.applied)
    bench.policies = bench.first_policies
    bench.lead()
    assert level_of(bench, b"x:1") == QUORUM and bench.replica.policies.applied.epoch == 1


def test_a_point_of_a_deposed_leader_that_commits_after_all_is_applied() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0], Namespace("x", 2, QUORUM)))
    bench.runtime.turn()
    bench.group.lose()
    bench.group.commit()
    assert bench.replica.policies.applied.epoch == 2
    other = follower_of(bench)
    assert other.replica.digest() == bench.replica.digest()
    assert other.replica.policies.applied.by_name == bench.policies.by_name


def test_a_new_leader_takes_the_newest_policies_before_it_serves() -> None:
    bench = Bench(policies=spaces(1, *BASE))
    bench.policies = spaces(2, BASE[0], Namespace("x", 2, QUORUM))
    bench.lead()
    assert bench.replica.serving and bench.replica.policies.applied.epoch == 1
    assert level_of(bench, b"x:1") == QUORUM


def test_a_new_leader_whose_node_is_behind_goes_by_the_log() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(5, BASE[0], Namespace("x", 2, QUORUM))).settle()
    bench.group.lose()
    bench.policies = spaces(3, *BASE)
    bench.lead()
    assert level_of(bench, b"x:1") == QUORUM
    assert bench.replica.policies.applied.epoch == 5


def test_a_shard_that_has_no_policies_yet_gets_all() -> None:
    bench = Bench(founded=False).lead()
    assert level_of(bench, b"safe:1") == QUORUM
    other = Bench(founded=False, node_id="n1")
    other.group.log = list(bench.group.log)
    other.group.commit()
    assert other.replica.policies.applied.by_name == POLICIES.by_name
    assert other.replica.digest() == bench.replica.digest()


def test_a_smaller_limit_holds_at_once_and_a_greater_one_later() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0], Namespace("x", 2, max_item_bytes=10)))
    (refused,) = bench.send(Set(b"x:1", b"v" * 11))
    assert isinstance(refused, Failure) and refused.code == "value_too_large"


def test_points_under_way_are_bounded_and_the_newest_policies_come_through() -> None:
    bench = bench_with(*BASE)
    for epoch in range(2, 20):
        bench.follow(spaces(epoch, BASE[0], Namespace("x", 2, max_item_bytes=100 + epoch)))
    assert bench.replica.policies.pending == following.MAX_PENDING_POINTS
    bench.settle()
    assert bench.replica.policies.applied.by_name["x"].max_item_bytes == 119
    assert bench.replica.policies.pending == 0


# -- creating and deleting -----------------------------------------------------------------------


def test_a_created_namespace_hides_older_keys_at_once_and_keeps_the_stricter_policy_until_the_commit() -> None:
    bench = bench_with(Namespace(DEFAULT, 1, QUORUM))
    bench.ask(Set(b"y:1", b"old"))
    bench.follow(spaces(2, Namespace(DEFAULT, 1, QUORUM), Namespace("y", 7)))
    read = bench.send(Get(b"y:1"))
    assert read == []
    write = bench.send(Set(b"y:2", b"new"))
    assert write == []
    bench.settle()
    assert isinstance(read[0], Value) and read[0].value is None
    assert level_of(bench, b"y:2") == PRIMARY
    assert bench.replica.keyspace.get(b"y:2").namespace_id == 7  # type: ignore[union-attr]


def test_a_deleted_namespace_hides_its_keys_and_keeps_its_policy_until_the_commit() -> None:
    bench = bench_with(BASE[0], Namespace("x", 2, QUORUM))
    bench.ask(Set(b"x:1", b"old"))
    bench.follow(spaces(2, BASE[0]))
    write = bench.send(Set(b"x:2", b"new"))
    assert write == []
    bench.settle()
    found = bench.ask(Get(b"x:1"))
    assert found.value is None
    assert level_of(bench, b"x:2") == PRIMARY


def test_keys_come_back_where_a_deletion_is_undone() -> None:
    bench = bench_with(*BASE)
    bench.ask(Set(b"x:1", b"kept"))
    bench.follow(spaces(2, BASE[0]))
    bench.send(Set(b"x:1", b"speculative"))
    bench.runtime.turn()
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.policies = bench.first_policies
    bench.lead()
    assert bench.ask(Get(b"x:1")).value == b"kept"


@pytest.mark.parametrize("level", [ReadLevel.COMMITTED, ReadLevel.LINEARIZABLE])
@pytest.mark.parametrize(
    "command", [Get(b"x:k"), Get(b"x:k", replica=True), Delete(b"x:k"), Persist(b"x:k"), Expire(b"x:k", 50)], ids=str
)
def test_an_absence_by_a_creation_that_can_be_lost_is_not_shown(level: ReadLevel, command: Command) -> None:
    bench = bench_with(Namespace(DEFAULT, 1, read_level=level))
    bench.group.lease = True
    bench.ask(Set(b"x:k", b"v"))
    bench.follow(spaces(2, Namespace(DEFAULT, 1, read_level=level), Namespace("x", 2, read_level=level)))
    hidden = bench.send(command)
    assert hidden == []
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    assert isinstance(hidden[0], Failure) and hidden[0].code == "not_leader"
    bench.lead()
    hidden = bench.send(command)
    bench.settle()
    assert [getattr(reply, "value", None) for reply in hidden] == [None]
    assert bench.send(Get(b"x:k"))[0].value is None, "once the point is committed nothing waits"  # type: ignore[union-attr]


SAFE = Namespace(DEFAULT, 1, QUORUM, allow_replica_reads=True)
SHOWN = Namespace("x", 2, read_level=ReadLevel.COMMITTED)


@pytest.mark.parametrize("lease", [False, True])
@pytest.mark.parametrize(
    ("before", "later"),
    [
        ((SAFE,), ((SAFE, replace(SAFE, name="x", id=7)),)),
        ((SAFE, SHOWN), ((SAFE,),)),
        ((SAFE, SHOWN), ((SAFE,), (SAFE, replace(SHOWN, id=9)))),
    ],
    ids=["created", "deleted", "deleted and created"],
)
@pytest.mark.parametrize(
    "command",
    [
        Get(b"x:1"),
        Get(b"x:1", replica=True),
        Delete(b"x:1"),
        Set(b"x:1", b"v", if_version=Version("7c1f", 1, 2)),
        MultiGet((Get(b"x:1"),)),
    ],
    ids=["get", "replica", "delete", "set if", "many"],
)
def test_an_absence_that_a_point_under_way_makes_is_shown_to_nobody_above_latest(
    before: Any, later: Any, lease: bool, command: Any
) -> None:
    """The key stands again where the point is undone, so the reply would have shown what is lost."""
    bench = bench_with(*before)
    bench.group.lease = lease
    bench.ask(Set(b"x:1", b"kept"))
    for epoch, namespaces in enumerate(later, 2):
        bench.follow(spaces(epoch, *namespaces))
    first, second = bench.send(command), bench.send(command)
    assert first == second == []
    bench.settle()
    assert len(first) == len(second) == 1 and not isinstance(first[0], Failure)


def test_a_key_whose_namespace_stays_waits_for_no_point() -> None:
    bench = bench_with(SAFE, SHOWN)
    bench.ask(Set(b"x:1", b"kept"))
    bench.follow(spaces(2, SAFE, replace(SHOWN, max_item_bytes=9)))
    (read,) = bench.send(Get(b"x:1"))
    assert isinstance(read, Value) and read.value == b"kept"


def test_a_change_behind_a_point_is_what_a_read_waits_for() -> None:
    bench = bench_with(SAFE)
    bench.group.lease = True
    bench.follow(spaces(2, SAFE, replace(SAFE, name="x", id=7)))
    bench.runtime.turn()
    bench.send(Set(b"x:1", b"v"))
    bench.runtime.turn()
    read = bench.send(Get(b"x:1"))
    bench.group.commit(len(bench.group.log) - 1)
    assert read == []
    bench.group.commit()
    assert isinstance(read[0], Value) and read[0].value == b"v"


def test_nobody_reads_the_keys_of_an_earlier_namespace_of_that_name() -> None:
    bench = bench_with(*BASE)
    bench.ask(Set(b"x:1", b"old"))
    bench.follow(spaces(2, BASE[0])).follow(spaces(3, BASE[0], Namespace("x", 5)))
    assert bench.ask(Get(b"x:1")).value is None
    assert follower_of(bench).replica.digest() == bench.replica.digest()


# -- confirming ----------------------------------------------------------------------------------


def test_an_epoch_is_confirmed_when_its_point_is_durable() -> None:
    bench = bench_with(*BASE)
    bench.group.slow_disk = True
    bench.follow(spaces(2, BASE[0]))
    answers = confirmations(bench, 2)
    bench.settle()
    assert bench.replica.policies.applied.epoch == 2 and answers == []
    bench.group.sync()
    assert answers == [None]


def test_an_epoch_is_not_confirmed_before_older_leaders_have_fallen_back() -> None:
    bench = bench_with(*BASE)
    bench.group.alone_from_s = bench.runtime.now_s + 1.01
    bench.follow(spaces(2, BASE[0]))
    answers = [*confirmations(bench, 2), *confirmations(bench, 2)]
    first = confirmations(bench, 2)
    bench.settle()
    bench.runtime.advance(1.0)
    assert answers == first == []
    bench.runtime.advance(0.02)
    assert first == [None] and bench.replica.policy_waiters == 0


def test_who_asks_before_the_node_knows_the_epoch_waits_for_it() -> None:
    bench = bench_with(*BASE)
    answers = confirmations(bench, 4)
    bench.settle()
    assert answers == []
    bench.follow(spaces(4, BASE[0])).settle()
    assert answers == [None]


def test_an_epoch_that_changes_no_namespace_costs_nothing_until_somebody_asks() -> None:
    bench = bench_with(*BASE)
    written = len(bench.group.log)
    bench.follow(spaces(6, *BASE)).settle()
    assert len(bench.group.log) == written
    answers = confirmations(bench, 6)
    bench.settle()
    assert answers == [None] and bench.replica.policies.applied.epoch == 6
    assert len(bench.group.log) == written + 1
    bench.group.lose()
    bench.policies = spaces(5, BASE[0])
    bench.lead()
    assert bench.replica.policies.in_force.by_name.keys() == {DEFAULT, "x"}


def test_a_new_leader_confirms_what_it_found_in_its_log() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0])).settle()
    bench.group.lose()
    bench.lead()
    assert confirmations(bench, 2) == [None]


def test_a_leader_that_is_deposed_confirms_nothing() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0]))
    answers = confirmations(bench, 2)
    bench.runtime.turn()
    bench.group.lose("n2")
    (error,) = answers
    assert isinstance(error, NotLeader) and error.details["leader"] == "n2"
    bench.group.commit()
    assert len(answers) == 1
    (error,) = confirmations(bench, 2)
    assert isinstance(error, NotLeader)


def test_who_waits_is_bounded_and_forgotten_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_POLICY_WAITERS", 2)
    bench = bench_with(*BASE)
    early = [confirmations(bench, 9, 1.0), confirmations(bench, 9, 1.0)]
    (error,) = confirmations(bench, 9)
    assert error is not None and error.code == "overloaded"
    bench.runtime.advance(2.0)
    late = confirmations(bench, 9)
    assert late == [] and early == [[], []] and bench.replica.policy_waiters == 1


# -- snapshots and salvage -----------------------------------------------------------------------


def many(count: int) -> Namespaces:
    return spaces(3, Namespace(DEFAULT, 1), *(Namespace(f"n{number}", 10 + number) for number in range(count)))


def test_snapshots_carry_ten_thousand_namespaces_in_bounded_blocks() -> None:
    bench = Bench(policies=many(10_000), founded=False).lead()
    bench.settle()
    bench.ask(Set(b"n7:k", b"v"))
    blocks = list(bench.replica.snapshot_blocks())
    assert max(map(len, blocks)) < 256 << 10
    other = Bench(policies=many(0), founded=False)
    other.replica.install(prepare("7c1f", blocks), 1, 1)
    assert other.replica.digest() == bench.replica.digest()
    assert other.replica.policies.in_force.resolve(b"n7:k").id == 17
    assert count_rows("7c1f", blocks).keys == 1


def test_a_snapshot_has_the_applied_policies_only() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0]))
    other = Bench(founded=False)
    other.replica.install(prepare("7c1f", bench.replica.snapshot_blocks()), 1, 1)
    assert other.replica.policies.applied.epoch == 1
    assert other.replica.digest() == bench.replica.digest()


def test_a_salvaged_shard_goes_on_with_the_policies_of_the_lost_one() -> None:
    bench = bench_with(*BASE)
    bench.follow(spaces(2, BASE[0], Namespace("x", 2, QUORUM))).settle()
    founding = list(Bench(policies=spaces(1, *BASE)).replica.snapshot_blocks())
    blocks = list(salvage("7c1f", "0b0b", founding, bench.group.log))
    state = prepare("0b0b", blocks)
    assert state.namespaces.epoch == 2 and state.namespaces.by_name["x"].ack == QUORUM


def test_points_must_rise() -> None:
    policies = Policies(spaces(4, *BASE))
    with pytest.raises(AssertionError, match="after 4"):
        policies.apply(Batch(1, 1, 0, [effect_of(Point(4, (), ("x",)))]))
