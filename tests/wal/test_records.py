"""The segment format, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.wal.api import Entry
from raftcache.wal.records import (
    MAX_ENTRY_BYTES,
    MAX_GROUP_ID_BYTES,
    MAX_LAG,
    RECORD_OVERHEAD_BYTES,
    Scan,
    SegmentHeader,
    checksum_seed,
    decode_header,
    encode_header,
    encode_record,
    read_head,
    scan_records,
    testifies,
)

testifies.__test__ = False  # type: ignore[attr-defined]  # Its name only looks like a test's.

SEED = checksum_seed("7c1f", 3)
HEADER = SegmentHeader("7c1f", 3, 41, 7)


def records(*entries: Entry, seed: int = SEED, lag: int = 1, previous_term: int = 0) -> bytes:
    """Records of entries behind each other, each with the same lag."""
    found, term = b"", previous_term
    for each in entries:
        found += encode_record(each, lag, term, seed) + each.data
        term = each.term
    return found


def scan(data: bytes, base_index: int = 0, base_term: int = 0) -> Scan:
    return scan_records(data, 0, SEED, base_index, base_term)


def flipped(data: bytes, place: int, mask: int = 1) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


THREE = [Entry(b"one", 1, 1), Entry(b"", 2, 1), Entry(b"three" * 9, 3, 2)]
ENDS = [len(records(*THREE[:count])) for count in range(4)]


def test_header_round_trip() -> None:
    data = encode_header(HEADER)
    assert decode_header(data + b"trailing") == (HEADER, len(data))


def test_every_flipped_byte_of_a_header_is_found() -> None:
    data = encode_header(HEADER)
    for place in range(len(data)):
        with pytest.raises(ValueError, match=r"segment|version"):
            decode_header(flipped(data, place))


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
    data = records(*entries)
    found = scan(data, base)
    assert found.entries == entries
    assert (found.reason, found.unfinished, found.end) == ("", False, len(data))
    assert found.offsets == [len(records(*entries[:count])) for count in range(len(entries))]


def test_a_cut_anywhere_is_an_unfinished_record_behind_the_last_whole_one() -> None:
    data = records(*THREE)
    for size in range(len(data)):
        found = scan(data[:size])
        whole = sum(end <= size for end in ENDS) - 1
        assert found.entries == THREE[:whole]
        assert found.end == ENDS[whole]
        assert found.unfinished is (size not in ENDS)
        assert (found.reason == "") is (size in ENDS)


def test_a_flipped_bit_anywhere_ends_the_scan_there_and_is_not_unfinished() -> None:
    data = records(*THREE)
    for place in range(len(data)):
        for mask in (1, 0x80):
            found = scan(flipped(data, place, mask))
            assert not found.unfinished, place
            assert "checksum" in found.reason
            assert found.entries == THREE[: sum(end <= place for end in ENDS) - 1]


def test_zeros_and_what_says_it_is_huge_are_no_records_and_not_unfinished() -> None:
    huge = Entry(b"", 4, 2)
    head = bytearray(encode_record(huge, 1, 2, SEED))
    head[:4] = (MAX_ENTRY_BYTES + 1).to_bytes(4, "big")
    for tail in (bytes(1000), b"\xff" * 40, bytes(head)):
        found = scan(records(*THREE) + tail)
        assert (found.entries, found.unfinished, found.end) == (THREE, False, ENDS[3])


@pytest.mark.parametrize("bad", [Entry(b"", 3, 1), Entry(b"", 1, 1), Entry(b"", 2, 0)])
def test_a_whole_record_out_of_order_ends_the_scan(bad: Entry) -> None:
    found = scan(records(Entry(b"", 1, 1), bad))
    assert found.entries == [Entry(b"", 1, 1)]
    assert not found.unfinished
    assert "behind entry 1 of term 1" in found.reason


def test_a_record_of_another_group_or_generation_is_none() -> None:
    for seed in (checksum_seed("7c1f", 2), checksum_seed("beef", 3)):
        assert scan(records(Entry(b"x", 1, 1), seed=seed)).entries == []


def test_a_record_that_continued_another_entry_is_none() -> None:
    """Entry 2 of term 3 was written behind entry 1 of term 1, which another of term 2 has replaced since."""
    old = records(Entry(b"a", 1, 1), Entry(b"b", 2, 3))
    new = records(Entry(b"A", 1, 2))
    mixed = new + old[len(new) :]
    found = scan(mixed)
    assert found.entries == [Entry(b"A", 1, 2)]
    assert "data does not match" in found.reason


# -- testimony -----------------------------------------------------------------------------------


def test_a_scan_tells_the_highest_index_that_was_testified() -> None:
    entries = [Entry(b"", index, 1) for index in range(1, 6)]
    lags = [1, 2, 0, 3, MAX_LAG]
    data, testified = b"", [0]
    for each, lag in zip(entries, lags, strict=True):
        data += encode_record(each, lag, 0 if each.index == 1 else 1, SEED)
        testified.append(max(testified[-1], each.index - lag))
        assert scan(data).synced_index == testified[-1]
    assert testified == [0, 0, 0, 3, 3, 3]


def test_a_lag_that_does_not_fit_testifies_nothing() -> None:
    head = read_head(encode_record(Entry(b"", 2**33, 1), MAX_LAG + 5, 1, SEED), 0, SEED)
    assert head is not None
    assert (head.lag, head.synced_index) == (MAX_LAG, 0)


def test_a_head_is_read_whatever_became_of_its_data_and_none_where_it_is_not_whole() -> None:
    data = records(Entry(b"data", 5, 2), lag=2)
    for size in range(len(data)):
        head = read_head(data[:size], 0, SEED)
        assert (head is None) is (size < RECORD_OVERHEAD_BYTES)
    for place in range(RECORD_OVERHEAD_BYTES - 4):
        assert read_head(flipped(data, place), 0, SEED) is None, place
    head = read_head(data, 0, SEED)
    assert head is not None
    assert (head.data_bytes, head.index, head.term, head.synced_index) == (4, 5, 2, 3)


@given(st.binary(max_size=60), st.integers(1, 2**40), st.integers(0, 2**32), st.integers(0, 9), st.integers(0, 30))
@settings(max_examples=300, deadline=None)
def test_testimony_is_found_at_any_place_for_any_index(
    before: bytes, expected: int, ahead: int, lag: int, cut: int
) -> None:
    """A record ahead of the expected entry, behind anything, its data cut: it testifies where its lag says so."""
    data = before + records(Entry(bytes(30), expected + ahead, 1), lag=lag)
    data = data[: len(data) - cut]
    told = lag <= ahead
    assert testifies(data, 0, SEED, expected) is told
    assert not testifies(data, len(before) + 1, SEED, expected)
    assert not testifies(data, 0, SEED + 1, expected)


def test_testimony_is_found_past_a_byte_boundary_of_the_index() -> None:
    for expected in (255, 256, 2**16 - 1, 2**32 - 1, 2**32, 2**56 - 1, 2**63):
        for ahead in (0, 1, 2, 255, 2**31):
            data = b"junk" + records(Entry(b"", expected + ahead, 1), lag=0)
            assert testifies(data, 0, SEED, expected), (expected, ahead)


def test_zeros_and_noise_testify_nothing() -> None:
    assert not testifies(bytes(5000), 0, SEED, 1)
    assert not testifies(b"\x00\x00\x00\x01" * 500, 0, SEED, 1)
