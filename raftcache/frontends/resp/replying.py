"""From what came of a command to the bytes of its reply, with what is counted and noted on the way."""

from __future__ import annotations

import logging
from typing import Any, Final

from raftcache.commands.types import AckLevel, Counted, Failure, Many, Reply, Written
from raftcache.errors import InternalError, Overloaded
from raftcache.frontends.resp.encoding import error
from raftcache.frontends.resp.failures import failed_items, line_of, line_of_many
from raftcache.frontends.resp.spec import Refused, Shape
from raftcache.frontends.resp.state import Client, Front

log = logging.getLogger("raftcache.resp")

PRIMARY: Final = AckLevel.PRIMARY


def reply_bytes(front: Front, client: Client, reply: Reply, command: Any, shape: Shape | None, resp3: bool) -> bytes:
    """A shard's reply. A defect of ours becomes an error like any other."""
    try:
        if type(reply) is Failure:
            return error_bytes(front, line_of(reply, front.is_cluster))
        if type(reply) is Many:
            _note_writes(client, reply, command)
            failed = failed_items(reply.items)
            if failed:
                return error_bytes(front, line_of_many(reply.items, failed, front.is_cluster))
        elif type(reply) in (Written, Counted) and reply.ack == PRIMARY:  # type: ignore[union-attr]
            client.note_write(command.key, reply.version)  # type: ignore[union-attr]
        assert shape is not None, "only plans get replies of shards"
        return shape(reply, resp3)
    except Refused as refusal:
        return error_bytes(front, str(refusal))
    except Exception:
        return defect_bytes(front, type(command).__name__)


def _note_writes(client: Client, reply: Many, command: Any) -> None:
    for item, asked in zip(reply.items, command.items, strict=True):
        if type(item) is Written and item.ack == PRIMARY:
            client.note_write(asked.key, item.version)


def error_bytes(front: Front, line: str) -> bytes:
    """An error, counted."""
    front.metrics.count_error(line)
    return error(line)


def shed_bytes(front: Front) -> bytes:
    """The error for a command that this process has no time for."""
    front.metrics.shed += 1
    text = "this process is late: no more commands until it is not; not executed"
    return error_bytes(front, Overloaded.to_resp(text))


def defect_bytes(front: Front, name: str) -> bytes:
    """The error for an exception that is being handled."""
    log.exception("%s failed", name)
    return error_bytes(front, InternalError.to_resp("this command met a defect; the node's log says more"))
