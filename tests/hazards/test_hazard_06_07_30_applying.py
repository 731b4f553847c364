"""Hazards 6, 7 and 30: an exception on the way from "committed" to "applied".

6.  PYSYNCOBJ 708-725 applies the entry, calls those who wait for it, and only then counts it as applied. A
    callback that raises (a cancelled future does) leaves the count behind: the entry is applied again.
7.  718: an exception out of the state machine comes before the count on every replica alike, at every tick: no
    replica ever applies anything again.
30. 722: an entry that asks for a code version which this node does not have is caught, and the count is skipped
    though the loop goes on: the last entry of the turn is applied twice.

Expected: an index is counted before it is applied and offered once, whatever happens. A replica whose machine
raises is broken and stops by itself: it neither answers nor holds up the others. Versions are not used.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pysyncobj import syncobj

from raftcache.errors import NotLeader, OutcomeUnknown

from .stock import StockLab


def test_stock_06_applies_twice_when_a_callback_raises(stock: Callable[..., StockLab]) -> None:
    def cancelled(_result: Any, _reason: int) -> None:
        raise RuntimeError("the future was cancelled")

    lab = stock()
    lab.elect("n0")
    lab.nodes["n0"].put(b"once", callback=cancelled)
    lab.run(1)
    assert lab.state("n0") == [b"once", b"once"]
    assert lab.state("n1") == [b"once"], "so the replicas differ from now on"


def test_guarded_06_applies_once_when_a_waiter_raises(guarded: Callable[..., Any]) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.raise_after_apply.add(("n0", b"once"))
    lab.propose("n0", b"once")
    lab.run(5)
    assert lab.history["n0"].count(b"once") == 1
    assert lab.leads("n0") is False, "it stopped serving"
    lab.propose(lab.leader(), b"next")
    lab.run(1)
    assert lab.state("n1") == lab.state("n2") == [b"once", b"next"]


def test_guarded_06_steps_down_when_its_log_cannot_be_written(guarded: Callable[..., Any]) -> None:
    """An entry that the leader itself could not keep is never counted, nor announced to anybody."""
    lab = guarded(journal="file")
    lab.elect("n0")
    lab.fail_writes("n0")
    with pytest.raises(OutcomeUnknown):
        lab.propose("n0", b"unkept")
    assert not lab.leads("n0")
    lab.run(3)
    assert b"unkept" not in lab.acked
    assert lab.leader() in ("n1", "n2")
    assert b"unkept" not in lab.payloads(lab.leader())


def test_stock_07_a_poison_entry_stops_all_replicas_for_ever(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.poison.add(b"poison")
    lab.elect("n0")
    lab.propose_all("n0", [b"poison", b"after"])
    lab.run(10)
    assert [lab.state(name) for name in lab.names] == [[], [], []]
    assert lab.acked == []
    assert min(lab.history[name].count(b"poison") for name in lab.names) > 100, "tried again at every tick"


def test_guarded_07_a_replica_whose_machine_raises_stops_alone(guarded: Callable[..., Any]) -> None:
    """Replicas are deterministic, so nothing can go on behind an entry that all refuse (which is why effects
    are checked before they are proposed). A defect on *one* replica costs that one."""
    lab = guarded()
    lab.elect("n0")
    lab.poison.add(("n1", b"poison"))
    lab.propose_all("n0", [b"poison", b"after"])
    lab.run(2)
    assert lab.history["n1"].count(b"poison") == 1
    assert lab.state("n0") == lab.state("n2") == [b"poison", b"after"]
    assert lab.acked == [b"poison", b"after"]
    with pytest.raises(NotLeader):
        lab.group("n1").propose(b"from a broken replica")


def test_stock_30_a_refused_version_applies_its_neighbour_twice(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.nodes["n0"]._applyCommand(pickle.dumps(99), None, syncobj._COMMAND_TYPE.VERSION)
    lab.propose("n0", b"once")
    lab.run(1)
    assert [lab.state(name) for name in lab.names] == [[b"once", b"once"]] * 3


def test_guarded_30_writes_no_version_entry(guarded: Callable[..., Any]) -> None:
    """The only kinds in a log are a payload, a no-op and a membership, and a payload is opaque: one that looks
    like a version entry is delivered as it is."""
    lab = guarded(size=4, initial=3)
    lab.elect("n0")
    lab.start("n3")
    lookalike = bytes([syncobj._COMMAND_TYPE.VERSION]) + pickle.dumps(99)
    lab.propose_all("n0", [lookalike, b"once"])
    lab.group("n0").add_member(lab.member("n3"))
    lab.run(2)
    assert lab.kinds("n0") == {
        syncobj._COMMAND_TYPE.REGULAR,
        syncobj._COMMAND_TYPE.NO_OP,
        syncobj._COMMAND_TYPE.MEMBERSHIP,
    }
    assert [lab.state(name) for name in lab.names] == [[lookalike, b"once"]] * 4
