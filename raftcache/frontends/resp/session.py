"""One connection, without its socket: bytes in, commands executed in their order, replies out in the same order.

Most commands are answered before `execute` returns, and then cost no more than their bytes. A reply that comes later (a
write that waits for its commit, a command for a shard elsewhere) leaves a *slot* in the queue of replies, and those
behind it wait there: for this connection only. Plain writes that wait for the same batch share a slot, where nothing
was asked between them. Commands are executed on all the same, up to `PENDING_LIMIT` of them; then nothing more is read
until half of the queue has gone.

A turn of the loop executes at most `COMMANDS_PER_TURN` commands and stops at `OUTPUT_PER_TURN_BYTES` of replies, so
that one connection with a deep pipeline holds up neither the others nor Raft; what is left waits, unparsed, for the
next one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from raftcache.commands.types import Command, Many, Reply, Set, Version
from raftcache.frontends.resp.describing import find
from raftcache.frontends.resp.encoding import OK
from raftcache.frontends.resp.parsing import Parser, ProtocolError
from raftcache.frontends.resp.redirecting import as_replica_read, redirection
from raftcache.frontends.resp.replying import defect_bytes, error_bytes, reply_bytes, shed_bytes
from raftcache.frontends.resp.spec import Args, Planned, Refused, Run, Shape, Spec
from raftcache.frontends.resp.state import REQUEST_TIMEOUT_S, Client, Front
from raftcache.frontends.resp.strings import stored
from raftcache.frontends.resp.table import TABLE
from raftcache.frontends.resp.transactions import queue
from raftcache.shard.joint import JointWrites

log = logging.getLogger("raftcache.resp")

PENDING_LIMIT = 1024
"""Replies that a connection may wait for."""
HELD_LIMIT_BYTES = 8 << 20
"""Replies that are there and wait behind one that is not: no further command is executed over it."""
HELD_HARD_LIMIT_BYTES = 64 << 20
"""The same, of commands that were under way already: over it the connection is given up."""
COMMANDS_PER_TURN: Final = 256
OUTPUT_PER_TURN_BYTES = 1 << 20
RUN_LIMIT: Final = 64
"""Commands of one name that are executed together."""
ALONE_FIRST: Final = 16
"""Commands of one name that are executed one by one after a run of which nothing came."""
ALONE_LIMIT: Final = 1024
"""To so many it is doubled while nothing comes of the runs after them either."""
TOGETHER_LIMIT: Final = 16
"""Commands that are asked for together: their replies fit into one message, whatever the values."""
TOGETHER_FIRST: Final = 4
"""As many at first. It is doubled while their replies are small."""
TOGETHER_LEAST: Final = 2
"""As many after replies of more than `OUTPUT_PER_TURN_BYTES`: what is asked for together comes at once."""
TOGETHER_LIMIT_BYTES = 1 << 20
"""Of the arguments of such, after which no more are taken along."""
NOTHING: Final = Spec("", 0, (), "", "", "")
CROSS_PROTOCOL: Final = frozenset({b"POST", b"HOST:"})
"""What a browser's request begins with, or has in its second line. A page from anywhere can make it send one to a port
on its own machine, with commands in the body (`securityWarningCommand` in Redis's networking.c)."""


class _Slot:
    """One reply's place. It is the callback that the backend calls with the reply. `others`: how many more replies it
    stands for."""

    __slots__ = ("_command", "_resp3", "_session", "_shape", "data", "others", "queued")

    def __init__(self, session: Session, command: Any, shape: Shape | None, resp3: bool) -> None:
        self._session, self._command, self._shape, self._resp3 = session, command, shape, resp3
        self.data: bytes | None = None
        self.queued = False
        self.others = 0

    def __call__(self, reply: Reply) -> None:
        session = self._session
        self.done(reply_bytes(session.front, session.client, reply, self._command, self._shape, self._resp3))

    def done(self, data: bytes) -> None:
        """The reply's bytes. Only the first count."""
        if self.data is None:
            self.data = data
            if self.queued:
                self._session.answered(self)


class _ManySlot(_Slot):
    """The place of the replies of commands that are asked for together."""

    __slots__ = ()

    def __call__(self, reply: Reply) -> None:
        session, asked = self._session, self._command.items
        items = reply.items if type(reply) is Many else (reply,) * len(asked)
        front, client, shape, resp3 = session.front, session.client, self._shape, self._resp3
        pairs = zip(items, asked, strict=True)
        data = b"".join([reply_bytes(front, client, item, each, shape, resp3) for item, each in pairs])
        session.together_came(len(data))
        self.done(data)


class _JointSlot(_Slot):
    """The place of the replies of joint writes."""

    __slots__ = ("_writes",)

    def __init__(self, session: Session, writes: JointWrites, resp3: bool) -> None:
        super().__init__(session, None, None, resp3)
        self._writes = writes

    def told(self, replies: list[Reply] | None) -> None:
        """All replies are there; None: all are written."""
        if replies is None:
            return self.done(OK * (self.others + 1))
        self.done(b"".join([self._bytes(*each) for each in zip(self._writes.items, replies, strict=True)]))

    def _bytes(self, item: tuple[bytes, bytes, Version], reply: Reply) -> bytes:
        session = self._session
        return reply_bytes(session.front, session.client, reply, Set(item[0], item[1]), stored, self._resp3)


class Session:
    """`receive` bytes, `take` what is to be sent, `go_on` when there is room again. `wake` is called when a late reply
    has brought something to take or made room to go on; never from inside a call of this object's own.

    `hungry`: more bytes may be received. `unfinished`: there is more to execute, in another turn. `over`: all is said,
    the connection may be closed. `broken`: it must be, at once; says why.
    """

    def __init__(self, front: Front, client: Client, wake: Callable[[], None]) -> None:
        self.front, self.client = front, client
        self.unfinished = False
        self.broken = ""
        self.output_blocked = False
        self._wake = wake
        self._parser = Parser(front.room)
        self._out: list[bytes] = []
        self._out_bytes = self._held_bytes = 0
        self._pending: deque[_Slot] = deque()
        self._others = 0  # Replies that share a slot with another one.
        self._newest_joint: _JointSlot | None = None
        self._alone: tuple[Spec, Args] | None = None  # A command that waits until nothing is pending.
        self._barrier: _Slot | None = None  # Its slot, while it is under way.
        self._full = self._running = self._ending = self._closed = False
        self._word, self._words, self._spec = b"", 0, NOTHING
        self._counted, self._calls = NOTHING, 0
        self._took_time = False
        self._left = 0  # Commands that the turn may execute yet.
        self._ran = NOTHING  # The newest command that a run was tried for,
        self._alone_left = 0  # how many of it are not to be tried, and how many next time.
        self._alone_next: int = ALONE_FIRST
        self._together_limit: int = TOGETHER_FIRST
        self._ahead: list[Args] = []  # Taken from the parser, and not executed yet: the next one is the last.

    # -- the socket's side -----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        self.front.metrics.received_bytes += len(data)
        now_s = self.client.seen_s = self.front.runtime.now()
        if not self.client.leaving:
            self._parser.feed(data)
            self._go_on(now_s)

    def end_of_input(self) -> None:
        """No more bytes come; what was asked is answered all the same."""
        self._ending = True
        self.go_on()

    def leave(self) -> None:
        """Execute nothing more, and be over when what is pending is answered."""
        self.client.leaving = True

    def close(self) -> None:
        """The connection is gone: late replies are dropped."""
        self._closed = self.client.leaving = True
        self._parser.close()
        self._ahead.clear()
        self._pending.clear()
        self._out.clear()

    def take(self) -> bytes:
        """What is to be sent now."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._out_bytes = 0
        self.front.metrics.sent_bytes += len(data)
        return data

    @property
    def hungry(self) -> bool:
        """Whether more bytes may be received. Also false while what was received is not executed."""
        return not (self.unfinished or self.client.leaving or self._ending or self._stalled())

    @property
    def has_more(self) -> bool:
        """Whether `go_on` may have something to do: bytes that arrived, or the end behind them."""
        return self.unfinished or self._ending or bool(self._ahead) or not self._parser.is_empty

    @property
    def over(self) -> bool:
        """Whether there is nothing left to say."""
        return self.client.leaving and not self._pending and not self._out

    # -- executing -------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Execute what has been received, as far as one turn goes."""
        self._go_on(self.front.runtime.now())

    def _go_on(self, now_s: float) -> None:
        self._running = True
        try:
            self._execute(now_s)
        except ProtocolError as problem:
            self.front.metrics.protocol_errors += 1
            self._say(error_bytes(self.front, f"ERR Protocol error: {problem}"))
            self.client.leaving = True
        finally:
            self._running = False
            self._count_calls()

    def _execute(self, now_s: float) -> None:
        """`now_s` is one look at the clock for a run of quick commands, for each was received before it. Any other one
        may take its time, and the clock is read again."""
        self.unfinished = False
        shedding, client = self.front.shedding(), self.client
        self._left = COMMANDS_PER_TURN
        while self._left > 0:
            if client.leaving or self._stalled():
                return
            if self._out_bytes >= OUTPUT_PER_TURN_BYTES:
                break
            args = self._ahead.pop() if self._ahead else self._parser.next()
            if args is None:
                client.leaving = self._ending
                return
            self._left -= 1
            self._start(args, now_s, shedding)
            if self._took_time:
                self._took_time, now_s = False, self.front.runtime.now()
        self.unfinished = True

    def _stalled(self) -> bool:
        return self._full or self.output_blocked or self._alone is not None or self._barrier is not None

    def _start(self, args: Args, now_s: float, shedding: bool) -> None:
        """Execute one command, and put its reply, or the place for it, into the queue."""
        front, client = self.front, self.client
        try:
            spec = self._spec_of(args)
        except Refused as refusal:
            if args[0].upper() in CROSS_PROTOCOL:
                return self._turn_away(args[0])
            if client.block is not None:
                client.block.broken = True
            known = TABLE.get(args[0].upper())
            front.metrics.rejected[known.name if known is not None else "unknown"] += 1
            return self._say(error_bytes(front, str(refusal)))
        if spec is not self._counted:
            self._count_calls()
            self._counted, client.last_command = spec, spec.name
        self._calls += 1
        if spec.quick is None and spec.run is None:
            self._count_calls()
        topology = front.topology
        if topology is not None and (elsewhere := redirection(topology, client, spec, args)):
            if client.block is not None:
                client.block.broken = True
            return self._say(error_bytes(front, elsewhere))
        if client.block is not None and not spec.at_once:
            return self._say(queue(front, client, client.block, spec, args))
        if shedding and spec.local is None and not spec.at_once:
            return self._say(shed_bytes(front))
        if spec.alone and self._pending:
            self._alone = spec, args
            return
        self._perform(spec, args, now_s)

    def _count_calls(self) -> None:
        """Count the calls of the newest command: a run of quick ones at once, at the end of the turn at the latest."""
        if self._calls:
            self.front.metrics.calls[self._counted.name] += self._calls
            self._calls = 0

    def _spec_of(self, args: Args) -> Spec:
        """The row of a command: as a rule that of the command before it. Raises Refused."""
        if args[0] is self._word and len(args) == self._words:
            return self._spec
        spec = find(TABLE, args)
        if "|" not in spec.name:
            self._word, self._words, self._spec = args[0], len(args), spec
        return spec

    def _turn_away(self, word: bytes) -> None:
        """Say nothing and execute nothing more: whoever sent this does not know what it sends."""
        self.front.metrics.protocol_errors += 1
        self.client.leaving = True
        log.warning("%s sent %r, as HTTP does: the connection is closed", self.client.address, word.decode())

    def _perform(self, spec: Spec, args: Args, now_s: float) -> None:
        front, client = self.front, self.client
        self._took_time = True
        try:
            if spec.run is not None and self._run(spec, spec.run, args, now_s):
                return
            if spec.plan is not None:
                slot = self._ask(spec, args, now_s)
                if slot is None:
                    return
            elif spec.later is not None:
                slot = _Slot(self, None, None, client.resp3)
                spec.later(front, client, args, slot.done)
            else:
                assert spec.local is not None, "a command is one of three kinds"
                return self._say(spec.local(front, client, args))
        except Refused as refusal:
            front.metrics.rejected[spec.name] += 1
            return self._say(error_bytes(front, str(refusal)))
        except Exception:
            return self._say(defect_bytes(front, spec.name))
        self._queue(slot, spec.alone)

    def _run(self, spec: Spec, execute: Run, args: Args, now_s: float) -> bool:
        """Execute a command together with those behind it that are like it, as far as no command has to be made for
        them. Returns whether it is executed itself."""
        commands, count = self._alike(spec, args), 1
        try:
            ran = execute(self.front, self.client, commands, now_s, OUTPUT_PER_TURN_BYTES - self._out_bytes)
            if ran is None:
                taken = self._ask_together(spec, commands, now_s)
                self._note_run(len(commands), taken)
                count = max(1, taken)
                return taken > 0
            count = ran.count
        finally:  # Also where a defect raises: that is the first one's answer, and each of the others has its own.
            self._ahead += reversed(commands[count:])
        self._took_time = False
        self._note_run(len(commands), count)
        self._count_others(count - 1)
        if ran.joint:
            self._join(ran.joint)
        else:
            self._say_pieces(ran.pieces)
        return True

    def _note_run(self, length: int, executed: int) -> None:
        """So many of a run were executed or asked for. Of some commands nothing comes for long: counters of a shard
        elsewhere, of a namespace with times to live. To collect those behind each would cost more than they do."""
        if executed:
            self._alone_next = ALONE_FIRST
        elif length > 1:
            self._alone_left, self._alone_next = self._alone_next, min(2 * self._alone_next, ALONE_LIMIT)

    def _ask_together(self, spec: Spec, commands: list[Args], now_s: float) -> int:
        """Ask the shards for the first few of a run by one command. Returns how many; 0 for none.

        Of commands for a shard elsewhere nearly all that they cost is being sent and answered, not executed. One that
        had an answer at once gets it with the others here: it had to come behind the first one's anyway. They are of
        one namespace, so that as a rule all wait for the same."""
        client, together = self.client, spec.together
        if together is None or client.readonly:
            return 0
        count = self._few_of(commands)
        asked = together(commands[:count]) if count > 1 else None
        if asked is None:
            return 0
        command, shape = asked
        slot = _ManySlot(self, command, shape, client.resp3)
        self.front.backend.execute(command, now_s + REQUEST_TIMEOUT_S, slot)
        self._queue(slot, False)
        self._count_others(count - 1)
        if slot.queued:
            slot.others = count - 1
            self._others += count - 1
            self._heed_limits()
        return count

    def _few_of(self, commands: list[Args]) -> int:
        """How many of a run may be asked for together."""
        resolve = self.front.backend.namespaces().resolve
        namespace, count, size_bytes = resolve(commands[0][1]), 0, 0
        for args in commands[: self._together_limit]:
            size_bytes += len(args[1]) + len(args[-1])
            if size_bytes > TOGETHER_LIMIT_BYTES or resolve(args[1]) is not namespace:
                break
            count += 1
        return count

    def together_came(self, size_bytes: int) -> None:
        """So many bytes of replies came together. Nobody knows before how many it will be."""
        few = size_bytes > OUTPUT_PER_TURN_BYTES
        self._together_limit = TOGETHER_LEAST if few else min(TOGETHER_LIMIT, 2 * self._together_limit)

    def _count_others(self, others: int) -> None:
        """So many more commands are executed than the one that the turn has counted."""
        self._calls += others
        self._left -= others

    def _alike(self, spec: Spec, args: Args) -> list[Args]:
        """A command, and those behind it with its name and as many arguments, as many as may be executed now."""
        if spec is not self._ran:
            self._ran, self._alone_left = spec, 0
        if self._alone_left:
            self._alone_left -= 1
            return [args]
        commands, ahead = [args], self._ahead
        most = min(RUN_LIMIT, self._left + 1, PENDING_LIMIT - len(self._pending) - self._others)
        while ahead and len(commands) < most:
            commands.append(ahead.pop())
        if not ahead and len(commands) < most:
            commands += self._parser.more(args[0], most - len(commands))
        topology = self.front.topology
        if topology is not None:
            for place in range(1, len(commands)):
                if redirection(topology, self.client, spec, commands[place]):
                    ahead += reversed(commands[place:])
                    return commands[:place]
        return commands

    def _ask(self, spec: Spec, args: Args, now_s: float) -> _Slot | None:
        """Ask the shards. Returns the place of a reply that is to come, None where it has come. Raises Refused."""
        front, client = self.front, self.client
        planned: Planned | None = None
        if spec.quick is not None:
            said = spec.quick(front, client, args, now_s)
            if type(said) is list:
                self._took_time = False
                self._say_pieces(said)
                return None
            planned = said  # type: ignore[assignment]
        if planned is None:
            assert spec.plan is not None
            planned = spec.plan(args, front.runtime.wall_ms)
        command, shape = planned
        if client.readonly and front.topology is not None:
            command = as_replica_read(front, front.topology, command)
        return self._submit(command, shape, now_s)

    def _submit(self, command: Command, shape: Shape, now_s: float) -> _Slot | None:
        """The same of one command."""
        front, client = self.front, self.client
        late: _Slot | None = None

        def later() -> _Slot:
            nonlocal late
            late = _Slot(self, command, shape, client.resp3)
            return late

        reply = front.backend.execute_now(command, now_s + REQUEST_TIMEOUT_S, later)
        if reply is not None:
            self._say(reply_bytes(front, client, reply, command, shape, client.resp3))
            return None
        assert late is not None, "nobody waits for a reply that is to come"
        return late

    def _join(self, joined: list[JointWrites]) -> None:
        """More writes wait: each with those that have the newest slot, or in a slot of its own."""
        for writes in joined:
            slot = self._newest_joint
            if writes.tell is None or slot is None:
                slot = _JointSlot(self, writes, self.client.resp3)
                writes.tell = slot.told
                self._queue(slot, False)
                self._newest_joint, self.client.joint.newest = slot, writes
            else:
                slot.others += 1
                self._others += 1
        self._heed_limits()

    def _queue(self, slot: _Slot, alone: bool) -> None:
        self.client.joint.newest = None  # What waits after this is answered after it.
        data = slot.data
        if data is not None and not self._pending:
            self._out.append(data)
            self._out_bytes += len(data)
            return
        slot.queued = True
        self._pending.append(slot)
        if alone:
            self._barrier = slot
        if data is not None:
            self._held_bytes += len(data)
        self._heed_limits()

    def _say(self, data: bytes) -> None:
        """A reply that is there already."""
        if not self._pending:
            self._out.append(data)
            self._out_bytes += len(data)
            return
        slot = _Slot(self, None, None, False)
        slot.data = data
        self._queue(slot, False)

    def _say_pieces(self, pieces: list[bytes]) -> None:
        """The same, not put together yet."""
        if self._pending:
            return self._say(b"".join(pieces))
        self._out += pieces
        for piece in pieces:
            self._out_bytes += len(piece)

    # -- replies ---------------------------------------------------------------------------------

    def answered(self, slot: _Slot) -> None:
        """A reply that others may wait behind has come."""
        if self._closed:
            return
        assert slot.data is not None
        self._held_bytes += len(slot.data)
        if self._pending[0] is slot:
            self._release()
        elif self._held_bytes > HELD_HARD_LIMIT_BYTES:
            self.broken = "held_replies"
        else:
            return self._heed_limits()
        if not self._running:
            self._wake()

    def _release(self) -> None:
        """Let out the replies at the head of the queue that are there."""
        pending = self._pending
        while pending and (data := pending[0].data) is not None:
            slot = pending.popleft()
            if slot is self._barrier:
                self._barrier = None
            self._others -= slot.others
            self._held_bytes -= len(data)
            self._out.append(data)
            self._out_bytes += len(data)
        waiting = len(pending) + self._others
        if self._full and waiting <= PENDING_LIMIT // 2 and self._held_bytes <= HELD_LIMIT_BYTES // 2:
            self._full = False
        if self._alone is not None and not pending:
            (spec, args), self._alone = self._alone, None
            self._perform(spec, args, self.front.runtime.now())

    def _heed_limits(self) -> None:
        if self._full:
            return
        if len(self._pending) + self._others >= PENDING_LIMIT:
            self._full = True
            self.front.metrics.stalls["pending_replies"] += 1
        elif self._held_bytes >= HELD_LIMIT_BYTES:
            self._full = True
            self.front.metrics.stalls["held_bytes"] += 1
