"""Replies as bytes, in both protocols."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftcache.frontends.resp.encoding import Group, Status, Verbatim, encode, error


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (Status("OK"), b"+OK\r\n", b"+OK\r\n"),
        (Verbatim("a"), b"$1\r\na\r\n", b"=5\r\ntxt:a\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ([1, [None]], b"*2\r\n:1\r\n*1\r\n$-1\r\n", b"*2\r\n:1\r\n*1\r\n_\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Group([1, 2]), b"*2\r\n:1\r\n:2\r\n", b"~2\r\n:1\r\n:2\r\n"),
    ],
)
def test_each_type(value: Any, resp2: bytes, resp3: bytes) -> None:
    assert encode(value, False) == resp2
    assert encode(value, True) == resp3


PLAIN = st.recursive(
    st.one_of(st.none(), st.binary(), st.integers(-(1 << 63), (1 << 63) - 1)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@given(PLAIN, st.booleans())
def test_a_client_reads_back_what_was_encoded(value: Any, resp3: bool) -> None:
    reader = hiredis.Reader()
    reader.feed(encode(value, resp3))
    assert reader.gets() == value


@given(st.text(max_size=50))
def test_an_error_is_one_line_whatever_it_quotes(text: str) -> None:
    line = error(f"ERR {text}")
    assert line.startswith(b"-ERR ") and line.endswith(b"\r\n")
    assert not set(line[:-2]) & {0x0A, 0x0D, 0x00}


def test_what_has_no_type_is_a_defect() -> None:
    with pytest.raises(TypeError):
        encode(object(), True)
