"""Messages and frames."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.consensus import ConsensusSettings, host
from raftcache.consensus import messages as m
from raftcache.consensus.settings import ENTRY_LIMIT_BYTES
from raftcache.net.links import FRAME_LIMIT_BYTES
from raftcache.wal.api import Entry


@st.composite
def runs_of_entries(draw: st.DrawFn) -> list[Entry]:
    """Entries without holes, their terms never falling."""
    first, term = draw(st.integers(1, 1 << 40)), draw(st.integers(0, 1 << 30))
    entries = []
    for offset, (data, step) in enumerate(draw(st.lists(st.tuples(st.binary(min_size=1), st.integers(0, 2))))):
        term += step
        entries.append(Entry(data, first + offset, term))
    return entries


@given(entries=runs_of_entries())
@settings(deadline=None, derandomize=True)
def test_entries_come_back_as_they_were_packed(entries: list[Entry]) -> None:
    prev_index = entries[0].index - 1 if entries else 17
    fields = [1, 2, prev_index, 4, 5, 6.5, 0, 7.5, 8]
    (frame,) = m.pack_frames([["7c1f", m.APPEND, 0, 0, *fields, *m.pack_entries(entries)]])
    (message,) = m.unpack_frame(b"".join(frame))
    assert m.well_formed(message)
    assert m.unpack_entries(prev_index, message[13:]) == entries


def test_one_term_is_written_once() -> None:
    alike = [Entry(b"a", 5, 3), Entry(b"b", 6, 3)]
    assert m.pack_entries(alike) == [3, b"a", b"b"]
    assert m.pack_entries([*alike, Entry(b"c", 7, 4)]) == [[3, 3, 4], b"a", b"b", b"c"]
    assert m.unpack_entries(9, m.pack_entries([])) == []


LONG = st.builds(lambda size: b"x" * size, st.integers(m.PIECE_BYTES - 1, m.PIECE_BYTES + 1))
FIELDS = st.integers(-5, 1 << 50) | LONG | st.binary(max_size=20) | st.booleans() | st.text(max_size=5)


@given(
    messages=st.lists(
        st.lists(FIELDS, min_size=1),
        min_size=1,
    )
)
@settings(deadline=None, derandomize=True)
def test_a_frame_holds_its_messages_in_order(messages: list[m.Message]) -> None:
    (frame,) = m.pack_frames(messages)
    assert m.unpack_frame(b"".join(frame)) == messages


def test_no_messages_make_no_frame() -> None:
    assert list(m.pack_frames([])) == []


def test_large_messages_are_split_over_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is closed by the message that takes it over the target, so it is over by one message at most."""
    monkeypatch.setattr(m, "FRAME_TARGET_BYTES", 1000)
    sizes = [400, 400, 400, 2500, 10, 10, 999, 10]
    messages: list[m.Message] = [["g", bytes(size)] for size in sizes]
    frames = [b"".join(frame) for frame in m.pack_frames(messages)]
    assert [message for frame in frames for message in m.unpack_frame(frame)] == messages
    assert [len(m.unpack_frame(frame)) for frame in frames] == [3, 1, 3, 1]
    assert all(len(frame) <= 1000 + 2500 + 50 for frame in frames)


def test_the_target_leaves_room_below_what_links_refuse() -> None:
    largest_append = ConsensusSettings().append_limit_bytes + ENTRY_LIMIT_BYTES
    assert m.FRAME_TARGET_BYTES + largest_append < FRAME_LIMIT_BYTES


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xc1", b"plain text", msgpack.packb(7), msgpack.packb({}), msgpack.packb([7]), msgpack.packb([[]]),
     msgpack.packb([[1], "x"]), msgpack.packb([[1]])[:-1], msgpack.packb([[1]]) + b"\x00"],
)  # fmt: skip
def test_garbage_is_no_frame(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        m.unpack_frame(garbage)


@given(garbage=st.binary(max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_bytes_are_a_frame_or_a_value_error(garbage: bytes) -> None:
    try:
        messages = m.unpack_frame(garbage)
    except ValueError:
        return
    assert all(isinstance(message, list) and message for message in messages)


@pytest.mark.parametrize("kind", sorted(m.FIELDS))
def test_a_message_has_as_many_fields_as_its_kind_has(kind: int) -> None:
    count = m.FIELDS[kind]
    whole: m.Message = ["g", kind, 0, 0, *[0] * count]
    assert m.well_formed(whole)
    assert not m.well_formed(whole[:-1])
    assert m.well_formed([*whole, 0]) == (kind == m.APPEND), "only an append goes on, with its entries"


def test_every_kind_has_a_handler() -> None:
    assert set(host._HANDLERS) == set(m.FIELDS)


def test_a_large_entry_is_a_piece_by_itself_and_the_same_for_every_follower() -> None:
    entry = b"x" * 100_000
    frames = [next(m.pack_frames([["7c1f", m.APPEND, number, b"small", entry, 7], ["7c1f", 1]])) for number in (1, 2)]
    assert [len(frame) for frame in frames] == [3, 3]
    assert frames[0][1] is entry and frames[1][1] is entry
