"""What the supervisor decides, with processes and a clock that are only numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.supervisor.state import FORGIVEN_AFTER_MS, RESTART_MAX_MS, Supervision

ALL = {"n0": True, "n1": True, "n2": True}


def started(now: float = 0.0) -> Supervision:
    """Three nodes, started at `now` as processes 10, 11, 12."""
    state = Supervision(("n0", "n1", "n2"))
    for pid, node_id in enumerate(state.due(now), start=10):
        state.started(node_id, pid, now)
    return state


def test_all_nodes_are_due_at_first_and_then_none() -> None:
    state = started()
    assert state.pids == {"n0": 10, "n1": 11, "n2": 12}
    assert state.due(1e9) == []
    assert state.next_due() is None


def test_a_node_that_lived_long_starts_again_at_once() -> None:
    state = started()
    assert state.exited("n1", 10.0) == 0
    assert state.pids["n1"] is None
    assert state.due(10.0) == ["n1"]


def test_a_node_that_dies_at_once_waits_longer_each_time() -> None:
    state, now, delays = started(), 0.0, []
    for _ in range(10):
        delays.append(state.exited("n1", now))
        assert state.next_due() == now + delays[-1] / 1000
        now += delays[-1] / 1000
        assert state.due(now - 0.001) == []
        assert state.due(now) == ["n1"]
        state.started("n1", 99, now)
    assert delays == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]


def test_a_long_life_resets_the_delay() -> None:
    state = started()
    for _ in range(5):
        state.exited("n1", 1.0)
        state.started("n1", 99, 1.0)
    assert state.exited("n1", 1.0 + FORGIVEN_AFTER_MS / 1000) == 0
    state.started("n1", 99, 20.0)
    assert state.exited("n1", 20.0) == 50


def test_nodes_do_not_share_a_delay() -> None:
    state = started()
    state.exited("n1", 1.0)
    state.started("n1", 99, 1.1)
    assert state.exited("n0", 1.2) == 50
    assert state.due(1.25) == ["n0"]


def test_ready_once_every_node_was_seen_to_serve() -> None:
    state = started(5.0)
    assert not state.observed({**ALL, "n2": False}, 6.0)
    assert not state.observed({"n0": True, "n1": True}, 6.0)
    assert not state.ready
    assert state.observed(ALL, 6.0)
    assert state.ready
    assert not state.observed(ALL, 7.0), "it becomes ready once, not again and again"


def test_a_probe_from_before_a_start_does_not_count() -> None:
    """A node may die and be started again while an answer of its earlier life is still on its way."""
    state = started(5.0)
    assert not state.observed(ALL, 4.9)
    assert state.observed(ALL, 5.0)
    state.exited("n1", 6.0)
    assert not state.ready
    state.started("n1", 99, 6.1)
    assert not state.observed(ALL, 6.05)
    assert state.observed(ALL, 6.2)


def test_a_node_without_a_process_is_not_ready_whatever_was_seen() -> None:
    state = started()
    state.exited("n1", 1.0)
    assert not state.observed(ALL, 2.0)


def test_a_silent_node_changes_nothing() -> None:
    """A paused node answers nothing, has not died, and is not started again; nor does ready end."""
    state = started()
    state.observed(ALL, 1.0)
    assert not state.observed({**ALL, "n1": False}, 2.0)
    assert state.ready
    assert state.due(100.0) == []


@given(st.lists(st.tuples(st.sampled_from(["n0", "n1", "n2"]), st.floats(0.0, 20.0)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_whatever_dies_comes_back_within_the_longest_delay(deaths: list[tuple[str, float]]) -> None:
    state, now = started(), 0.0
    for node_id, later in deaths:
        now += later
        state.exited(node_id, now)
        now += RESTART_MAX_MS / 1000
        assert state.due(now) == [node_id]
        state.started(node_id, 77, now)
    assert state.observed(ALL, now)
