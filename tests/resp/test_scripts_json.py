"""cjson: what Lua makes of JSON, and JSON of Lua, against Python's."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.frontends.resp.scripts.sandbox import Sandbox

LUA = Sandbox(lambda: 0.0)


def run(source: str, *args: bytes) -> Any:
    done, data = LUA.run(source.encode(), (), args, lambda _args: b"$-1\r\n")
    return msgspec.msgpack.decode(data) if done else data.decode()


def through(text: str) -> Any:
    return json.loads(run("return cjson.encode(cjson.decode(ARGV[1]))", text.encode()))


TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**13), 10**13) | TEXTS | st.sampled_from([0.5, -1.25, 1e300, 2.5e-7]),
    lambda inner: st.lists(inner, min_size=1, max_size=5) | st.dictionaries(TEXTS, inner, min_size=1, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.booleans())
def test_what_is_decoded_and_encoded_is_the_same(value: Any, ascii_only: bool) -> None:
    assert through(json.dumps(value, ensure_ascii=ascii_only)) == value


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]",:\\ue0123456789.-+Etfnrlsa \x00\x7f', max_size=12))
def test_what_is_no_json_is_refused_and_what_is_one_is_not(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        return
    if isinstance(wanted, str) and any("\ud800" <= c <= "\udfff" for c in wanted):
        return
    said = run("return {pcall(cjson.decode, ARGV[1])}", text.encode())
    assert said[0] == 1, (text, said)


WRONG = (
    "",
    "{",
    "[1,",
    "[1 2]",
    "{1:2}",
    '{"a"}',
    '"a',
    '"\\x"',
    '"\n"',
    "nul",
    "1 2",
    '"\\ud800"',
    '"\\u12"',
    "[" * 1100,
)


@pytest.mark.parametrize("text", WRONG)
def test_errors_can_be_caught(text: str) -> None:
    assert run(
        "local ok, problem = pcall(cjson.decode, ARGV[1]) return {tostring(ok), type(problem)}", text.encode()
    ) == [
        *(b"false", b"string"),
    ]


ENCODED = {
    "cjson.encode({})": b"{}",
    "cjson.encode({1, 2, {a = cjson.null}})": b'[1,2,{"a":null}]',
    "cjson.encode({[1] = 1, [3] = 3})": b"[1,null,3]",
    "cjson.encode({[7] = true, x = 1} ~= nil)": b"true",
    "cjson.encode(1 / 3)": b"0.33333333333333",
    "cjson.encode('/\\127\\1')": b'"\\/\\u007f\\u0001"',
    "cjson.encode(nil)": b"null",
    "tostring(cjson.decode('[null]')[1] == cjson.null)": b"true",
    "tostring(pcall(cjson.encode, 1 / 0))": b"false",
    "tostring(pcall(cjson.encode, {[1] = 1, [100] = 1}))": b"false",
    "tostring(pcall(cjson.encode, tostring))": b"false",
    "tostring(pcall(cjson.encode, {[true] = 1}))": b"false",
}


@pytest.mark.parametrize(("source", "result"), ENCODED.items(), ids=ENCODED)
def test_what_lua_cjson_makes_of_values(source: str, result: bytes) -> None:
    assert run(f"return {source}") == result
