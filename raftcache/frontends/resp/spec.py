"""What a command of the Redis protocol is, and how its arguments are read.

A command is one of three kinds. A *plan* turns arguments into a command for the shards and names the function that
makes bytes of its reply; it is pure. A *local* command is answered at once from what the port knows. A *later* one asks
the cluster in a way of its own, and hands in its answer when it has it; one that is local as well is answered so where
it cannot wait, in a block.

Texts of errors are Redis's, since clients compare them: see `common` in Redis's server.c and t_string.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from raftcache.commands.types import INT64_MAX, INT64_MIN, Command, Multi, Reply, Script
from raftcache.frontends.resp.state import Client, Front
from raftcache.shard.joint import JointWrites

Args = list[bytes]
"""A command's arguments, its name first."""
Shape = Callable[..., bytes]
"""`shape(reply, resp3)`: the bytes of a reply that is no `Failure` and has none inside."""
Planned = tuple[Command, Shape]
Plan = Callable[[Args, Callable[[], int]], Planned]
"""`plan(args, wall_ms)`. Raises Refused."""
Quick = Callable[[Front, Client, Args, float], "list[bytes] | Planned | None"]
"""`quick(front, client, args, now_s)`: the reply in pieces, where no command has to be made for it. Else what is left
to be executed, or None where that is all of it. Raises Refused."""


@final
class Ran:
    """The first so many commands of a run are executed. Their replies, in pieces; or, where `joint` has any, for each
    the writes with which it is answered."""

    __slots__ = ("count", "joint", "pieces")

    def __init__(self, count: int, pieces: list[bytes], joint: list[JointWrites]) -> None:
        self.count: int = count
        self.pieces: list[bytes] = pieces
        self.joint: list[JointWrites] = joint


Run = Callable[[Front, Client, list[Args], float, int], Ran | None]
"""`run(front, client, commands, now_s, until_bytes)`: executes commands of that name, which all have as many arguments,
in order, up to the first for which a command has to be made; no more behind the one with which there are so many bytes
of replies. None where that is the first one, or where there is none that it executes."""
Together = Callable[[list[Args]], tuple[Multi, Shape] | None]
"""`together(commands)`: the commands, which all have as many arguments, as items of one, and what makes bytes of an
item's reply. None where they are not to be had so."""
Local = Callable[[Front, Client, Args], bytes]
"""Raises Refused."""
ScriptPlan = Callable[[Front, Args], Script]
"""The script that arguments name. Raises Refused."""
Later = Callable[[Front, Client, Args, Callable[[bytes], None]], None]
"""The callback is called once, now or later. Raises Refused, and then it is not."""

SYNTAX: Final = "ERR syntax error"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}\Z|0\Z")


class Refused(Exception):
    """A command that is not executed: the text is the whole error, with its prefix."""


@dataclass(frozen=True)
class Spec:
    """A row of the table. `arity` counts the name, and is negative for "at least". `keys` are the first key's place,
    the last one's (negative: from the end) and the step between; 0, 0, 0 for none. `alone`: executed when all that the
    connection asked before is answered, and before anything after it. `at_once`: MULTI does not put it off. `count_at`:
    where the number of keys stands, which follow it; 0 for nowhere. `quick`: tried before `plan`; `run` likewise, for
    several at once, and `together` where that executes none of them. `script`: what a later command is inside MULTI,
    which puts off no other. Source: redis.io/docs/latest/commands/command."""

    name: str
    arity: int
    flags: tuple[str, ...]
    summary: str
    group: str
    since: str
    keys: tuple[int, int, int] = (0, 0, 0)
    plan: Plan | None = None
    quick: Quick | None = None
    run: Run | None = None
    together: Together | None = None
    local: Local | None = None
    later: Later | None = None
    alone: bool = False
    at_once: bool = False
    count_at: int = 0
    script: ScriptPlan | None = None
    subcommands: Mapping[bytes, Spec] = field(default_factory=dict)

    def fits(self, count: int) -> bool:
        """Whether it takes that many arguments."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


def integer(argument: bytes, message: str = NOT_AN_INTEGER) -> int:
    """A 64-bit integer in the only way that Redis writes it. Raises Refused."""
    if _INTEGER.match(argument) is None:
        raise Refused(message)
    number = int(argument)
    if not INT64_MIN <= number <= INT64_MAX:
        raise Refused(message)
    return number


def shown(argument: bytes) -> str:
    """An argument as errors repeat it."""
    return argument[:128].decode(errors="replace")


def wrong_arity(name: str) -> Refused:
    """The error for a wrong number of arguments."""
    return Refused(f"ERR wrong number of arguments for '{name}' command")


def unexpected(reply: Reply) -> TypeError:
    """A reply of a kind that the command never has: a defect."""
    return TypeError(f"answered by {type(reply).__name__}")
