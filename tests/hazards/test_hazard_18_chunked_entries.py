"""Hazard 18: the end of an entry that is sent in pieces.

PYSYNCOBJ 1276-1284 cuts a large entry's *pickle* into pieces and calls the one "finish" that reaches the length
of the *command*, which is shorter. Where a piece begins between the two lengths there are two finishes, and the
follower takes the first for the whole: loading half a pickle raises, out of its tick.

Expected: no entry is ever cut. What may be proposed is bounded below what one append carries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raftcache.consensus.settings import ENTRY_LIMIT_BYTES, ConsensusSettings
from raftcache.errors import Overloaded

from .stock import StockLab

PIECE = 1000


def test_stock_takes_half_an_entry_for_the_whole(stock: Callable[..., StockLab]) -> None:
    lab = stock(appendEntriesBatchSizeBytes=PIECE)
    lab.elect("n0")
    lab.propose("n0", b"x" * 500)
    lab.run(0.5)
    overhead = len(lab.nodes["n0"].private("raftLog")[-1][0]) - 500
    pieces: list[str] = []
    lab.watch = lambda source, target, message: (
        pieces.append(message["transmission"]) if target == "n1" and "transmission" in message else None
    )
    lab.propose("n0", b"x" * (2 * PIECE - overhead))
    lab.run(0.15)
    assert pieces == ["start", "finish", "finish"]
    assert [type(error) for error in lab.errors["n1"]] == [EOFError]


def test_guarded_the_bounds_leave_no_room_for_pieces() -> None:
    assert ConsensusSettings().append_limit_bytes > ENTRY_LIMIT_BYTES + 1


def test_guarded_delivers_the_largest_entry_and_refuses_a_larger(guarded: Callable[..., Any]) -> None:
    lab = guarded()
    lab.elect("n0")
    largest = bytes(ENTRY_LIMIT_BYTES)
    lab.propose("n0", largest)
    lab.propose("n0", b"behind it")
    assert lab.run_until(lambda: len(lab.state("n2")) == 2, 2)
    assert lab.state("n1") == lab.state("n2") == [largest, b"behind it"]
    with pytest.raises(Overloaded, match=str(ENTRY_LIMIT_BYTES)):
        lab.group("n0").propose(largest + b"x")
