"""Hazards 19, 20 and 21: taking a snapshot. We replace the serializer altogether (`consensus.snapshots`, `wal`).

19. PYSYNCOBJ 1267-1331: while a dump is being written there is nothing to send to a follower that needs it, and
    the sending loop, which stops when all is sent or `appendEntriesPeriod` is over, sends empty fillers until
    that is over: 100 ms of every heartbeat, for each laggard.
20. serializer.py 86-119: without a fork the whole state is pickled and compressed inside one tick; the log behind
    it keeps two entries, so that a follower three entries behind is sent everything.
21. serializer.py 102-111: a dump of a serializer that works in the background is renamed into place as soon as
    that was *started*.

Expected: fillers once a heartbeat; a cut in O(1) and blocks written off the loop, one a turn; a tail of the log
kept; a rename only when all is written and synced.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj.config import SERIALIZER_STATE

from .stock import StockLab


def laggard(lab: Any) -> None:
    """n1 is cut off for a while, and n0's log no longer has what it lacks."""
    lab.elect("n0")
    lab.isolate("n1")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.compact("n0")


def test_stock_19_floods_a_laggard_while_it_dumps(stock: Callable[..., StockLab]) -> None:
    lab = stock(appendEntriesPeriod=0.1)
    laggard(lab)
    lab.heal()
    lab.run(0.05)
    lab.nodes["n0"].private("serializer")._Serializer__pid = 1  # A dump is under way, in a child process.
    lab.nodes["n0"].private("serializer").checkSerializing = lambda: (SERIALIZER_STATE.SERIALIZING, None)
    sent: list[dict[str, Any]] = []
    lab.watch = lambda source, target, message: sent.append(message) if target == "n1" else None
    lab.run(0.3)
    fillers = [m for m in sent if m["type"] == "append_entries" and "serialized" in m]
    assert len(fillers) > 1000


def test_guarded_19_sends_a_filler_a_heartbeat(guarded: Callable[..., Any]) -> None:
    """The snapshot that n1 needs is still under way when n1 comes back: nothing is sent over and over."""
    lab = guarded(log_tail_bytes=1)
    laggard(lab)
    lab.propose_all("n0", [b"t%d" % i for i in range(10)])
    lab.run(0.3)
    lab.stall_offload("n0")
    lab.group("n0").take_snapshot()
    sent: list[bytes] = []
    lab.watch = lambda source, target, frame: sent.append(frame) if (source, target) == ("n0", "n1") else None
    lab.heal()
    lab.run(1)
    assert 5 <= len(sent) <= 60


def test_stock_20_keeps_two_entries_so_every_laggard_needs_everything(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.disconnect("n0", "n1")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.3)
    lab.compact("n0")
    assert len(lab.log("n0")) == 2
    sent: list[dict[str, Any]] = []
    lab.watch = lambda source, target, message: sent.append(message) if target == "n1" else None
    lab.heal()
    lab.run(1)
    assert any(m.get("serialized") for m in sent), "three entries behind, and sent the whole state"


def test_stock_20_pickles_the_whole_state_inside_one_tick(stock: Callable[..., StockLab]) -> None:
    lab = stock()
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    serializer = lab.nodes["n0"].private("serializer")
    assert serializer._Serializer__inMemorySerializedData is None
    lab.nodes["n0"].forceLogCompaction()
    lab.tick("n0")
    assert serializer.deserialize()[0]["state"] == lab.state("n0"), "one tick later all of it is written"


def test_guarded_20_keeps_a_tail_for_a_small_lag(guarded: Callable[..., Any]) -> None:
    lab = guarded()
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.disconnect("n0", "n1")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.3)
    lab.compact("n0")
    assert lab.snapshot("n0").index == lab.group("n0").applied_index
    lab.heal()
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 2)
    assert lab.snapshots_installed("n1") == 0


def test_guarded_20_serves_while_it_takes_a_snapshot(guarded: Callable[..., Any]) -> None:
    """The blocks go out one an offload; writes are served between them, and are not in the snapshot."""
    lab = guarded()
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.stall_offload("n0")
    assert lab.group("n0").take_snapshot()
    lab.propose("n0", b"meanwhile")
    assert lab.run_until(lambda: b"meanwhile" in lab.acked, 1)
    lab.resume_offload("n0")
    lab.run(1)
    assert lab.snapshot("n0").index < lab.group("n0").applied_index
    assert lab.snapshot_state("n0") == [b"s%d" % i for i in range(10)]


def test_stock_21_puts_a_dump_in_place_before_it_is_written(stock: Callable[..., StockLab], tmp_path: Path) -> None:
    """The background serializer has created its file and written nothing yet."""

    def start_in_background(path: str, _data: Any) -> None:
        Path(path).write_bytes(b"")

    lab = stock(
        size=1,
        dump=True,
        serializer=start_in_background,
        deserializer=lambda path: (),
        serializeChecker=lambda: SERIALIZER_STATE.NOT_SERIALIZING,
    )
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    (tmp_path / "n0.dump").write_bytes(b"the dump before this one, whole")
    lab.compact("n0")
    assert (tmp_path / "n0.dump").read_bytes() == b""


def test_guarded_21_the_old_snapshot_stands_until_the_new_one_is_whole(guarded: Callable[..., Any]) -> None:
    lab = guarded(journal="file")
    lab.elect("n0")
    lab.propose_all("n0", [b"s%d" % i for i in range(10)])
    lab.run(0.5)
    lab.compact("n0")
    first = lab.snapshot("n0")
    lab.propose("n0", b"later")
    lab.run(0.5)
    lab.stall_offload("n0")
    assert lab.group("n0").take_snapshot()
    lab.run(1)
    assert lab.snapshot("n0") == first
    lab.crash("n0")
    lab.start("n0")
    assert lab.snapshot("n0") == first
    assert lab.settle()
    assert lab.state("n0") == lab.state("n1")
