"""The loss window at a shard's leader: what is acknowledged and not committed never exceeds its share."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from shard_harness import Bench

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import LossWindow, Namespace, OnExceeded
from raftcache.commands.types import (
    AckLevel,
    Command,
    Counted,
    Delete,
    Expire,
    Failure,
    Get,
    Incr,
    Many,
    MultiSet,
    Persist,
    Reply,
    Set,
    Value,
    Written,
)
from raftcache.shard import held as held_module
from raftcache.shard.window import LossWindows, share_of
from raftcache.store.effects import EFFECT_OVERHEAD_BYTES

P, Q = AckLevel.PRIMARY, AckLevel.QUORUM
QUORUM, WAIT, REJECT = OnExceeded.QUORUM, OnExceeded.WAIT, OnExceeded.REJECT
NONE = LossWindow(None, None, None)


def spaces(window: LossWindow, then: OnExceeded = QUORUM, epoch: int = 1) -> Namespaces:
    """`default` as asked, and `other` with the same window of its own."""
    default = Namespace("default", 1, loss_window=window, on_exceeded=then)
    return Namespaces(epoch, (default, replace(default, name="other", id=2)))


def leader(window: LossWindow, then: OnExceeded = QUORUM, place: tuple[int, int] = (0, 1)) -> Bench:
    bench = Bench(policies=spaces(window, then)).lead()
    bench.place = place
    return bench


def level(replies: list[Reply]) -> AckLevel:
    (answer,) = replies
    assert isinstance(answer, Written | Counted), answer
    return answer.ack


def failure(replies: list[Reply]) -> Failure:
    (answer,) = replies
    assert isinstance(answer, Failure), answer
    return answer


def size(key: bytes, value: bytes = b"") -> int:
    return len(key) + len(value) + EFFECT_OVERHEAD_BYTES


# -- shares ------------------------------------------------------------------------------------------


@given(st.integers(1, 10**9), st.integers(1, 100))
def test_shares_are_whole_and_sum_to_the_total(total: int, count: int) -> None:
    shares = [share_of(total, (place, count)) for place in range(count)]
    assert sum(shares) == total and all(share == int(share) for share in shares)
    assert max(shares) - min(shares) <= 1


def test_where_the_place_is_not_known_nothing_is_answered_at_primary() -> None:
    bench = leader(LossWindow(), place=(0, 0))
    replies = bench.send(Set(b"k", b"1"))
    assert replies == []
    bench.settle()
    assert level(replies) == Q


def test_a_share_of_nothing_goes_by_quorum_whatever_is_asked() -> None:
    for then in OnExceeded:
        bench = leader(LossWindow(writes=2), then, place=(2, 3))
        assert bench.ask(Set(b"k", b"1")).ack == Q
        assert bench.replica.pipeline.windows.exceeded == {("default", "writes", "quorum"): 1}


# -- quorum ------------------------------------------------------------------------------------------


def test_the_write_at_hand_is_included_and_the_next_waits_for_its_commit() -> None:
    bench = leader(LossWindow(writes=3))
    assert [level(bench.send(Set(b"k", b"%d" % i))) for i in range(3)] == [P, P, P]
    fourth = bench.send(Set(b"k", b"3"))
    assert fourth == []
    bench.settle()
    assert level(fourth) == Q
    assert level(bench.send(Set(b"k", b"4"))) == P, "a commit makes room"


def test_bytes_are_those_of_key_value_and_overhead() -> None:
    bench = leader(LossWindow(bytes=2 * size(b"k", b"12345") + size(b"k", b"1") - 1))
    assert level(bench.send(Set(b"k", b"12345"))) == P
    assert level(bench.send(Set(b"k", b"12345"))) == P
    assert bench.send(Set(b"k", b"1")) == []
    assert level(bench.send(Delete(b"k"))) == P, "what is smaller may still fit"


def test_the_oldest_may_reach_its_age_and_no_more() -> None:
    bench = leader(LossWindow(ms=250))
    assert level(bench.send(Set(b"k", b"1"))) == P
    bench.runtime.now_s += 0.25
    assert level(bench.send(Set(b"k", b"2"))) == P
    bench.runtime.now_s += 0.001
    assert bench.send(Set(b"k", b"3")) == []
    bench.settle()
    bench.runtime.now_s += 10
    assert level(bench.send(Set(b"k", b"4"))) == P, "nothing is speculative: nothing is old"


def test_of_the_bounds_the_one_that_is_used_most_is_told() -> None:
    bench = leader(LossWindow(ms=1000, writes=8, bytes=None))
    windows = bench.replica.pipeline.windows

    def used() -> float:
        return windows.in_use()["default"].used(windows.now())

    bench.send(Set(b"k", b"1"))
    assert used() == 1 / 8
    bench.runtime.now_s += 0.5
    assert round(used(), 6) == 0.5, "the oldest has reached half of its age"
    bench.settle()
    assert used() == 0.0


def test_the_age_is_that_of_the_oldest_batch_still_in_flight() -> None:
    bench = leader(LossWindow(ms=100))
    for _ in range(2):
        bench.send(Set(b"k", b"1"))
        bench.runtime.turn()
        bench.runtime.now_s += 0.06
    bench.group.commit(len(bench.group.log) - 1)
    assert level(bench.send(Set(b"k", b"2"))) == P, "the older of the two is committed"
    bench.runtime.now_s += 0.05
    assert bench.send(Set(b"k", b"3")) == []


def test_namespaces_have_windows_of_their_own_and_null_lifts_bounds() -> None:
    bench = leader(LossWindow(writes=1))
    assert level(bench.send(Set(b"k", b"1"))) == level(bench.send(Set(b"other:k", b"1"))) == P
    assert bench.send(Set(b"k", b"1")) == [] == bench.send(Set(b"other:k", b"1"))
    bench = leader(NONE)
    for _ in range(100):
        bench.runtime.now_s += 10
        assert level(bench.send(Set(b"k", b"1"))) == P


def test_every_kind_of_write_counts_and_says_the_level_truly_reached() -> None:
    bench = leader(LossWindow(writes=1))
    bench.ask(Set(b"full", b"1"))
    bench.send(Set(b"k", b"1"))
    for command in (Incr(b"full"), Expire(b"full", 1000), Delete(b"full")):
        replies = bench.send(command)
        assert replies == [], command
    missing = bench.send(Delete(b"nothing"))
    assert level(missing) == P, "what writes nothing needs no room"
    assert isinstance(bench.send(Get(b"k"))[0], Value)
    assert isinstance(bench.send(Set(b"k", b"2", if_absent=True))[0], Written)


def test_a_write_larger_than_the_share_goes_by_quorum_whatever_is_asked() -> None:
    for then in OnExceeded:
        bench = leader(LossWindow(bytes=1000), then, place=(1, 2))
        replies = bench.send(Set(b"k", b"x" * 500))
        assert replies == []
        bench.settle()
        assert level(replies) == Q
        assert level(bench.send(Set(b"k", b"x" * 400))) == P


def test_writes_asked_for_at_quorum_are_not_counted() -> None:
    bench = leader(LossWindow(writes=1), REJECT)
    assert all(bench.send(Set(b"k", b"1", ack=Q)) == [] for _ in range(5))
    assert level(bench.send(Set(b"k", b"1"))) == P
    durable = bench.send(Set(b"k", b"1", ack=AckLevel.DURABLE))
    bench.settle()
    assert level(durable) == AckLevel.DURABLE, "a full window takes nothing from what asks for more"


def test_background_removals_are_not_counted() -> None:
    bench = leader(LossWindow(writes=1), REJECT)
    bench.ask(Set(b"k", b"1", ttl_ms=100))
    bench.runtime.now_s += 1
    assert bench.send(Get(b"k"))[0].value is None  # type: ignore[union-attr]
    assert level(bench.send(Set(b"k", b"2"))) == P


def test_what_is_undone_is_released() -> None:
    bench = leader(LossWindow(writes=2), REJECT)
    bench.send(Set(b"a", b"1"))
    bench.send(Set(b"b", b"1"))
    assert failure(bench.send(Set(b"c", b"1"))).code == "loss_window_full"
    bench.group.lose()
    bench.group.truncate(bench.group.applied)
    bench.lead()
    assert level(bench.send(Set(b"a", b"1"))) == P
    assert level(bench.send(Set(b"b", b"1"))) == P


def test_a_policy_takes_effect_with_the_next_write() -> None:
    bench = leader(LossWindow(writes=5), REJECT)
    for _ in range(3):
        bench.send(Set(b"k", b"1"))
    bench.follow(spaces(LossWindow(writes=3), REJECT, epoch=2))
    assert failure(bench.send(Set(b"k", b"1"))).details["limit"] == 3
    bench.follow(spaces(LossWindow(writes=4), REJECT, epoch=3))
    assert failure(bench.send(Set(b"k", b"1"))).details["limit"] == 3, "looser only once that is committed"
    bench.settle()
    assert [level(bench.send(Set(b"k", b"1"))) for _ in range(4)] == [P] * 4
    bench.place = (0, 2)
    assert failure(bench.send(Set(b"k", b"1"))).details["limit"] == 2


# -- reject ------------------------------------------------------------------------------------------


def test_a_refused_write_is_not_executed_and_says_why() -> None:
    bench = leader(LossWindow(writes=1), REJECT)
    bench.send(Set(b"k", b"1"))
    error = failure(bench.send(Set(b"k", b"2")))
    assert error.code == "loss_window_full"
    assert error.details == {"namespace": "default", "bound": "writes", "limit": 1, "value": 2}
    assert "lossWindow.writes" in error.message and "'default'" in error.message
    bench.settle()
    assert bench.ask(Get(b"k")).value == b"1"
    assert bench.replica.stats.rejected["loss_window_full"] == 1
    assert bench.replica.pipeline.windows.exceeded == {("default", "writes", "reject"): 1}


def test_items_of_one_command_obey_each_for_itself() -> None:
    bench = leader(LossWindow(writes=2), REJECT)
    items = tuple(Set(key, b"1") for key in (b"a", b"other:b", b"c", b"d", b"other:e"))
    (answer,) = bench.send(MultiSet(items))
    assert isinstance(answer, Many)
    kinds = [item.ack if isinstance(item, Written) else item.code for item in answer.items]  # type: ignore[union-attr]
    assert kinds == [P, P, P, "loss_window_full", P]


# -- wait --------------------------------------------------------------------------------------------


def test_a_held_write_is_executed_when_there_is_room_in_order() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = [bench.send(Set(b"k", b"%d" % i)) for i in (1, 2, 3)]
    assert held == [[], [], []] and bench.replica.held.count == 3
    assert bench.replica.keyspace.get(b"k").value == b"0"  # type: ignore[union-attr]
    order = []
    for _ in range(12):
        bench.runtime.turn()
        bench.group.commit()
        bench.runtime.turn()
        order.append([len(each) for each in held])
    assert [1, 0, 0] in order and [1, 1, 0] in order and order[-1] == [1, 1, 1]
    assert [level(each) for each in held] == [P, P, P]
    assert bench.ask(Get(b"k")).value == b"3"
    assert bench.replica.held.count == bench.replica.held.size_bytes == 0


def test_a_held_write_counts_as_memory_until_it_goes() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    before = bench.budget.used_bytes
    bench.send(Set(b"k", b"x" * 100))
    assert bench.budget.used_bytes == before + size(b"k", b"x" * 100)
    bench.group.lose()
    assert bench.budget.used_bytes < before


def test_all_later_writes_of_the_namespace_queue_behind_and_others_do_not() -> None:
    bench = leader(LossWindow(bytes=2 * size(b"k", b"123")), WAIT)
    bench.send(Set(b"k", b"123"))
    first = bench.send(Set(b"k", b"123456"))
    small = bench.send(Set(b"k", b"1"))
    large = bench.send(Set(b"k", b"x" * 200))
    quorum = bench.send(Set(b"k", b"9", ack=Q))
    assert level(bench.send(Set(b"other:k", b"1"))) == P
    assert bench.send(Get(b"k"))[0].value == b"123"  # type: ignore[union-attr]
    assert [first, small, large, quorum] == [[], [], [], []]
    bench.runtime.turn()
    bench.group.commit()
    bench.runtime.turn()
    assert level(first) == P
    bench.settle()
    assert [level(each) for each in (small, large, quorum)] == [P, Q, Q]
    assert bench.ask(Get(b"k")).value == b"9"


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (Delete(b"k"), None),
        (Incr(b"k", 6), b"7"),
        (Expire(b"k", 1), None),
        (Set(b"k", b"9", if_absent=True), b"1"),
        (Delete(b"k", ack=Q), None),
    ],
    ids=str,
)
def test_a_command_that_would_find_nothing_to_do_waits_its_turn_as_well(command: Command, left: bytes | None) -> None:
    """It would find something once those before it are executed."""
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"other-key", b"0"))
    first = bench.send(Set(b"k", b"1"))
    second = bench.send(command)
    assert first == second == []
    bench.settle()
    bench.runtime.advance(0.1)
    bench.settle()
    assert level(first) == P and len(second) == 1
    assert bench.ask(Get(b"k")).value == left


def test_a_persist_waits_its_turn() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    bench.send(Set(b"k", b"1", ttl_ms=5000))
    persisted = bench.send(Persist(b"k"))
    bench.settle()
    assert persisted[0].written  # type: ignore[union-attr]


def test_a_busy_namespace_does_not_keep_the_held_of_another_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clients send on as soon as they are answered, and it always has room."""
    monkeypatch.setattr(held_module, "RESUMED_PER_TURN", 3)
    bench = Bench(policies=spaces(LossWindow(writes=20), WAIT)).lead()

    def again(_reply: Reply) -> None:
        bench.runtime.call_soon(lambda: bench.replica.submit(Set(b"k", b"1"), again))

    for _ in range(20):
        bench.send(Set(b"k", b"0"))
        bench.send(Set(b"other:k", b"0"))
    for _ in range(9):
        bench.replica.submit(Set(b"k", b"1"), again)
    held = bench.send(Set(b"other:k", b"1"))
    for _ in range(10):
        bench.runtime.turn()
        bench.group.commit()
    assert level(held) == P
    assert bench.replica.held.count >= 3, "the busy one was busy all the time"


def keyed(key: bytes, idempotency: bytes) -> Set:
    return Set(key, b"1", idempotency=idempotency)


def one_executed_and_its_repeat_held() -> tuple[Bench, list[Reply]]:
    """Two with the same idempotency key are held, with another one between them; the first is executed."""
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    deadline_s = bench.runtime.now_s + 1.0
    first, _, repeat = (bench.send(keyed(*each), deadline_s) for each in ((b"a", b"i"), (b"b", b"j"), (b"a", b"i")))
    bench.runtime.turn()
    bench.group.commit()
    bench.runtime.turn()
    assert level(first) == P and repeat == []
    return bench, repeat


def test_a_held_repeat_of_what_was_executed_is_not_given_up_as_if_nothing_had_been() -> None:
    bench, repeat = one_executed_and_its_repeat_held()
    bench.runtime.advance(1.0)
    assert level(repeat) == P
    assert bench.replica.held.count == 0


def test_a_held_repeat_of_what_was_executed_is_of_unknown_outcome_where_leadership_is_lost() -> None:
    bench, repeat = one_executed_and_its_repeat_held()
    never = bench.send(keyed(b"c", b"never"))
    bench.group.lose()
    assert failure(repeat).code == "outcome_unknown"
    assert failure(never).code == "not_leader"


def test_a_held_write_is_given_up_before_its_deadline_and_never_executed() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    start = bench.runtime.now_s
    bench.send(Set(b"k", b"0"))
    short = bench.send(Set(b"k", b"1"), start + 1.0)
    long = bench.send(Set(b"k", b"2"), start + 2.0)
    bench.runtime.advance(0.88)
    assert short == []
    bench.runtime.advance(0.06)
    error = failure(short)
    assert error.code == "loss_window_full" and error.details["bound"] == "writes" and "held" in error.message
    assert long == [] and bench.replica.held.count == 1
    bench.settle()
    assert level(long) == P
    assert bench.ask(Get(b"k")).value == b"2"
    assert bench.replica.pipeline.windows.exceeded["default", "writes", "gave_up"] == 1


def test_a_process_that_was_stopped_gives_up_before_it_goes_on() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    bench.runtime.turn()
    late = bench.send(Set(b"k", b"1"), bench.runtime.now_s + 1.0)
    bench.runtime.now_s += 30
    bench.group.commit()
    bench.settle()
    assert failure(late).code == "loss_window_full"
    assert bench.ask(Get(b"k")).value == b"0"


def test_losing_leadership_answers_the_held_as_never_executed() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = [bench.send(Set(b"k", b"1")), bench.send(Set(b"k", b"2", ack=Q))]
    bench.runtime.turn()
    bench.group.lose(new_leader="n1")
    assert [failure(each).code for each in held] == ["not_leader", "not_leader"]
    assert bench.replica.held.count == 0 == bench.budget.used_bytes
    bench.group.truncate(bench.group.applied)
    assert level(bench.lead().send(Set(b"k", b"3"))) == P


def test_a_leader_that_no_quorum_confirms_executes_nothing_that_it_held() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = bench.send(Set(b"k", b"1"))
    bench.runtime.turn()
    bench.group.confirmed = False
    bench.group.commit()
    bench.runtime.turn()
    assert failure(held).code == "not_leader"


def test_held_commands_are_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "HELD_COMMANDS_LIMIT", 2)
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = [bench.send(Set(b"k", b"1")) for _ in range(2)]
    assert failure(bench.send(Set(b"k", b"1"))).code == "overloaded"
    assert bench.replica.stats.overloaded == {"held commands": 1}
    bench.settle()
    assert [level(each) for each in held] == [P, P]
    monkeypatch.setattr(held_module, "HELD_BYTES_LIMIT", size(b"k", b"123") - 1)
    bench.send(Set(b"k", b"0"))
    assert failure(bench.send(Set(b"k", b"123"))).code == "overloaded"
    assert bench.send(Set(b"k", b"12")) == []


def test_a_turn_executes_a_bounded_number_of_held_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "RESUMED_PER_TURN", 3)
    bench = leader(LossWindow(writes=7), WAIT)
    for _ in range(7):
        bench.send(Set(b"k", b"0"))
    held = [bench.send(Set(b"k", b"1")) for _ in range(7)]
    bench.runtime.turn()
    bench.group.commit()
    counts = []
    for _ in range(4):
        bench.runtime.turn()
        counts.append(sum(map(len, held)))
    assert counts == [3, 6, 7, 7]


def test_a_held_item_holds_the_answer_of_its_command_and_nothing_else() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    replies = bench.send(MultiSet((Set(b"a", b"1"), Set(b"a", b"2"), Set(b"other:b", b"3"))))
    assert replies == []
    assert bench.replica.keyspace.get(b"other:b") is not None
    assert bench.replica.keyspace.get(b"a").value == b"1"  # type: ignore[union-attr]
    bench.settle()
    (answer,) = replies
    assert isinstance(answer, Many)
    assert [item.ack for item in answer.items] == [P, P, P]  # type: ignore[union-attr]
    assert bench.ask(Get(b"a")).value == b"2"


def test_a_wider_window_lets_the_held_go_on_once_it_is_committed() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = bench.send(Set(b"k", b"1"))
    bench.follow(spaces(LossWindow(writes=2), WAIT, epoch=2))
    bench.runtime.advance(0.03)
    assert held == []
    bench.settle()
    assert level(held) == P


def test_a_held_write_obeys_the_policy_of_the_moment_in_which_it_is_executed() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = bench.send(Set(b"k", b"1"))
    bench.follow(spaces(LossWindow(writes=1), REJECT, epoch=2))
    bench.runtime.advance(0.03)
    assert failure(held).code == "loss_window_full"
    assert bench.replica.held.count == 0


def test_a_held_write_whose_namespace_was_made_anew_goes_on_there() -> None:
    bench = leader(LossWindow(writes=1), WAIT)
    bench.send(Set(b"k", b"0"))
    held = bench.send(Set(b"k", b"1"))
    anew = Namespace("default", 9, loss_window=LossWindow(writes=1), on_exceeded=WAIT)
    bench.follow(Namespaces(2, (anew,)))
    assert level(bench.send(Set(b"k", b"2"))) == P
    second = bench.send(Set(b"k", b"3"))
    bench.settle()
    assert level(held) == level(second) == P
    assert bench.replica.held.blocked == set()


def test_a_receiver_that_sends_on_at_once_stays_behind_those_before_it() -> None:
    bench = leader(LossWindow(writes=3), WAIT)
    for _ in range(3):
        bench.send(Set(b"k", b"0"))
    follow: list[Reply] = []
    bench.replica.submit(Set(b"k", b"1"), lambda _reply: bench.replica.submit(Set(b"k", b"3"), follow.append))
    second = bench.send(Set(b"k", b"2"))
    bench.settle()
    assert level(second) == level(follow) == P
    assert bench.ask(Get(b"k")).value == b"3"


# -- the account -------------------------------------------------------------------------------------


def test_forgotten_are_only_namespaces_with_nothing_at_stake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.window.TRACKED_LIMIT", 3)
    windows = LossWindows(lambda: (0, 1), lambda: 0.0)
    batch: list = []
    window = LossWindow(writes=1)
    named = [Namespace(f"n{i}", i, loss_window=window) for i in range(9)]
    assert windows.check(named[0], 1) is None
    windows.count(windows.account(0), batch, 1, 0.0)
    assert all(windows.check(namespace, 1) is None for namespace in named[1:])
    assert len(list(windows.in_use())) <= 3
    assert windows.check(named[0], 1) is not None


def test_rows_of_what_was_exceeded_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcache.shard.window.EXCEEDED_LIMIT", 2)
    windows = LossWindows(lambda: (0, 1), lambda: 0.0)
    for name in ("a", "b", "c", "d", "a"):
        windows.note(name, "ms", "reject")
    assert windows.exceeded == {("a", "ms", "reject"): 2, ("b", "ms", "reject"): 1, ("", "ms", "reject"): 2}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 120)),
        st.tuples(st.just("delete"), st.just(0)),
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("commit"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.integers(1, 200)),
        st.tuples(st.just("lose"), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.sampled_from(OnExceeded),
    st.integers(1, 5) | st.none(),
    st.integers(50, 500) | st.none(),
    st.integers(1, 300) | st.none(),
)
def test_whenever_it_ends_no_more_is_lost_than_the_window(
    steps: list[tuple[str, int]], then: OnExceeded, writes: int | None, max_bytes: int | None, ms: int | None
) -> None:
    bench = leader(LossWindow(ms, writes, max_bytes), then)
    told: list[tuple[int, int, float]] = []
    for step, argument in steps:
        if step in ("set", "delete"):
            value = b"x" * argument
            command = Set(b"k", value) if step == "set" else Delete(b"k")

            def answered(reply: Reply, size_bytes: int = size(b"k", value)) -> None:
                if isinstance(reply, Written) and reply.written and reply.ack == P:
                    told.append((reply.version.seq, size_bytes, bench.runtime.now_s))

            bench.replica.submit(command, answered, bench.runtime.now_s + 5)
        elif step == "turn":
            bench.runtime.turn()
        elif step == "commit":
            bench.group.commit(min(len(bench.group.log), bench.group.applied + argument))
        elif step == "wait":
            bench.runtime.advance(argument / 1000)
        else:
            bench.group.lose()
            bench.group.truncate(bench.group.applied)
            told.clear()
            bench.lead()
        committed = bench.replica.history.seq
        lost = [each for each in told if each[0] > committed]
        assert writes is None or len(lost) <= writes
        assert max_bytes is None or sum(each[1] for each in lost) <= max_bytes
        assert ms is None or not lost or lost[-1][2] - lost[0][2] <= ms / 1000 + 1e-9
    bench.group.lose()
    assert bench.budget.used_bytes == bench.replica.keyspace.used_bytes
    assert bench.replica.held.count == 0
