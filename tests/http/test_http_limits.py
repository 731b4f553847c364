"""Bounds: bodies, headers, work in progress; and the server's own start and stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from http_caller import Caller

from raftcache.errors import Overloaded
from raftcache.frontends.http.context import HttpSettings
from raftcache.frontends.http.routes import BATCH_BODY_LIMIT_BYTES, PUT_BODY_LIMIT_BYTES, SMALL_BODY_LIMIT_BYTES
from raftcache.frontends.http.server import HttpServer, ListenError

PUT = b"PUT /v1/cache/default/k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def with_settings(test: Callable[[Caller], None], **settings: Any) -> None:
    caller = Caller(HttpSettings(**settings))
    try:
        test(caller)
    finally:
        caller.close()


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("PUT /v1/cache/default/k", PUT_BODY_LIMIT_BYTES),
        ("POST /v1/cache/batch/set", BATCH_BODY_LIMIT_BYTES),
        ("POST /v1/cache/incr", SMALL_BODY_LIMIT_BYTES),
        ("PUT /v1/namespaces/a", SMALL_BODY_LIMIT_BYTES),
    ],
)
def test_a_declared_length_over_the_limit_is_refused_before_the_body(caller: Caller, path: str, limit: int) -> None:
    head = f"{path} HTTP/1.1\r\nHost: a\r\nContent-Length: {limit + 1}\r\n\r\n".encode()
    received = caller.exchange(head)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"value_too_large" in received
    assert str(limit).encode() in received and str(limit + 1).encode() in received
    assert caller.alive()


def test_a_body_of_undeclared_length_is_cut_at_the_limit(caller: Caller) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    received = caller.exchange(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 18 + b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    assert str(PUT_BODY_LIMIT_BYTES).encode() in received
    assert caller.on_loop(lambda: caller.backend.commands) == []
    assert caller.alive()


def test_a_chunked_body_within_the_limit(caller: Caller) -> None:
    received = caller.exchange(PUT + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"value"\r\n3\r\n:7}\r\n0\r\n\r\n')
    assert received.startswith(b"HTTP/1.1 201 ")
    assert caller.backend.entries[b"k"][0] == b"7"


def test_a_body_that_breaks_off(caller: Caller) -> None:
    caller.exchange(PUT + b'Content-Length: 100\r\n\r\n{"value"', break_off=True)
    caller.exchange(PUT + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", break_off=True)
    assert caller.on_loop(lambda: caller.backend.commands) == []
    assert caller.alive()
    assert b"raftcache_http_receiving_bytes 0.0" in caller.call("GET", "/metrics").body


def test_a_body_that_never_comes() -> None:
    def slow(caller: Caller) -> None:
        with socket.create_connection(("127.0.0.1", caller.server.port), timeout=20) as connection:
            connection.sendall(PUT + b"Content-Length: 100\r\n\r\n{")
            received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert caller.alive()

    with_settings(slow, body_timeout_seconds=0.05)


def test_no_room_for_another_body_under_way() -> None:
    def full(caller: Caller) -> None:
        received = caller.exchange(PUT + b"Content-Length: 101\r\n\r\n{")
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"overloaded" in received and b"Retry-After: 1" in received
        assert caller.alive()

    with_settings(full, receiving_limit_bytes=100)


def test_a_full_house_refuses_and_still_shows_itself() -> None:
    def full(caller: Caller) -> None:
        caller.backend.held = []
        waiting = [caller.connection() for _ in range(2)]
        for connection in waiting:
            connection.request("GET", "/v1/cache/default/k")
        while caller.on_loop(lambda: len(caller.backend.held or [])) < 2:
            pass
        answer = caller.call("GET", "/v1/cache/default/k")
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, Overloaded.code, "1")
        assert caller.call("GET", "/livez").status == 200
        assert b"raftcache_http_in_flight 3.0" in caller.call("GET", "/metrics").body
        caller.on_loop(caller.backend.release)
        assert [connection.getresponse().status for connection in waiting] == [404, 404]
        for connection in waiting:
            connection.close()
        assert caller.alive()

    with_settings(full, in_flight_limit=2)


def test_expect_is_answered_before_the_body(caller: Caller) -> None:
    body = b'{"value": 1}'
    received = caller.exchange(PUT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
    received = caller.exchange(PUT + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    received = caller.exchange(PUT + b"Expect: miracles\r\nContent-Length: 0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 417 ")
    assert b"expectation_failed" in received


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /v1/cache/default/" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/cache/default/\xc3\xa9\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(20_000)) + b"\r\n",
    ],
    ids=[
        "huge header",
        "huge path",
        "bytes that are not percent-encoded",
        "a TLS greeting",
        "a length that is none",
        "endless headers",
    ],
)
def test_what_is_no_http_is_400_and_ends_its_connection(caller: Caller, head: bytes) -> None:
    assert caller.exchange(head).startswith(b"HTTP/1.")
    assert caller.alive()


def test_a_client_that_leaves_before_its_answer(caller: Caller) -> None:
    caller.backend.held = []
    connection = caller.connection()
    connection.request("PUT", "/v1/cache/default/k", b'{"value": 1}')
    while not caller.on_loop(lambda: caller.backend.held):
        pass
    connection.close()
    caller.on_loop(caller.backend.release)
    assert caller.alive()
    assert b"raftcache_http_in_flight 1.0" in caller.call("GET", "/metrics").body


def test_a_taken_port_is_named(caller: Caller) -> None:
    second = HttpServer(caller.backend, "127.0.0.1", caller.server.port)
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{caller.server.port} .*`http`.*taken"):
        caller.run(second.start())


def test_an_address_that_cannot_be(caller: Caller) -> None:
    with pytest.raises(ListenError, match="70000"):
        caller.run(HttpServer(caller.backend, "127.0.0.1", 70000).start())


def test_stop_and_stop_again(caller: Caller) -> None:
    caller.run(caller.server.stop())
    with pytest.raises(ConnectionRefusedError):
        caller.call("GET", "/livez")
    caller.run(caller.server.stop())
