"""Free ports for clusters that start at the same time on one machine.

Nodes bind their ports a while after somebody looked whether they are free, so looking is not enough: two drills could
choose the same. The ports of a node are the first of a decade; whoever wants a decade first binds its last port, which
no node uses, and keeps it as long as the cluster runs.
"""

from __future__ import annotations

import secrets
import socket

from raftcache.supervisor.cluster import PORTS_PER_NODE

RANGE = range(20_000, 32_000, PORTS_PER_NODE)
"""First ports of decades; below the ports that systems hand out by themselves."""
ATTEMPTS = 200
_RESERVING = PORTS_PER_NODE - 1


class NoPorts(Exception):
    """No free decades in a row were found."""


class Ports:
    """As many decades in a row as there are nodes, from port `base` on, until `close`. Raises NoPorts."""

    def __init__(self, nodes: int) -> None:
        self._kept: list[socket.socket] = []
        for _ in range(ATTEMPTS):
            self.base = secrets.choice(RANGE)
            if all(self._take(self.base + PORTS_PER_NODE * number) for number in range(nodes)):
                return
            self.close()
        raise NoPorts(f"no {nodes} free decades of ports from {RANGE.start} to {RANGE.stop}")

    def __enter__(self) -> Ports:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the decades back."""
        for kept in self._kept:
            kept.close()
        self._kept.clear()

    def _take(self, first: int) -> bool:
        reserving = _bound(first + _RESERVING, shared=False)
        if reserving is None:
            return False
        self._kept.append(reserving)
        probes = [_bound(first + offset, shared=True) for offset in range(_RESERVING)]
        for probe in probes:
            if probe is not None:
                probe.close()
        return None not in probes


def _bound(port: int, shared: bool) -> socket.socket | None:
    """A socket bound to the port, or None. `shared`: also where an earlier connection there is not yet forgotten."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(shared))
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock
