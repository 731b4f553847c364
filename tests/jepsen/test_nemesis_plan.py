"""Which fault, on whom, when: drawn from a seed, aimed at the moment."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen_like.nemeses.majority import MAJORITY_HEALED
from jepsen_like.nemeses.plan import (
    ANY,
    FOLLOWER,
    LEADER,
    METADATA_LEADER,
    Planned,
    Spec,
    aim,
    group_of,
    plan,
    spared,
)
from jepsen_like.nemeses.table import ALL_TARGETS, NEMESES, parse_nemeses

NODES = ["n0", "n1", "n2"]
LEADERS = {"s1": "n1", "s2": "n2", "meta": "n0"}
REPLICAS = dict.fromkeys(LEADERS, NODES)


def planned(target: str, group: int = 0, order: tuple[str, ...] = ("n1", "n0", "n2")) -> Planned:
    return Planned("kill", target, order, group, 0.0, 1.0, 0)


def test_a_seed_repeats_its_plan_and_another_makes_another() -> None:
    specs = parse_nemeses("kill,partition-leader,slow")
    one, again, other = (plan(seed, specs, NODES, 5, 120.0) for seed in (7, 7, 8))
    assert one == again != other and len(one) > 10


@given(st.integers(0, 10_000), st.lists(st.sampled_from(sorted(NEMESES)), min_size=1, max_size=4, unique=True))
@settings(max_examples=100, deadline=None)
def test_faults_of_one_name_never_overlap_and_all_end_before_the_run(seed: int, names: list[str]) -> None:
    found = plan(seed, parse_nemeses(",".join(names)), NODES, 3, 200.0)
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)
    for name in names:
        mine = [each for each in found if each.name == name]
        assert mine and all(one.at_s + one.hold_s < other.at_s for one, other in pairwise(mine))
        assert all(each.at_s >= 20 and each.at_s + each.hold_s <= 180.0001 for each in mine)
        assert all(each.target in NEMESES[name].targets for each in mine)
        assert all(sorted(each.order) == NODES and 0 <= each.group < 3 for each in mine)


def test_over_many_faults_every_target_every_node_and_every_group_is_chosen() -> None:
    found = plan(1, [Spec("kill", ALL_TARGETS)], NODES, 3, 3000.0)
    assert {each.target for each in found} == set(ALL_TARGETS)
    assert {each.order[0] for each in found} == set(NODES) and {each.group for each in found} == {0, 1, 2}


def test_a_majority_is_healed_for_long_enough_to_be_judged() -> None:
    found = plan(1, parse_nemeses(MAJORITY_HEALED), NODES, 3, 500.0)
    assert found and all(each.hold_s >= 8 for each in found[:-1])


@pytest.mark.parametrize(
    ("target", "group", "first"),
    [
        (ANY, 0, "n1"),
        (LEADER, 0, "n1"),
        (LEADER, 1, "n2"),
        (LEADER, 4, "n2"),
        (FOLLOWER, 0, "n0"),
        (FOLLOWER, 1, "n1"),
        (METADATA_LEADER, 1, "n0"),
    ],
)
def test_the_one_aimed_at_comes_first(target: str, group: int, first: str) -> None:
    order = aim(planned(target, group), LEADERS, REPLICAS)
    assert order[0] == first and sorted(order) == NODES


def test_a_follower_holds_the_group() -> None:
    replicas = {**REPLICAS, "s1": ["n1", "n2"]}
    assert aim(planned(FOLLOWER), LEADERS, replicas)[0] == "n2"


def test_where_nobody_leads_any_node_is_as_good() -> None:
    for target in ALL_TARGETS:
        assert aim(planned(target), {"s1": None, "meta": None}, {})[0] == "n1"
        assert aim(planned(target), {}, {})[0] == "n1"


def test_the_group_is_that_of_the_target() -> None:
    assert group_of(planned(LEADER, 1), LEADERS) == "s2"
    assert group_of(planned(METADATA_LEADER, 1), LEADERS) == "meta" == group_of(planned(LEADER, 1), {})


def test_names_are_read_with_their_targets() -> None:
    assert parse_nemeses("kill:follower, pause") == [Spec("kill", (FOLLOWER,)), Spec("pause", ALL_TARGETS)]
    assert parse_nemeses("") == []


@pytest.mark.parametrize(
    ("text", "complaint"), [("kil", "no nemesis 'kil'; there are kill,"), ("kill:all", "no target 'all'")]
)
def test_names_that_there_are_not_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_nemeses(text)


def test_every_group_keeps_its_majority_without_the_rest() -> None:
    five = ["n0", "n1", "n2", "n3", "n4"]
    assert spared(NODES, REPLICAS) == (["n1", "n2"], ["n0"])
    assert spared(five, {"meta": five}) == (["n2", "n3", "n4"], ["n0", "n1"])
    assert spared(five, {"s1": ["n0", "n1", "n2"], "s2": ["n1", "n3", "n4"]}) == (["n1", "n2", "n4"], ["n0", "n3"])
    assert spared(["n0", "n1"], {"s1": ["n0", "n1"]}) == (["n0", "n1"], [])


@given(st.permutations(["n0", "n1", "n2", "n3", "n4"]), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_no_group_loses_its_majority_whoever_is_spared(order: list[str], seed: int) -> None:
    replicas = {f"s{k}": [order[(seed + k * j) % 5] for j in range(3)] for k in (1, 2, 3)}
    majority, rest = spared(order, replicas)
    assert sorted(majority + rest) == sorted(order) and rest
    for nodes in [order, *replicas.values()]:
        assert 2 * len(set(nodes) - set(rest)) > len(nodes)
