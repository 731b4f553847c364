"""What must be seen while a disk is full: why the node cannot write, and that the others go on without it."""

from __future__ import annotations

import pytest

from jepsen_like.client import Health
from jepsen_like.disk_full import WHY, about_full

READY = Health(True, "")
STOPPED = Health(False, f"the replica of a1 cannot use its disk just now: the log cannot be written: [Errno 27] {WHY}")
SEEN: dict[str, Health | None] = {"n0": STOPPED, "n1": READY, "n2": READY}
LED = ("a1", "meta")
LEADERS = {"a1": "n1", "b2": "n2", "meta": "n2"}


def complaint(seen: dict[str, Health | None] = SEEN, leaders: dict[str, str | None] | None = None) -> str:
    """The one complaint."""
    (text,) = about_full("n0", LED, seen, LEADERS if leaders is None else leaders)
    return text


def test_a_node_that_says_why_and_others_that_lead_are_well() -> None:
    assert about_full("n0", LED, SEEN, LEADERS) == []


@pytest.mark.parametrize("said", [READY, Health(False, "no leader within reach for shard a1")])
def test_a_node_that_does_not_say_why_is_found(said: Health) -> None:
    assert "n0, whose disk is full, says" in complaint({**SEEN, "n0": said})


@pytest.mark.parametrize("node", ["n0", "n1"])
def test_a_node_that_does_not_answer_is_found(node: str) -> None:
    assert complaint({**SEEN, node: None}) == f"{node} does not answer while the disk of n0 is full"


def test_another_node_that_is_not_ready_is_found() -> None:
    assert complaint({**SEEN, "n2": STOPPED}).startswith("n2 is not ready while the disk of n0 is full: the replica")


@pytest.mark.parametrize("leader", ["n0", None])
def test_a_leader_that_stays_or_has_no_successor_is_found(leader: str | None) -> None:
    text = complaint(leaders={**LEADERS, "meta": leader})
    assert text == f"meta is led by {leader or 'nobody'} while the disk of n0 is full"


def test_a_group_that_it_did_not_lead_is_not_its_concern() -> None:
    assert about_full("n0", LED, SEEN, {**LEADERS, "b2": None}) == []
