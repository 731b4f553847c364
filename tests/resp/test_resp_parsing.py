"""Commands out of bytes: the same ones however the bytes are cut, and limits before memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resp_bytes import cut, packed, parse_all

from raftcache.frontends.resp import parsing
from raftcache.frontends.resp.inline import split_line
from raftcache.frontends.resp.parsing import Parser, ProtocolError, Room

WORDS = st.lists(st.binary(max_size=40), min_size=1, max_size=6)
CANONICAL = WORDS.map(lambda words: packed(*words))
ODD = st.sampled_from(
    [b"PING\r\n", b"  SET  k 'a b'\n", b"\r\n", b"*0\r\n", b"*-1\r\n", b"*1\r\n$0\r\n\r\n", b'ECHO "\\x00\\n*9"\n']
)
BROKEN = st.sampled_from(
    [
        *(b"*2\r\n:1\r\n", b"*1\r\n*1\r\n", b"*99999999\r\n", b"*1025\r\n", b"*12\rx", b"*\r\n", b"%99999\r\n"),
        *(b"*1\r\n$-1\r\n", b"*1\r\n$03\r\nabc\r\n", b"*1\r\n$3\r\nabcdef", b"*1\r\n$9999999\r\n"),
        *(b"*1\r\n+OK\r\n", b"SET 'a\r\n"),
    ]
)
STREAMS = st.lists(st.one_of(CANONICAL, CANONICAL, ODD, BROKEN, st.binary(max_size=12)), max_size=8).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=12))
def test_however_the_bytes_are_cut_the_commands_are_the_same(stream: bytes, places: list[int]) -> None:
    whole = parse_all([stream])
    assert parse_all(cut(stream, places)) == whole
    assert parse_all(cut(stream, range(len(stream)))) == whole


@given(st.lists(WORDS, max_size=10), st.lists(st.integers(0, 10_000), max_size=6))
def test_what_was_packed_comes_out(commands: list[list[bytes]], places: list[int]) -> None:
    stream = b"".join(packed(*words) for words in commands)
    assert parse_all(cut(stream, places)) == commands


@given(STREAMS)
def test_both_ways_agree(stream: bytes) -> None:
    """The careful way alone is what the quick way must be like."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "QUICK_LIMIT_BYTES", -1)
        careful = parse_all([stream])
    assert parse_all([stream]) == careful


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1025\r\n", "invalid multibulk length: 1025 arguments, the limit is 1024"),
        (b"*2\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\x00", "expected '$', got '\\x00'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$2097153\r\n", "invalid bulk length: 2097153 bytes, the limit is 2097152"),
        (b"*1\r\n$" + b"1" * 40, "too big bulk count string"),
        (b"*" + b"1" * 40, "too big mbulk count string"),
        (b"GET 'a\r\n", "unbalanced quotes in request"),
        (b"a" * (64 << 10), "too big inline request"),
        (b"a " * 1025 + b"\n", "1025 arguments, the limit is 1024"),
        (b"*1\r\n$1\r\nabc", "expected a line end behind a bulk string of the announced length"),
    ],
)
def test_what_is_refused(stream: bytes, said: str) -> None:
    assert parse_all([stream]) == [said]
    assert parse_all(cut(stream, range(0, len(stream), 7))) == [said]


def test_as_many_and_as_large_arguments_as_the_limits_say() -> None:
    many = [b"MGET", *[b"k"] * 1023]
    large = [b"SET", b"k", b"v" * (2 << 20)]
    stream = packed(*many) + packed(*large)
    assert parse_all([stream]) == [many, large]
    assert parse_all(cut(stream, range(0, len(stream), 65_536))) == [many, large]


def test_a_command_is_refused_by_its_headers_when_all_of_it_would_be_too_large() -> None:
    argument = b"$2097152\r\n" + b"v" * (2 << 20) + b"\r\n"
    stream = b"*20\r\n" + argument * 8 + b"$1\r\n"
    assert parse_all([stream]) == ["invalid bulk length: 16777217 bytes with it in one command, the limit is 16777216"]


@pytest.mark.parametrize("header", [b"*1023\r\n", b"*1000000000\r\n", b"*1\r\n$2097152\r\n", b"%1000000\r\n" * 9])
def test_a_header_takes_no_memory(header: bytes) -> None:
    parser = Parser(Room())
    tracemalloc.start()
    try:
        parser.feed(header)
        parser.next()
    except ProtocolError:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_large_commands_share_the_room_of_the_port() -> None:
    room = Room(3 << 20)
    first, second, third = Parser(room), Parser(room), Parser(room)
    for parser in (first, second):
        parser.feed(b"*1\r\n$1500000\r\n")
        assert parser.next() is None
    third.feed(b"*1\r\n$1500000\r\n")
    with pytest.raises(ProtocolError, match="no room for a command of this size"):
        third.next()
    assert room.refused == 1
    first.feed(b"v" * 1_500_000 + b"\r\n")
    assert first.next() == [b"v" * 1_500_000]
    second.close()
    assert room.used_bytes == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"  set k  v ", [b"set", b"k", b"v"]),
        (b'set "a b" \'c"d\'', [b"set", b"a b", b'c"d']),
        (b'"\\x41\\n\\"\\q\\\\"', [b'A\n"q\\']),
        (b"'it\\'s \\n'", [b"it's \\n"]),
        (b'pre"fix"', [b"prefix"]),
        (b'""', [b""]),
        (b"", []),
        (b'"open', None),
        (b'"a"b', None),
        (b"'a'\"b\"", None),
        (b'"\\"', None),
    ],
)
def test_inline_words(line: bytes, words: list[bytes] | None) -> None:
    assert split_line(line) == words


def test_inline_words_of_a_long_line_take_linear_time() -> None:
    for line in (b'"' + b"\\" * 60_000, b"'" * 60_001, b'"a' * 20_000, b"a" * 60_000 + b'"'):
        split_line(line)
