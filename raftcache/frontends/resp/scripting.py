"""EVAL, EVALSHA, their read-only forms, and SCRIPT.

A script is sent whole to the leader of the shard of its keys, which runs it (`scripts`); between MULTI and EXEC it is a
command of a transaction like others (`transactions`). What EVALSHA names by its SHA-1 is kept here, at the port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raftcache.commands.types import SCRIPT_ARGUMENTS_LIMIT, SCRIPT_LIMIT_BYTES, Reply, Script, Scripted
from raftcache.frontends.resp.encoding import OK, Error, Status, bulk, encode
from raftcache.frontends.resp.redirecting import CROSS_SLOT
from raftcache.frontends.resp.replying import PRIMARY, error_bytes, reply_bytes
from raftcache.frontends.resp.scripts.sandbox import DoesNotCompile, NoLua
from raftcache.frontends.resp.spec import SYNTAX, Args, Later, Refused, ScriptPlan, integer
from raftcache.frontends.resp.state import REQUEST_TIMEOUT_S, Client, Front
from raftcache.routing.slots import slot_of

NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL."
Done = Callable[[bytes], None]


def script_of(by_sha: bool, read_only: bool) -> ScriptPlan:
    """What EVAL script numkeys [key ...] [arg ...] asks for, or EVALSHA sha1 … of one that was sent before."""

    def plan(front: Front, args: Args) -> Script:
        keys, rest = _keys_and_rest(args)
        return Script(_source(front, args[1], by_sha), tuple(keys), tuple(rest), read_only)

    return plan


def eval_(plan: ScriptPlan) -> Later:
    """EVAL and its kin, where they are executed at once."""

    def evaluate(front: Front, client: Client, args: Args, done: Done) -> None:
        command = plan(front, args)
        resp3 = client.resp3

        def answered(reply: Reply) -> None:
            done(told(front, client, command, reply, resp3, command.key))

        front.backend.execute(command, front.runtime.now() + REQUEST_TIMEOUT_S, answered)

    return evaluate


def _keys_and_rest(args: Args) -> tuple[Args, Args]:
    count = integer(args[2])
    if count > len(args) - 3:
        raise Refused("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise Refused("ERR Number of keys can't be negative")
    if len(args) - 3 > SCRIPT_ARGUMENTS_LIMIT:
        raise Refused(f"ERR a script has at most {SCRIPT_ARGUMENTS_LIMIT} keys and arguments")
    keys = args[3 : 3 + count]
    if len({slot_of(key) for key in keys}) > 1:
        raise Refused(CROSS_SLOT)
    return keys, args[3 + count :]


def _source(front: Front, given: bytes, by_sha: bool) -> bytes:
    if not by_sha:
        _require_size(given)
        front.scripts.add(given)
        return given
    source = front.scripts.find(given.lower())
    if source is None:
        raise Refused(NO_SCRIPT)
    return source


def _require_size(source: bytes) -> None:
    if len(source) > SCRIPT_LIMIT_BYTES:
        raise Refused(f"ERR script: {len(source)} bytes are over the limit of {SCRIPT_LIMIT_BYTES} bytes")


def told(front: Front, client: Client, command: Script, reply: Reply, resp3: bool, key: bytes) -> bytes:
    """A script's result. An error that it returns is one like any other. `key` is of the shard where it ran."""
    if not isinstance(reply, Scripted):
        return reply_bytes(front, client, reply, command, None, resp3)
    if reply.wrote is not None and reply.ack == PRIMARY:
        client.note_write(key, reply.wrote)
    value = _value(reply.result)
    return error_bytes(front, value.text) if isinstance(value, Error) else encode(value, resp3)


def _value(result: Any) -> Any:
    """What `encode` makes a reply of. A status is one line, as an error is."""
    if isinstance(result, list):
        return [_value(item) for item in result]
    if not isinstance(result, dict):
        return result
    ((kind, text),) = result.items()
    line = text.decode(errors="replace")
    return Error(line) if kind == "err" else Status(line.replace("\r", " ").replace("\n", " "))


def load(front: Front, client: Client, args: Args) -> bytes:
    """SCRIPT LOAD script: its SHA-1."""
    _require_size(args[2])
    try:
        front.sandbox.compile(args[2])
    except NoLua:
        raise Refused("ERR this process has no Lua; it comes with the extra raftcache[lua]") from None
    except DoesNotCompile as problem:
        raise Refused(f"ERR Error compiling script (new function): {problem}") from None
    return bulk(front.scripts.add(args[2]))


def exists(front: Front, client: Client, args: Args) -> bytes:
    """SCRIPT EXISTS sha1 [sha1 ...]: 1 for each that EVALSHA would find."""
    return encode([int(sha.lower() in front.scripts) for sha in args[2:]], client.resp3)


def flush(front: Front, client: Client, args: Args) -> bytes:
    """SCRIPT FLUSH [ASYNC | SYNC]: forget all scripts of this port."""
    if len(args) > 3 or (len(args) == 3 and args[2].upper() not in (b"ASYNC", b"SYNC")):
        raise Refused(SYNTAX)
    front.scripts.clear()
    return OK


def kill(front: Front, client: Client, args: Args) -> bytes:
    """SCRIPT KILL: none ever runs when somebody can ask."""
    raise Refused("NOTBUSY No scripts in execution right now.")
