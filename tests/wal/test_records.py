"""The segment format, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.wal.api import Entry
from raftcache.wal.records import (
    MAX_GROUP_ID_BYTES,
    Ending,
    Scan,
    SegmentHeader,
    checksum_seed,
    decode_header,
    encode_header,
    encode_record,
    scan_records,
)

SEED = checksum_seed("7c1f", 3)
HEADER = SegmentHeader("7c1f", 3, 41, 7)


def records(*entries: Entry, seed: int = SEED) -> bytes:
    return b"".join(encode_record(entry, seed) + entry.data for entry in entries)


def scan(data: bytes, base_index: int = 0) -> Scan:
    return scan_records(data, 0, SEED, base_index, 0)


THREE = [Entry(b"one", 1, 1), Entry(b"", 2, 1), Entry(b"three" * 9, 3, 2)]


def test_header_round_trip() -> None:
    data = encode_header(HEADER)
    assert decode_header(data + b"trailing") == (HEADER, len(data))


def test_every_flipped_byte_of_a_header_is_found() -> None:
    data = encode_header(HEADER)
    for place in range(len(data)):
        with pytest.raises(ValueError, match=r"segment|version"):
            decode_header(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_every_cut_header_is_found() -> None:
    data = encode_header(HEADER)
    for size in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            decode_header(data[:size])


def test_header_refuses_a_long_group_id() -> None:
    with pytest.raises(ValueError, match=f"65 bytes, at most {MAX_GROUP_ID_BYTES}"):
        encode_header(SegmentHeader("x" * 65, 0, 0, 0))


@given(st.lists(st.tuples(st.binary(max_size=50), st.integers(0, 1)), max_size=8), st.integers(0, 2**62))
@settings(max_examples=50, deadline=None)
def test_records_round_trip(contents: list[tuple[bytes, int]], base: int) -> None:
    entries, term = [], 0
    for place, (data, step) in enumerate(contents):
        term += step
        entries.append(Entry(data, base + place + 1, term))
    found = scan(records(*entries), base)
    assert found.entries == entries
    assert found.ending is Ending.CLEAN
    assert found.end == len(records(*entries))


def test_a_cut_anywhere_is_a_torn_tail_behind_the_last_whole_record() -> None:
    data = records(*THREE)
    ends = [0, *(len(records(*THREE[:count])) for count in (1, 2, 3))]
    for size in range(len(data)):
        found = scan(data[:size])
        whole = sum(end <= size for end in ends) - 1
        assert found.entries == THREE[:whole]
        assert found.end == ends[whole]
        assert found.ending is (Ending.CLEAN if size in ends else Ending.TORN)


def test_a_flipped_bit_before_the_last_record_is_damage_and_in_the_last_a_torn_tail() -> None:
    data = records(*THREE)
    last = len(records(*THREE[:2]))
    for place in range(len(data)):
        for mask in (1, 0x80):
            found = scan(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            assert found.ending is (Ending.TORN if place >= last else Ending.DAMAGED), place
            assert found.entries == [each for each in THREE if each in found.entries]


def test_a_tail_of_zeros_is_torn() -> None:
    assert scan(records(*THREE) + bytes(1000)).ending is Ending.TORN
    assert scan(bytes(1000)).ending is Ending.TORN


def test_two_bad_records_before_a_whole_one_are_damage() -> None:
    data = bytearray(records(*THREE))
    data[0] ^= 1
    data[len(records(THREE[0]))] ^= 1
    assert scan(bytes(data)).ending is Ending.DAMAGED


def test_an_index_past_a_byte_boundary_is_still_found_behind_a_bad_record() -> None:
    entries = [Entry(b"", 2**32 - 1 + step, 1) for step in range(3)]
    data = bytearray(records(*entries))
    data[0] ^= 1
    assert scan(bytes(data), 2**32 - 2).ending is Ending.DAMAGED


def test_a_record_of_another_generation_in_the_data_does_not_make_a_torn_tail_damage() -> None:
    inner = records(Entry(b"x", 2, 1), seed=checksum_seed("7c1f", 2))
    data = records(Entry(inner + b"more", 1, 1))
    assert scan(data[:-1]).ending is Ending.TORN


@pytest.mark.parametrize("bad", [Entry(b"", 3, 1), Entry(b"", 1, 1), Entry(b"", 2, 0)])
def test_a_whole_record_out_of_order_is_damage(bad: Entry) -> None:
    found = scan(records(Entry(b"", 1, 1), bad))
    assert found.ending is Ending.DAMAGED
    assert "behind entry 1 of term 1" in found.reason


def test_entries_that_hold_zeros_are_found_behind_a_bad_record() -> None:
    entries = [Entry(bytes(300), index, 1) for index in (1, 2)]
    data = bytearray(records(*entries))
    data[100] ^= 1
    assert scan(bytes(data)).ending is Ending.DAMAGED


def test_a_length_over_the_bound_is_not_followed() -> None:
    assert scan(b"\xff" * 40).ending is Ending.TORN
