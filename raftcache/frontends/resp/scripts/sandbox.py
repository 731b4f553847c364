"""Lua, from outside: `sandbox.lua` in an interpreter of its own, with what bounds a script.

A script runs on the event loop, which does nothing else meanwhile. So it gets RUN_LIMIT_S of processor time, looked at
every HOOK_PERIOD instructions and in whatever may take long, and INSTRUCTIONS_LIMIT; over one of them it is stopped. An
interpreter of which a script was stopped is thrown away with whatever that left in it.

The scripts of one transaction, of which there may be a thousand, run in one turn of the loop. So they have an
`Allowance` together, of twice what a single script may take: enough for a thousand of 30 us, which is what one takes
that reads a key and writes it, and far from an election timeout.

`lupa` brings Lua. It is an extra of the project's: without it `Sandbox.run` refuses.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha1
from importlib import resources
from typing import Any

from raftcache.frontends.resp.scripts.bits import calculate

try:
    from lupa import lua51
except ImportError:
    lua51 = None

RUN_LIMIT_S = 0.05
INSTRUCTIONS_LIMIT = 20_000_000
TRANSACTION_RUN_LIMIT_S = 2 * RUN_LIMIT_S
TRANSACTION_INSTRUCTIONS_LIMIT = 2 * INSTRUCTIONS_LIMIT
"""What all scripts of a transaction may take together; compiling them counts as well."""
HOOK_PERIOD = 100
MEMORY_LIMIT_BYTES = 16 << 20
"""What a script may take beyond what it was handed."""
RESULTS_LIMIT_BYTES = MEMORY_LIMIT_BYTES
"""Of the results of all scripts of a transaction: as large as a single one's may be."""
KEPT_BYTES = 32 << 20
"""An interpreter that has grown beyond, by compiled scripts and what is not collected yet, is replaced."""
STRING_LIMIT_BYTES = 4 << 20
"""Of what string.rep makes."""
PATTERN_STEPS = 10_000_000
"""What matching a pattern may take at the worst. Where that bound is over it, the pattern is refused."""
COMPILED_LIMIT = 500
"""Scripts kept compiled, of which the one unused for longest goes."""

PARTS = ("results.lua", "json.lua", "bit.lua", "bounded.lua")
"""What `sandbox.lua` is handed, in that order."""
FLAGS = frozenset({"no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"})
"""What a script's first line may say. Only the first changes anything here."""

Invoke = Callable[[list[bytes]], bytes]
"""A command of a script, and its reply in RESP2. Must not raise."""


class NoLua(Exception):
    """There is no Lua here."""


class DoesNotCompile(Exception):
    """The text of a script is none: the text says why."""


class Stopped(Exception):
    """A script that went over a bound; `reason` is `time`, `instructions`, `memory` or `defect`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Spent(Exception):
    """A script that was not begun, because those before it in its transaction have used up what they have together."""


class Allowance:
    """What the scripts of one command, a transaction or a script, may still take."""

    __slots__ = ("instructions", "result_bytes", "seconds")

    def __init__(self) -> None:
        self.seconds = TRANSACTION_RUN_LIMIT_S
        self.instructions = TRANSACTION_INSTRUCTIONS_LIMIT
        self.result_bytes = RESULTS_LIMIT_BYTES

    def is_spent(self) -> bool:
        """Whether no script may begin any more."""
        return self.seconds <= 0 or self.instructions <= 0 or self.result_bytes <= 0


class Sandbox:
    """Runs scripts, one at a time. `clock` tells the processor time that this thread has used, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lua: Any = None
        self._compile: Any = None
        self._run: Any = None
        self._forget: Any = None
        self._compiled: OrderedDict[bytes, None] = OrderedDict()
        self._invoke: Invoke | None = None
        self._limit_bytes = 0
        self._run_s = self._until_s = 0.0

    def compile(self, source: bytes) -> bytes:
        """Make a script ready to run; returns its SHA-1. Raises DoesNotCompile, NoLua."""
        flags_of(source)
        sha = sha1(source).hexdigest().encode()
        if self._lua is None:
            self._open()
        if sha in self._compiled:
            self._compiled.move_to_end(sha)
            return sha
        problem = self._compile(sha, _body(source))
        if problem is not None:
            raise DoesNotCompile(problem.decode(errors="replace"))
        self._compiled[sha] = None
        if len(self._compiled) > COMPILED_LIMIT:
            self._forget(self._compiled.popitem(last=False)[0])
        return sha

    def run(
        self,
        source: bytes,
        keys: tuple[bytes, ...],
        args: tuple[bytes, ...],
        invoke: Invoke,
        left: Allowance | None = None,
    ) -> tuple[bool, bytes]:
        """Run a script: true and its result in msgpack, or false and its error. What it takes goes from `left`.

        Raises Stopped, Spent, DoesNotCompile, NoLua."""
        left = Allowance() if left is None else left
        if left.is_spent():
            raise Spent
        began_s = self._clock()
        try:
            done, data = self._run_compiled(self.compile(source), keys, args, invoke, left)
        finally:
            left.seconds -= self._clock() - began_s
        left.result_bytes -= len(data)
        return done, data

    def _run_compiled(
        self, sha: bytes, keys: tuple[bytes, ...], args: tuple[bytes, ...], invoke: Invoke, left: Allowance
    ) -> tuple[bool, bytes]:
        ticks_limit = min(INSTRUCTIONS_LIMIT, left.instructions) // HOOK_PERIOD
        self._invoke, self._run_s = invoke, min(RUN_LIMIT_S, left.seconds)
        try:
            kind, data, ticks = self._run(sha, ticks_limit, len(keys), *keys, *args)
        except lua51.LuaError:
            kind, data, ticks = b"killed", b"memory", ticks_limit
        finally:
            self._invoke = None
            if self._lua is not None:
                self._lua.set_max_memory(0)
        left.instructions -= ticks * HOOK_PERIOD
        if kind == b"killed":
            self._close()
            raise Stopped(data.decode())
        if self._lua.get_memory_used(True) > KEPT_BYTES:
            self._close()
        return kind == b"done", data

    def _open(self) -> None:
        if lua51 is None:
            raise NoLua
        self._lua = lua51.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=False,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
            max_memory=0,
        )
        parts = [self._lua.execute(_text(name), name=b"=sandbox") for name in PARTS]
        limits = (HOOK_PERIOD, STRING_LIMIT_BYTES, PATTERN_STEPS)
        opened = self._lua.execute(_text("sandbox.lua"), *_callbacks(self), *limits, *parts, name=b"=sandbox")
        self._compile, self._run, self._forget = opened

    def _close(self) -> None:
        self._lua = self._compile = self._run = self._forget = None
        self._compiled.clear()

    # -- what the sandbox calls ------------------------------------------------------------------

    def begin(self) -> None:
        """What was handed over is there: from now on all counts."""
        self._until_s = self._clock() + self._run_s
        self._limit_bytes = self._lua.get_memory_used(True) + MEMORY_LIMIT_BYTES
        self.arm()

    def arm(self) -> None:
        """Bound the memory again."""
        self._lua.set_max_memory(self._limit_bytes, True)

    def late(self) -> bool:
        """Whether the script's time is over."""
        return self._clock() > self._until_s

    def invoke(self, *args: bytes) -> bytes:
        """Execute a command. The bound of the memory is lifted, since there is no way to fail behind this."""
        assert self._invoke is not None, "a script that calls while none runs"
        reply = self._invoke(list(args))
        self._lua.set_max_memory(0)
        return reply

    def sha1(self, text: bytes) -> bytes:
        """SHA-1 in hexadecimal. The bound of the memory is lifted."""
        self._lua.set_max_memory(0)
        return sha1(text).hexdigest().encode()


def flags_of(source: bytes) -> frozenset[str]:
    """What the first line of a script says about it: `#!lua flags=no-writes,…`. Raises DoesNotCompile."""
    if not source.startswith(b"#!"):
        return frozenset()
    words = source.partition(b"\n")[0][2:].decode(errors="replace").split()
    if not words or words[0] != "lua":
        raise DoesNotCompile(f"Unexpected engine in script shebang: {words[0] if words else ''}")
    given = [flag for word in words[1:] for flag in word.removeprefix("flags=").split(",")]
    unknown = next((flag for flag in given if flag and flag not in FLAGS), None)
    if unknown is not None:
        raise DoesNotCompile(f"Unexpected flag in script shebang: {unknown}")
    return frozenset(given)


def _body(source: bytes) -> bytes:
    """A script without its first line, where that is none of Lua's; lines are counted all the same."""
    return b"".join(source.partition(b"\n")[1:]) if source.startswith(b"#!") else source


def _callbacks(sandbox: Sandbox) -> list[Callable[..., Any]]:
    """What is called from Lua. An interpreter in Lua that held its sandbox would never be collected."""
    weak = weakref.proxy(sandbox)
    return [
        lambda: weak.begin(),
        lambda *args: weak.invoke(*args),
        lambda: weak.arm(),
        lambda: weak.late(),
        lambda text: weak.sha1(text),
        calculate,
    ]


def _text(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _refuse(_object: Any, name: Any, _setting: bool) -> Any:
    """Nothing of any Python object is for Lua."""
    raise AttributeError(name)
