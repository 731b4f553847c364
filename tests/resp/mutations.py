"""Broken inputs from good ones, in an order that a seed decides: for the tests, and for `scripts/fuzz-resp`.

Run as a program, by that script, it sends as many as it is told.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from http_backend import TERM, FakeBackend, StoppedRuntime
from resp_bytes import cut, packed

from raftcache.commands.table import validate
from raftcache.commands.types import Counted, Single, Value, Written
from raftcache.frontends.resp.session import Session
from raftcache.frontends.resp.state import Front
from raftcache.frontends.resp.table import TABLE
from raftcache.store.entry import Entry, Looked

WORDS = (
    *(b"k", b"a", b"", b"0", b"-1", b"1", b"10", b"9223372036854775807", b"-9223372036854775808", b"NX", b"EX", b"PX"),
    *(b"EXAT", b"ACK", b"quorum", b"IFVERSION", b"v7c1f.3.1", b"WAIT", b"LIST", b"SETNAME", b"GETKEYS", b"GET", b"3"),
    *(b"AUTH", b"default", b"x" * 300, b"\xff\x00\r\n", b"*3\r\n", b"$5\r\n", b"'", b'"'),
)
PIECES = (
    *(b"*", b"$", b"\r\n", b"\n", b"*-1\r\n", b"$-1\r\n", b"*1000000000\r\n", b"$536870912\r\n", b"%2\r\n"),
    b"~9999\r\n",
    *(b":1\r\n", b"+OK\r\n", b"-ERR\r\n", b"_\r\n", b"#t\r\n", b"\x00", b"'", b'"', b"\\", b" ", b"9" * 20, b"|1\r\n"),
)
NAMES = sorted(name for name in TABLE if name.isupper())
ENTRIES_LIMIT = 1000
"""Keys in the fake backend: it is emptied then, for its memory is not what is looked at."""
TURNS_LIMIT = 1000
"""Turns that an input may take: one that needs more does not come to an end."""
GROWTH_LIMIT_KIB = 16 * 1024
"""What the process may grow by, after the first inputs have filled its tables and the allocator's pools."""


class Turns(StoppedRuntime):
    """What is put off for a turn of the loop waits until the fuzzer makes that turn."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[Callable[[], None]] = deque()

    def call_soon(self, callback: Callable[[], None]) -> Any:
        self.waiting.append(callback)


class StrictBackend(FakeBackend):
    """Refuses what shards refuse: the fake one takes any time to live, and gives it back."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime: Turns = Turns()

    def look(self, key: bytes, now_s: float) -> Looked:
        """Short keys are looked at, so that both ways of a read are taken."""
        if len(key) > 1:
            return None
        kept = self.entries.get(key)
        return False if kept is None else Entry(kept[0], kept[1], 0, 1, TERM, self.seq)

    def _execute(self, command: Single) -> Value | Written | Counted:
        validate(command, self.namespaces())
        return super()._execute(command)


def stream(chance: random.Random) -> bytes:
    """A few commands, most of them well formed, and then damaged in a few places, or not."""
    commands = []
    for _ in range(chance.randint(1, 4)):
        words = [chance.choice(NAMES), *chance.choices(WORDS, k=chance.choice((0, 1, 1, 2, 2, 3, 5, 9)))]
        commands.append(b" ".join(words) + b"\n" if chance.random() < 0.1 else packed(*words))
    data = bytearray(b"".join(commands))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        damage(data, chance)
    return bytes(data)


def damage(data: bytearray, chance: random.Random) -> None:
    """Change, remove, repeat or insert something somewhere."""
    at = chance.randrange(len(data) + 1)
    how = chance.randrange(5)
    if how == 0:
        data[at:at] = chance.choice(PIECES)
    elif how == 1:
        del data[at : at + chance.choice((1, 1, 2, 8))]
    elif how == 2 and at < len(data):
        data[at] = chance.randrange(256)
    elif how == 3:
        data[at:at] = data[at : at + chance.randint(1, 30)]
    else:
        data[at:at] = chance.randbytes(chance.randint(1, 6))


class Fuzz:
    """Feeds inputs to sessions over one front. `problem` is called with the input that broke a rule, and which."""

    def __init__(self, seed: int, problem: Callable[[bytes, str], None]) -> None:
        self.chance = random.Random(seed)
        self.backend = StrictBackend()
        self.front = Front(self.backend)
        self.problem = problem
        self.commands = 0

    def once(self) -> None:
        """One input, cut anywhere, at a connection of its own."""
        self.feed(stream(self.chance))

    def feed(self, data: bytes) -> None:
        """That input, cut anywhere, at a connection of its own."""
        client = self.front.new_client()
        session = Session(self.front, client, lambda: None)
        reader = hiredis.Reader(protocolError=ValueError)
        turns = 0
        for piece in cut(data, self.chance.choices(range(len(data) + 1), k=self.chance.choice((0, 0, 1, 3)))):
            session.receive(piece)
            reader.feed(session.take())
            while (session.unfinished or self.backend.runtime.waiting) and turns < TURNS_LIMIT:
                turns += 1
                self._turn(session)
                reader.feed(session.take())
        self._judge(data, reader, session, turns)
        self.backend.runtime.waiting.clear()
        session.close()
        self.front.clients.pop(client.id)
        if len(self.backend.entries) > ENTRIES_LIMIT:
            self.backend.entries.clear()
        self.backend.commands.clear()
        self.backend.asked.clear()

    def _turn(self, session: Session) -> None:
        """One turn of the loop: what was put off for it, then what the connection had left."""
        waiting = self.backend.runtime.waiting
        for _ in range(len(waiting)):
            waiting.popleft()()
        if session.unfinished:
            session.go_on()

    def _judge(self, data: bytes, reader: hiredis.Reader, session: Session, turns: int) -> None:
        try:
            while (reply := reader.gets()) is not False:
                self.commands += 1
                if isinstance(reply, hiredis.ReplyError) and "defect" in str(reply):
                    self.problem(data, f"a defect: {reply}")
        except ValueError as error:
            return self.problem(data, f"a reply that clients cannot read: {error}")
        if reader.has_data():
            self.problem(data, "a reply is not whole")
        if turns >= TURNS_LIMIT:
            self.problem(data, "it does not come to an end")
        if not (session.hungry or session.over):
            self.problem(data, "neither open nor over")


def main() -> int:
    """Fuzz, and say how it went."""
    parser = argparse.ArgumentParser(description="Mutated inputs for the Redis protocol's port")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    problems: list[tuple[bytes, str]] = []
    fuzz = Fuzz(args.seed, lambda data, what: problems.append((data, what)))
    started, slowest, memory = time.monotonic(), 0.0, 0
    for number in range(args.inputs):
        began = time.monotonic()
        fuzz.once()
        slowest = max(slowest, time.monotonic() - began)
        if number == min(10_000, args.inputs - 1):
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if grown > GROWTH_LIMIT_KIB:
        problems.append((b"", f"memory grew by more than {GROWTH_LIMIT_KIB} KiB"))
    for data, what in problems[:10]:
        print(f"{what}: {data!r}")
    print(
        f"{args.inputs} inputs from seed {args.seed}, {fuzz.commands} replies, {len(problems)} problems, "
        f"{time.monotonic() - started:.0f} s, the slowest {slowest * 1000:.0f} ms, "
        f"memory grew by {grown} KiB after the first 10,000"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
