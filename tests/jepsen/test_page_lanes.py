"""Every operation has a line of its own, and there are no more lines than are needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jepsen_like.history import Header, History, Kind, Operation
from jepsen_like.page.figures import given_up_ms
from jepsen_like.page.lanes import lanes

from .made_up import event


def operations(*asked: tuple[int, float, float | None, Kind]) -> list[Operation]:
    """Of process, when it asked, when it was done, or None, and how."""
    events = []
    for process, began_ms, ended_ms, kind in asked:
        events.append(event("invoke", process, "read", began_ms))
        if ended_ms is not None:
            events.append(event(kind, process, "read", ended_ms))
    return History(Header(), events).operations()


SUCCESSORS = operations(
    (0, 0.0, 5.0, "info"), (1, 0.0, 2.0, "ok"), (1, 3.0, 4.0, "ok"), (2, 5.0, 6.0, "ok"), (3, 6.0, None, "info")
)


def test_a_few_processes_have_a_lane_each_by_their_number() -> None:
    taken = lanes(list(reversed(SUCCESSORS)))
    assert taken.processes == [[0], [1], [2], [3]]
    assert not taken.shared


def test_of_many_processes_those_that_succeed_each_other_share_a_lane() -> None:
    taken = lanes(SUCCESSORS, each_its_own=3)
    assert taken.processes == [[0, 2, 3], [1]]
    assert taken.shared
    assert taken.places() == {0: 0, 2: 0, 3: 0, 1: 1}


def test_a_process_that_was_never_answered_gives_its_lane_to_nobody() -> None:
    assert lanes(operations((0, 0.0, None, "info"), (1, 9.0, 10.0, "ok")), each_its_own=0).processes == [[0], [1]]


def test_a_process_between_two_operations_keeps_its_lane() -> None:
    asked = operations((0, 0.0, 1.0, "ok"), (1, 2.0, 3.0, "ok"), (0, 4.0, 5.0, "ok"))
    assert lanes(asked, each_its_own=0).processes == [[0], [1]]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_lanes_are_as_many_as_processes_at_work_at_once_and_none_is_taken_twice(spans: list[tuple[int, int]]) -> None:
    asked = operations(*((process, began, began + took, "ok") for process, (began, took) in enumerate(spans)))
    taken = lanes(asked, each_its_own=0)
    for processes in taken.processes:
        ends = [given_up_ms(asked[process]) for process in processes]
        assert all(end <= asked[later].began_ms for end, later in zip(ends, processes[1:], strict=False))
    at_once = (sum(began <= now < began + took for began, took in spans) for now in range(71))
    assert len(taken.processes) == max(at_once, default=0)
    assert sorted(taken.places()) == list(range(len(spans)))
