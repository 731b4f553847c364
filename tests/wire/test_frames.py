"""Frames: whole, byte by byte, in any split, with trailing data, too large."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.wire.frames import PING, FrameReader, FrameTooLarge, pack_frame, pack_frames

payload_lists = st.lists(st.binary(max_size=300), max_size=12)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces that end at `cuts`."""
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def test_the_header_is_a_big_endian_u32() -> None:
    assert pack_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert PING == pack_frame(b"") == b"\x00\x00\x00\x00"


@settings(deadline=None, max_examples=60)
@given(payload_lists)
def test_many_frames_are_packed_as_one_by_one(payloads: list[bytes]) -> None:
    assert pack_frames(payloads) == b"".join(map(pack_frame, payloads))


def test_a_whole_stream_is_cut_at_once() -> None:
    reader = FrameReader(100)
    assert reader.receive_data(pack_frames([b"a", b"", b"bcd"])) == [b"a", b"", b"bcd"]
    assert reader.buffered_bytes == 0


def test_byte_by_byte_each_frame_comes_with_its_last_byte() -> None:
    reader = FrameReader(100)
    seen = [reader.receive_data(bytes([byte])) for byte in pack_frames([b"ab", b""])]
    assert seen == [[], [], [], [], [], [b"ab"], [], [], [], [b""]]


def test_trailing_data_waits_for_its_rest() -> None:
    reader = FrameReader(100)
    assert reader.receive_data(pack_frame(b"one") + b"\x00\x00") == [b"one"]
    assert reader.buffered_bytes == 2
    assert reader.receive_data(b"\x00\x01z") == [b"z"]


@settings(deadline=None, max_examples=150)
@given(payload_lists, st.lists(st.integers(0, 4000), max_size=20))
def test_the_split_does_not_matter(payloads: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader(300)
    pieces = cut(pack_frames(payloads), cuts)
    assert [frame for piece in pieces for frame in reader.receive_data(piece)] == payloads
    assert reader.buffered_bytes == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0, 3, 4095, 4096, 20_000]), max_size=6), st.lists(st.integers(1, 9000), min_size=1))
def test_large_frames_and_large_chunks_neither(sizes: list[int], steps: list[int]) -> None:
    payloads = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    stream, reader, frames = pack_frames(payloads), FrameReader(1 << 20), []
    at = 0
    while at < len(stream):
        step = steps[at % len(steps)]
        frames += reader.receive_data(stream[at : at + step])
        at += step
    assert frames == payloads and reader.buffered_bytes == 0


def test_a_frame_of_exactly_the_limit_passes() -> None:
    assert FrameReader(5).receive_data(pack_frame(b"12345")) == [b"12345"]


def test_a_header_over_the_limit_is_refused_before_its_frame_is_there() -> None:
    reader = FrameReader(5)
    with pytest.raises(FrameTooLarge, match="frame length 6 bytes is over the limit of 5 bytes"):
        reader.receive_data(pack_frame(b"123456")[:4])
    assert reader.buffered_bytes == 0


@settings(deadline=None, max_examples=80)
@given(payload_lists, st.lists(st.integers(0, 4000), max_size=8))
def test_frames_before_a_too_large_one_are_not_lost(payloads: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader(300)
    seen: list[bytes] = []
    with pytest.raises(FrameTooLarge):
        try:
            for piece in cut(pack_frames(payloads) + b"\xff\xff\xff\xff", cuts):
                seen += reader.receive_data(piece)
        except FrameTooLarge as error:
            seen += error.frames
            raise
    assert seen == payloads
