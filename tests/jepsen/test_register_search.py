"""The search against a checker that tries every order, and against histories of a real register."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jepsen_like.checkers.acts import Act, Budget, Found
from jepsen_like.checkers.deciding import decide, glance
from jepsen_like.checkers.models import OTHER, UNSEEN, Deed, Put, Register, State, Want
from jepsen_like.checkers.periods import contradict
from jepsen_like.checkers.registers import Part, partition
from jepsen_like.checkers.wgl import Search
from jepsen_like.history import Header, History, Outcome
from tests.jepsen.register_play import Play, follows, found_versions, play, spoil, tried_in_every_order

NAMES = (("read", "read", "write", "cas"), ("read", "cas", "write", "delete"), ("read", "write"), ("cas", "read"))
MANY = settings(max_examples=150, deadline=None)
PLENTY = 1_000_000

seeds = st.integers(0, 2**32)
small = st.builds(
    Play,
    operations=st.integers(1, 8),
    processes=st.integers(1, 5),
    values=st.integers(1, 3),
    unknown=st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    versions=st.just(False),
    names=st.sampled_from(NAMES),
)


def budget(configurations: int = PLENTY) -> Budget:
    return Budget(lambda: 0.0, 1.0, configurations)


def part_of(history: History) -> tuple[Part, Register]:
    (part,) = partition(history)
    assert part.model is not None
    return part, part.model


def searched(history: History, configurations: int = PLENTY, tracked: set[Any] | None = None) -> Found:
    part, model = part_of(history)
    return Search(part.acts, model, budget(configurations), tracked).run()


def spoiled(rng: random.Random, how: Play) -> History:
    history = play(rng, how)
    for _ in range(rng.randint(1, 3)):
        history = spoil(rng, history, how.values)
    return history


# -- right and wrong ---------------------------------------------------------------------------------


@MANY
@given(seeds, small, st.booleans())
def test_what_a_register_did_is_linearizable(seed: int, how: Play, versions: bool) -> None:
    history = play(random.Random(seed), how._replace(operations=40, versions=versions))
    assert searched(history).linearizable is True


@MANY
@given(seeds, small)
def test_the_search_agrees_with_trying_every_order(seed: int, how: Play) -> None:
    history = spoiled(random.Random(seed), how)
    assert searched(history).linearizable is tried_in_every_order(history)


@MANY
@given(seeds, small)
def test_it_agrees_on_histories_with_versions(seed: int, how: Play) -> None:
    """Except that a version of which no read tells the value may be that of any unknown write."""
    history = spoiled(random.Random(seed), how._replace(operations=min(how.operations, 6), versions=True))
    seen = {each.completed.version for each in history.operations() if each.completed and each.invoked.name == "read"}
    right = tried_in_every_order(history)
    found = searched(history).linearizable
    assert found is right or (found and found_versions(history) > seen & found_versions(history))


@MANY
@given(seeds, small)
def test_the_order_that_it_shows_explains_the_answers(seed: int, how: Play) -> None:
    """A linearization is a certificate; and so is the part of one, up to where it got stuck."""
    history = spoiled(random.Random(seed), how._replace(operations=30))
    found = searched(history)
    assert follows(history, found.longest)
    answered = {act.number for act in part_of(history)[0].acts if act.returned is not None}
    assert (answered <= set(found.longest)) is found.linearizable
    assert bool(found.stuck) is not found.linearizable and answered >= set(found.stuck) - set(found.longest)


# -- short cuts --------------------------------------------------------------------------------------


@MANY
@given(seeds, small, st.booleans())
def test_no_short_cut_denies_what_is_linearizable(seed: int, how: Play, versions: bool) -> None:
    history = spoiled(random.Random(seed), how._replace(operations=20, versions=versions))
    part, model = part_of(history)
    right = searched(history).linearizable
    assert not (right and contradict(part.plain, model))
    assert searched(history, tracked=set()).linearizable or not right
    unsure = Found(None, [], [])
    assert decide(part.acts, model, budget(), unsure).linearizable is right


@MANY
@given(seeds, st.integers(2, 14), st.integers(1, 6))
def test_periods_decide_where_every_version_is_known(seed: int, operations: int, processes: int) -> None:
    """Reads of nothing aside, since that has no version."""
    how = Play(operations, processes, values=2, unknown=0.0, versions=True, names=("read", "read", "write"))
    spans = [(each.invoked, each.completed) for each in spoiled(random.Random(seed), how).operations()]
    events = [event for invoked, told in spans if told and told.version for event in (invoked, told)]
    assume(events)
    part, model = part_of(History(Header(), sorted(events, key=lambda event: event.time_ms)))
    assert contradict(part.plain, model) is not Search(part.acts, model, budget()).run().linearizable


@pytest.mark.parametrize("write_of_3", [(3, 9, 10, 11), (3, 4, 5, 6)], ids=["late", "early"])
def test_a_cas_joins_what_it_found_and_what_it_set(write_of_3: tuple[int, int, int, int]) -> None:
    """1 is written, a long `cas` makes it 2, and 2 is read at 7. A 3 comes after the 1, so it must come after the 2."""
    early = write_of_3[1] < 7
    begin, end, read_begin, read_end = write_of_3
    deeds = [
        Deed(None, Put(b"1")),
        Deed(Want(b"1"), Put(b"2")),
        Deed(Want(b"2")),
        Deed(None, Put(b"3")),
        Deed(Want(b"3")),
    ]
    spans = [(0, 1), (2, 20), (7, 8), (begin, end), (read_begin, read_end)]
    model = Register([(deed, True) for deed in deeds])
    acts = [Act(number, *spans[number], deed) for number, deed in enumerate(model.deeds)]
    assert contradict(acts, model) is early
    assert Search(acts, model, budget()).run().linearizable is not early


def test_acts_that_were_used_too_often_are_tracked() -> None:
    """The 1 of one unknown write is read twice, with a 2 between: untracked it can be, and really it cannot."""
    one, two, sees_one = Deed(None, Put(b"1")), Deed(None, Put(b"2")), Deed(Want(b"1"))
    deeds = [(one, False), (sees_one, True), (two, True), (sees_one, True)]
    model = Register(deeds)
    acts = [Act(n, 2 * n, 2 * n + 1 if known else None, model.deeds[n]) for n, (_, known) in enumerate(deeds)]
    untracked = Search(acts, model, budget(), set())
    assert untracked.run().linearizable is True and untracked.overused() == {one}
    assert Search(acts, model, budget(), {one}).run().linearizable is False
    assert decide(acts, model, budget(), Found(None, [0, 1, 2], [3])) == Found(False, [0, 1, 2], [3])
    late = [acts[0], *acts[1:], Act(4, 2, None, one)]
    assert decide(late, model, budget(), Found(None, [], [])).linearizable is True


def test_what_nobody_asks_for_is_alike() -> None:
    reads_one = Deed(Want(b"1", "v1.1.1"))
    deeds = [
        Deed(None, Put(b"1", "v1.1.1")),
        Deed(None, Put(b"7", "v1.1.2")),
        Deed(None, Put(b"8", "v1.1.3")),
        reads_one,
    ]
    model = Register([(deed, True) for deed in deeds])
    assert model.deeds == [deeds[0], Deed(None, Put(OTHER, UNSEEN)), Deed(None, Put(OTHER, UNSEEN)), reads_one]
    assert model.step(State(OTHER, UNSEEN), reads_one) is None


# -- scale: in configurations, whatever the machine ----------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        Play(1500, processes=5, values=5, unknown=0.0),
        Play(1500, processes=5, values=5, unknown=0.02),
        Play(1500, processes=5, values=5, unknown=0.4),
        Play(1500, processes=5, values=1000, unknown=0.2),
        Play(1500, processes=10, values=50, unknown=0.05),
        Play(1500, processes=30, values=10, unknown=0.1, versions=True),
    ],
    ids=["all known", "few unknown", "many unknown", "unique values", "ten processes", "thirty, versions"],
)
def test_long_histories_take_a_few_configurations_an_operation(how: Play) -> None:
    rng = random.Random(7)
    history = play(rng, how)
    assert sum(each.outcome is Outcome.UNKNOWN for each in history.operations()) >= how.unknown * 500
    assert searched(history, configurations=5 * how.operations).linearizable is True
    for _ in range(3):
        part, model = part_of(spoil(rng, history, how.values))
        found = glance(part.plain, part.acts, model, budget())
        assert (
            found.linearizable is not None or decide(part.acts, model, budget(50_000), found).linearizable is not None
        )


def test_unknown_operations_that_nobody_needs_cost_nothing() -> None:
    """Three hundred writes without an answer, under way together: 2^300 subsets, and none is looked at."""
    deeds = [(Deed(None, Put(str(value).encode())), False) for value in range(300)]
    deeds += [(Deed(None, Put(b"here")), True), (Deed(Want(b"here")), True)] * 20
    model = Register(deeds)
    acts = [
        Act(n, n if not known else 2 * n, 2 * n + 1 if known else None, model.deeds[n])
        for n, (_, known) in enumerate(deeds)
    ]
    assert Search(acts, model, budget(100)).run().linearizable is True
    wrong = [*acts[:-1], acts[-1]._replace(what=Deed(Want(b"gone")))]
    assert Search(wrong, model, budget(100)).run().linearizable is False


def test_a_search_stops_at_its_budget() -> None:
    history = play(random.Random(1), Play(300))
    assert searched(history, configurations=50).linearizable is None
    part, model = part_of(history)
    assert Search(part.acts, model, Budget(lambda: 2.0, 1.0, PLENTY)).run().linearizable in (None, True)
    many = play(random.Random(1), Play(3000))
    part, model = part_of(many)
    assert Search(part.acts, model, Budget(lambda: 2.0, 1.0, PLENTY)).run().linearizable is None
