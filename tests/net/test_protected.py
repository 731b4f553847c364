"""Protected mode and the binding of ports: clear errors that name field and value."""

from __future__ import annotations

import pytest

from raftcache.net.protected import BindRefused, is_loopback, listening_socket, require_secret


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_secret(host: str) -> None:
    assert is_loopback(host)
    require_secret("rpc_address", host, b"")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "", "cache.example.org"])
def test_every_other_address_does(host: str) -> None:
    with pytest.raises(BindRefused, match=f"protected mode: rpc_address = '{host}'.*cluster_secret is empty"):
        require_secret("rpc_address", host, b"")
    require_secret("rpc_address", host, b"secret")


def test_port_0_picks_a_free_one() -> None:
    with listening_socket("http_address", "127.0.0.1", 0) as sock:
        assert sock.getsockname()[1] > 0 and not sock.getblocking()


def test_a_taken_port_is_named() -> None:
    with listening_socket("http_address", "127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(BindRefused, match=rf"http_address = 127\.0\.0\.1:{port}: .*already in use"):
            listening_socket("http_address", "127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("192.0.2.1", 0)])
def test_an_impossible_address_is_named(host: str, port: int) -> None:
    with pytest.raises(BindRefused, match=rf"peer_address = {host}:{port}: "):
        listening_socket("peer_address", host, port)
