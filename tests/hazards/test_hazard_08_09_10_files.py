"""Hazards 8, 9 and 10: what a killed process finds in its files.

8.  PYSYNCOBJ journal.py 252-256 drops a prefix by clearing the file and writing the rest again: a process
    killed in between has lost entries that it acknowledged.
9.  syncobj.py 1472-1511: a dump is put in place first and the log is cut at the next tick. A process killed in
    between finds a log that does not begin with the dump's two entries, and clears all of it, also what lies
    behind the dump.
10. 1427: compaction without a dump file keeps the state in memory and cuts the file. After a restart the log
    starts at an index above 2, and nothing is ever applied again.

Expected: a log of segments, cut by dropping whole files, never rewritten; a snapshot that is older than the log's
end leaves the log alone; a log is cut only behind a snapshot that is in place on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pysyncobj.journal import FileJournal

from .stock import StockLab


class Killed(Exception):
    """Stands for SIGKILL."""


def test_stock_08_a_kill_while_a_prefix_is_dropped_clears_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "journal")
    journal = FileJournal(path)
    for index in range(1, 11):
        journal.add(b"entry %d" % index, index, 1)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FileJournal, "add", killed)
        journal.deleteEntriesTo(2)
    assert len(FileJournal(path)) == 0, "eight acknowledged entries are gone"


def killed_between_dump_and_cut(lab: StockLab) -> None:
    """`kept` is acknowledged by n0 and n1 alone. n1, which has not yet heard that it is committed, writes a
    dump and is killed before its next tick; n0 dies for good."""
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    lab.isolate("n2")
    lab.hold("n0", "n1")
    lab.propose("n0", b"kept")
    lab.run(0.12)
    while b"kept" not in lab.payloads("n1"):
        lab.deliver("n0", "n1", 1)
    lab.run(0.1)
    assert lab.acked[-1] == b"kept"
    lab.nodes["n1"].forceLogCompaction()
    lab.tick("n1")
    lab.crash("n1", "n0")
    lab.apart.clear()
    lab.start("n1")


def test_stock_09_a_kill_between_dump_and_cut_loses_what_followed(stock: Callable[..., StockLab]) -> None:
    lab = stock(journal="file", dump=True)
    killed_between_dump_and_cut(lab)
    assert lab.settle()
    assert lab.lost() == [b"kept"]


def test_stock_10_a_journal_that_was_cut_without_a_dump_file_applies_nothing(
    stock: Callable[..., StockLab],
) -> None:
    lab = stock(journal="file")
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    for name in lab.names:
        lab.compact(name)
    lab.crash(*lab.names)
    lab.start()
    lab.run(10)
    lab.propose(lab.leader(), b"d")
    lab.run(5)
    assert [lab.state(name) for name in lab.names] == [[], [], []]
    assert b"d" not in lab.acked


def killed_while_it_compacts(lab: Any, changes: int) -> bool:
    """`kept` is acknowledged by n0 and n1 alone. n1 compacts its log and is killed after `changes` operations on
    its files; n0 dies for good. Whether n1 got as far as being killed."""
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    lab.isolate("n2")
    lab.propose("n0", b"kept")
    assert lab.run_until(lambda: b"kept" in lab.acked, 5)
    lab.kill_after("n1", changes)
    lab.compact("n1")
    killed = "n1" in lab.paused
    lab.crash("n1", "n0")
    lab.apart.clear()
    lab.start("n1")
    return killed


def test_guarded_08_09_a_kill_at_any_write_of_a_compaction_loses_nothing(guarded: Callable[..., Any]) -> None:
    """At each operation in turn, until the compaction gets through."""
    changes, killed = 0, True
    while killed:
        lab = guarded(journal="file", log_tail_bytes=1, subdirectory=f"kill-{changes}")
        killed = killed_while_it_compacts(lab, changes)
        assert lab.settle()
        assert lab.lost() == []
        changes += 1
    assert changes > 5


def test_guarded_10_a_whole_cluster_restarts_behind_its_snapshots(guarded: Callable[..., Any]) -> None:
    lab = guarded(journal="file", log_tail_bytes=1)
    lab.elect("n0")
    lab.propose_all("n0", [b"a", b"b", b"c"])
    lab.run(0.5)
    for name in lab.names:
        lab.compact(name)
    lab.propose("n0", b"behind the snapshot")
    lab.run(0.5)
    lab.crash(*lab.names)
    lab.start()
    assert lab.settle(b"d")
    assert [lab.state(name) for name in lab.names] == [[b"a", b"b", b"c", b"behind the snapshot", b"d"]] * 3
