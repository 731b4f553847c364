"""Drops: what of before is read after, and what may be."""

from __future__ import annotations

import pytest

from jepsen_like.checkers.invalidation import Invalidations
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes

K = "q:k"


def check(story: Story) -> Verdict:
    return Invalidations().check(story.history())


def dropped(story: Story, at: tuple[float, float], tag: str | None = None, kind: str | None = "ok") -> Story:
    return story.did("invalidate", "q", tag, at=at, kind=kind)  # type: ignore[arg-type]


def written(*tags: str) -> Story:
    return Story().write(K, 1, (100, 200), "va.1.1", tags=list(tags))


@pytest.mark.parametrize("level", ["linearizable", "committed", "latest"])
@pytest.mark.parametrize("tag", [None, "red"])
def test_nothing_of_before_is_read_after(level: str, tag: str | None) -> None:
    story = dropped(written("red"), (300, 400), tag).read(K, 1, (401, 500), "va.1.1", level)
    assert fails(check(story), "q:k was read as va.1.1 though")


def test_what_may_be_read() -> None:
    before = dropped(written("red"), (300, 400)).read(K, 1, (350, 500), "va.1.1")
    assert passes(check(before)), "the read began before the answer"
    other = dropped(dropped(written("red"), (300, 400), "blue"), (900, 950)).read(K, 1, (401, 500), "va.1.1")
    assert passes(check(other)), "another tag"
    newer = dropped(written("red"), (300, 400)).write(K, 2, (350, 500), "va.1.5").read(K, 2, (600, 700), "va.1.5")
    assert passes(check(newer)), "it was written while the drop was under way"
    replica = dropped(written(), (300, 400)).read(K, None, (390, 395)).read(K, 1, (401, 500), "va.1.1", "replica")
    assert passes(check(replica))


@pytest.mark.parametrize("kind", ["info", "fail", None])
def test_a_drop_without_an_answer_promises_nothing(kind: str | None) -> None:
    assert is_open(check(dropped(written(), (300, 400), kind=kind).read(K, 1, (401, 500), "va.1.1")))


def test_another_namespace_is_not_concerned() -> None:
    story = Story().write("r:k", 1, (100, 200), "va.1.1").read("r:k", 1, (401, 500), "va.1.1")
    assert is_open(check(dropped(story, (300, 400))))
