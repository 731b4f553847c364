"""What `redis.call` does: commands of the Redis table, executed by the shard at whose leader the script runs.

`Scripts` is what a shard's executor asks to run scripts (`shard.executor.Interpreter`). Commands that are plans can be
called, and TIME; what belongs to a connection or asks the whole cluster cannot. Texts of errors are Redis's (script.c).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from raftcache.commands.types import Command, Failure, Many, Reply, Script
from raftcache.errors import BadRequest, WrongShard
from raftcache.frontends.resp.encoding import array_head, bulk, error
from raftcache.frontends.resp.failures import failed_items, line_of, line_of_many
from raftcache.frontends.resp.scripts.sandbox import (
    RESULTS_LIMIT_BYTES,
    RUN_LIMIT_S,
    TRANSACTION_RUN_LIMIT_S,
    Allowance,
    DoesNotCompile,
    NoLua,
    Sandbox,
    Spent,
    Stopped,
    flags_of,
)
from raftcache.frontends.resp.spec import Args, Refused
from raftcache.frontends.resp.table import TABLE

NO_WRITES = "no-writes"
NO_LUA = "script: this node has no Lua; it comes with the extra raftcache[lua]"
_STOPPED = {
    "time": f"it used more than {RUN_LIMIT_S * 1000:.0f} ms of processor time, "
    f"or with the others of its transaction more than {TRANSACTION_RUN_LIMIT_S * 1000:.0f}",
    "instructions": "it executed too many instructions",
    "memory": "it used too much memory",
}
_SPENT = b"ERR the scripts before this one used up what those of one transaction may take: it was not executed"
_TOO_LONG = (
    f"ERR the results of the transaction's scripts are over the limit of {RESULTS_LIMIT_BYTES} bytes with this one's; "
    "what it had done remains"
).encode()
Execute = Callable[[Command], Reply]


class Scripts:
    """Runs scripts in a sandbox. `outcomes` counts what became of them."""

    def __init__(self, sandbox: Sandbox, wall_ms: Callable[[], int]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._sandbox, self._wall_ms = sandbox, wall_ms

    def __call__(self) -> Callable[[Script, Execute], Any]:
        """What runs the scripts of one command, within what they may take together."""
        return partial(self._run, Allowance())

    def _run(self, left: Allowance, command: Script, execute: Execute) -> Any:
        """Run a script; its result as `Scripted` has it. Raises BadRequest where there is no Lua."""
        calls: _Calls | None = None
        try:
            calls = _Calls(execute, self._wall_ms, command.read_only or NO_WRITES in flags_of(command.source))
            done, data = self._sandbox.run(command.source, command.keys, command.args, calls.reply, left)
        except NoLua:
            raise BadRequest(NO_LUA) from None
        except DoesNotCompile as problem:
            return self._failed("does_not_compile", f"ERR Error compiling script (new function): {problem}".encode())
        except Spent:
            return self._failed("not_begun", _SPENT)
        except Stopped as stopped:
            if calls is not None and calls.defect is not None:
                raise calls.defect from None
            why = f"ERR the script was stopped, for {_STOPPED[stopped.reason]}; what it had done before remains"
            return self._failed(stopped.reason, why.encode())
        if left.result_bytes < 0:
            return self._failed("memory", _TOO_LONG)
        if not done:
            return self._failed("failed", data)
        self.outcomes["done"] += 1
        return msgspec.msgpack.decode(data)

    def _failed(self, outcome: str, line: bytes) -> dict[str, bytes]:
        self.outcomes[outcome] += 1
        return {"err": line}


class _Calls:
    """The commands of one script. `defect` is what was raised by one of them, which only a defect of ours is."""

    def __init__(self, execute: Execute, wall_ms: Callable[[], int], read_only: bool) -> None:
        self.defect: BaseException | None = None
        self._execute, self._wall_ms, self._read_only = execute, wall_ms, read_only

    def reply(self, args: Args) -> bytes:
        """Execute a command: its reply in RESP2. Never raises, for there is Lua between here and who could see it."""
        try:
            return self._reply(args)
        except Refused as refusal:
            return error(str(refusal))
        except BaseException as defect:
            self.defect = defect
            return b"!"

    def _reply(self, args: Args) -> bytes:
        spec = TABLE.get(args[0]) or TABLE.get(args[0].upper())
        if spec is None:
            raise Refused("ERR Unknown Redis command called from script")
        if not spec.fits(len(args)):
            raise Refused("ERR Wrong number of args calling Redis command from script")
        if spec.name == "time":
            return self._time()
        if spec.plan is None:
            raise Refused("ERR This Redis command is not allowed from script")
        if self._read_only and "write" in spec.flags:
            raise Refused("ERR Write commands are not allowed from read-only scripts.")
        command, shape = spec.plan(args, self._wall_ms)
        reply = self._execute(command)
        if isinstance(reply, Failure):
            return error(_line(reply))
        if isinstance(reply, Many) and (failed := failed_items(reply.items)):
            return error(line_of_many(reply.items, failed))
        return shape(reply, False)

    def _time(self) -> bytes:
        seconds, ms = divmod(self._wall_ms(), 1000)
        return array_head(2) + bulk(b"%d" % seconds) + bulk(b"%d" % (ms * 1000))


def _line(failure: Failure) -> str:
    """Of a key elsewhere no client may be told that it should try the whole script again: it has begun."""
    if failure.code == WrongShard.code:
        return "ERR Script attempted to access a non local key in a cluster node"
    return line_of(failure)
