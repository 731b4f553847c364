"""Snapshots on their way to a replica, and what once kept them from arriving."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import msgpack
from hazards.guarded import GROUP, GuardedLab, frame_of

from raftcache.consensus.messages import SNAPSHOT, SNAPSHOT_ACK, unpack_frame

CHUNK_BYTES = 64


def noise(number: int, size: int = 100) -> bytes:
    """A payload that does not compress."""
    return random.Random(number).randbytes(size)


def left_behind(lab: GuardedLab, name: str, payloads: list[bytes]) -> None:
    """n0 leads and holds `payloads` in a snapshot; `name` was cut off before them, and its links stay down."""
    lab.elect("n0")
    lab.isolate(name)
    lab.propose_all("n0", payloads)
    lab.run(0.5)
    lab.compact("n0")


def come_back_slowly(lab: GuardedLab, name: str) -> list[int]:
    """Link `name` to n0 again, one frame a step. The list grows by the index of every chunk that n0 sends it."""
    sent: list[int] = []

    def watch(source: str, target: str, frame: bytes) -> None:
        if (source, target) == ("n0", name):
            sent.extend(message[5] for message in unpack_frame(frame) if message[1] == SNAPSHOT)

    lab.watch = watch
    lab.throttle("n0", name, 1)
    lab.apart.discard(frozenset(("n0", name)))
    lab.connect("n0", name)
    assert lab.run_until(lambda: bool(sent), 3), "no transfer began"
    return sent


def test_regression_a_transfer_slower_than_two_compactions_arrives(guarded: Callable[..., GuardedLab]) -> None:
    """The log was compacted on while a snapshot was being sent. The last two files are kept, so a transfer that took
    longer than two compactions lost its file and began again with a newer one, for ever."""
    often = {"snapshot_log_bytes": 1000, "snapshot_growth_percent": 0}
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES, **often)
    left_behind(lab, "n1", [noise(i) for i in range(100)])
    sent = come_back_slowly(lab, "n1")
    journal = lab.group("n0").journal
    before = journal.appended_bytes
    for number in range(1000, 1150):
        lab.propose("n0", noise(number))
        lab.run(0.03)
        if lab.snapshots_installed("n1"):
            break
    assert lab.snapshots_installed("n1") == 1
    assert journal.appended_bytes - before > 3 * 1000, "the log grew by more than three snapshots' worth meanwhile"
    assert len(set(sent)) == 1, "one file was sent"
    lab.run(1)
    assert lab.state("n1") == lab.state("n0")


def test_the_log_behind_a_snapshot_being_sent_is_kept(guarded: Callable[..., GuardedLab]) -> None:
    """Were it trimmed in memory meanwhile, the peer would need the next snapshot as soon as it had this one."""
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    left_behind(lab, "n1", [noise(i) for i in range(100)])
    index = come_back_slowly(lab, "n1")[0]
    for number in range(1000, 1020):
        lab.propose("n0", noise(number))
        lab.run(0.01)
        assert lab.group("n0").journal[0].index <= index
    assert lab.group("n0").status().peers[0].snapshot_sending, "the transfer still goes on"
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 10)
    assert lab.snapshots_installed("n1") == 1
    lab.propose("n0", b"later")
    lab.run(1)
    assert lab.group("n0").journal[0].index > index, "trimmed once it has arrived"


def coarse_blocks(lab: GuardedLab, name: str) -> None:
    """Make the node write its snapshots in one block: they hold the same and are smaller."""
    machine = lab.nodes[name].machine

    def blocks() -> Iterator[bytes]:
        return iter([msgpack.packb(machine.state)])

    machine.snapshot_blocks = blocks  # type: ignore[method-assign]


def test_regression_the_file_of_another_leader_starts_over(guarded: Callable[..., GuardedLab]) -> None:
    """n2 has most of n0's snapshot when n0 dies. n1's snapshot of the same index is smaller than that. n2 took both
    for one file and said that it had more than there was; n1 had nothing to send, and neither ever moved."""
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    coarse_blocks(lab, "n1")
    left_behind(lab, "n2", [b"like all others %d" % i for i in range(300)])
    lab.compact("n1")
    old, new = lab.snapshot("n0"), lab.snapshot("n1")
    new_size = lab.nodes["n1"].storage.snapshots.size(new)
    assert (old.index, old.term) == (new.index, new.term)
    come_back_slowly(lab, "n2")
    inbox = lab.group("n2").inbox
    assert lab.run_until(lambda: inbox._receiver is not None and inbox._receiver.received > new_size, 10)
    lab.crash("n0")
    lab.heal()
    assert lab.run_until(lambda: lab.leads("n1") and lab.state("n2") == lab.state("n1"), 15)
    assert lab.snapshots_installed("n2") == 1


def test_regression_a_peer_that_has_more_than_there_is_starts_over(guarded: Callable[..., GuardedLab]) -> None:
    """The leader's half of the same: it believed such an answer and waited for an installation."""
    lab = guarded(log_tail_bytes=1, snapshot_chunk_bytes=CHUNK_BYTES)
    left_behind(lab, "n1", [noise(i) for i in range(40)])
    lab.hold("n1", "n0")
    come_back_slowly_held(lab)
    size = lab.nodes["n0"].storage.snapshots.size(lab.snapshot("n0"))
    lab.drop("n1", "n0")
    answer = [GROUP, SNAPSHOT_ACK, 0, 0, lab.term("n0"), lab.snapshot("n0").index, size + 20, False]
    lab._receive("n1", "n0", frame_of(answer))
    lab.release("n1", "n0")
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 10)


def come_back_slowly_held(lab: GuardedLab) -> None:
    """n1 is linked again and has a window of chunks; its answers to them are held."""
    lab.apart.discard(frozenset(("n0", "n1")))
    lab.connect("n0", "n1")
    for _ in range(20):
        lab.run(0.05)
        if lab.group("n0").status().peers[0].snapshot_sending:
            break
        lab.deliver("n1", "n0")
    lab.run(0.05)
    assert lab.group("n1").inbox._receiver is not None


def test_regression_a_chunk_of_a_higher_term_makes_its_receiver_adopt_it(guarded: Callable[..., GuardedLab]) -> None:
    """n3 installed a snapshot of a term that it had never saved. Its log then began in a later term than its vote
    file knew of, which is damage: it could not be opened again."""
    lab = guarded(size=4, initial=3, journal="file", log_tail_bytes=1)
    lab.elect("n0")
    lab.propose_all("n0", [noise(i) for i in range(10)])
    lab.run(0.5)
    lab.compact("n0")
    lab.start("n3")
    assert lab.term("n3") == 0
    meta, snapshots = lab.snapshot("n0"), lab.nodes["n0"].storage.snapshots
    file = snapshots.read(meta, 0, snapshots.size(meta))
    whole = [lab.term("n0"), meta.index, meta.term, len(file), 0, file]
    lab._receive("n0", "n3", frame_of([GROUP, SNAPSHOT, 0, 0, *whole]))
    lab.run(0.1)
    assert lab.snapshots_installed("n3") == 1
    assert lab.term("n3") == lab.term("n0")
    state = lab.state("n3")
    lab.crash("n3")
    lab.start("n3")
    assert lab.term("n3") == lab.term("n0")
    assert lab.state("n3") == state == lab.state("n0")


def test_regression_a_snapshot_older_than_the_log_in_memory_is_taken_anew(guarded: Callable[..., GuardedLab]) -> None:
    """The log in memory is trimmed though no snapshot was due. The newest one, of nothing, was sent to a peer that
    lagged: it did not help, for the log no longer began there, and was sent again, for ever."""
    lab = guarded(journal="file", log_tail_bytes=1)
    lab.elect("n0")
    lab.isolate("n1")
    lab.propose_all("n0", [noise(i) for i in range(20)])
    lab.run(0.5)
    base = lab.group("n0").journal[0].index
    assert lab.snapshot("n0").index == 0 < lab.group("n1").last_index < base
    lab.heal()
    assert lab.run_until(lambda: lab.state("n1") == lab.state("n0"), 5)
    assert lab.snapshot("n0").index >= base
    assert lab.snapshots_installed("n1") == 1
