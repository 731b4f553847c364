"""Protected mode and the binding of ports.

A node without a cluster secret trusts whoever reaches it, so it listens where only its own machine can reach.
Every listener, whatever it speaks, gets its socket here.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from raftcache.errors import BadRequest

BACKLOG = 1024
PORT_LIMIT = 65535


class BindRefused(BadRequest):
    """An address that this process may not or cannot listen on. The message names field and value."""

    code = "bind_refused"


def is_loopback(host: str) -> bool:
    """Whether `host` is reached from this machine alone. Names other than `localhost` count as not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_secret(field: str, host: str, secret: bytes) -> None:
    """Raises `BindRefused` where `host` can be reached from other machines and `secret` is empty.

    `field` is the name under which the address stands in the configuration.
    """
    if not secret and not is_loopback(host):
        raise BindRefused(
            f"protected mode: {field} = {host!r} can be reached from other machines, and cluster_secret is empty; "
            "set cluster_secret, or listen on 127.0.0.1"
        )


def listening_socket(field: str, host: str, port: int) -> socket.socket:
    """A bound, listening, non-blocking TCP socket. `port` 0 picks a free one. Raises `BindRefused`."""
    if not 0 <= port <= PORT_LIMIT:
        raise BindRefused(f"{field} = {host}:{port}: ports go from 0 to {PORT_LIMIT}")
    try:
        return _bind(host, port)
    except OSError as error:
        reason = "the port is already in use" if error.errno == errno.EADDRINUSE else str(error)
        raise BindRefused(f"{field} = {host}:{port}: cannot listen there: {reason}") from error


def _bind(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
