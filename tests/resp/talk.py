"""A session over the fake backend, spoken to in commands."""

from __future__ import annotations

from http_backend import FakeBackend
from resp_bytes import packed

from raftcache.frontends.resp.session import Session
from raftcache.frontends.resp.state import Front, Standing

NOTHING = b"$-1\r\n"


class Talk:
    """`say` sends one command and returns the bytes of what comes back; `wakes` counts late replies told of."""

    def __init__(self, backend: FakeBackend | None = None, front: Front | None = None) -> None:
        self.backend = backend or FakeBackend()
        self.front = front or Front(self.backend, Standing("n0", "f" * 40, 7103, 42, 1 << 30, lambda: 77, 8192))
        self.wakes = 0
        self.client = self.front.new_client()
        self.session = Session(self.front, self.client, self._woken)

    def _woken(self) -> None:
        self.wakes += 1

    def say(self, *words: bytes | str | int) -> bytes:
        return self.raw(packed(*words))

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and go on until all of them are executed."""
        self.session.receive(data)
        said = self.session.take()
        while self.session.unfinished:
            self.session.go_on()
            said += self.session.take()
        return said

    def rest(self) -> bytes:
        """What late replies brought."""
        self.session.go_on()
        return self.session.take()
