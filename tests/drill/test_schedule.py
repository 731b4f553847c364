"""When whom is killed: the same seed, the same strikes; and what a strike hits when not all run."""

from __future__ import annotations

import pytest

from jepsen_like.schedule import DELAY_S, HURRY_S, Kind, Strike, schedule, victims

NODES = ("n0", "n1", "n2")
GROUPS, REST_EVERY = 5, 20


def strikes(seed: int, count: int = 400) -> list[Strike]:
    return schedule(seed, count, NODES, GROUPS, REST_EVERY)


def strike(kind: Kind) -> Strike:
    return Strike(kind, ("n2", "n0", "n1"), 0, 0.0, False)


def test_a_seed_repeats_its_schedule() -> None:
    assert strikes(7) == strikes(7)
    assert strikes(7) != strikes(8)


def test_a_longer_schedule_begins_as_the_shorter_one() -> None:
    assert strikes(7, 400)[:50] == strikes(7, 50)


def test_every_kind_comes_and_every_node_and_every_group_are_hit() -> None:
    drawn = strikes(1)
    assert {each.kind for each in drawn} == set(Kind)
    assert {each.nodes[0] for each in drawn} == set(NODES)
    assert {each.group for each in drawn} == set(range(GROUPS))
    assert all(sorted(each.nodes) == sorted(NODES) for each in drawn)


def test_some_strikes_do_not_wait_for_service_but_those_behind_a_rest_do() -> None:
    drawn = strikes(1)
    assert any(each.hurried for each in drawn)
    assert not any(each.hurried for each in drawn[::REST_EVERY])
    for each in drawn:
        least, most = HURRY_S if each.hurried else DELAY_S
        assert least <= each.delay_s <= most


@pytest.mark.parametrize(
    ("kind", "hit"),
    [(Kind.NODE, ("n2",)), (Kind.LEADER, ("n1",)), (Kind.TWO, ("n2", "n0")), (Kind.ALL, ("n2", "n0", "n1"))],
)
def test_a_strike_hits_as_many_as_it_says(kind: Kind, hit: tuple[str, ...]) -> None:
    assert victims(strike(kind), NODES, "n1") == hit


@pytest.mark.parametrize(
    ("kind", "hit"),
    [(Kind.NODE, ("n0",)), (Kind.LEADER, ("n0",)), (Kind.TWO, ("n0", "n1")), (Kind.ALL, ("n0", "n1"))],
)
def test_where_a_node_is_down_the_next_is_hit_in_its_place(kind: Kind, hit: tuple[str, ...]) -> None:
    assert victims(strike(kind), ("n0", "n1"), "n2") == hit


@pytest.mark.parametrize("kind", Kind)
def test_nobody_is_hit_where_nobody_runs(kind: Kind) -> None:
    assert victims(strike(kind), (), "n1") == ()
