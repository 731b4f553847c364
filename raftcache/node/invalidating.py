"""Dropping a tag in every shard, and answering for the shards of this node.

A tag is in no metadata: whoever drops it asks each shard's leader to, and again, elsewhere if need be, until all have
said that no reader will see any of it (`shard.invalidating`). A drop that is repeated drops what was written in between
as well, which a cache may. A shard that is declared lost has to answer, too: what replaces it may start from a replica
that holds what was to be dropped. So while one is, drops of tags are `outcome_unknown`, and to be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from raftcache.errors import BadRequest, NotLeader, OutcomeUnknown, RaftcacheError, UnknownNamespace
from raftcache.node.following import Question, named_shards

if TYPE_CHECKING:
    from raftcache.node.core import NodeCore

METHOD = "drop_tag"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, str, int]).decode


def serve_drop_tag(core: NodeCore, body: bytes, reply: Callable[[bytes | RaftcacheError], None]) -> None:
    """The RPC method `drop_tag`: `[shard id, namespace, tag, named at]` in, nothing or an error out."""
    try:
        shard_id, namespace, tag, named_at = _decode(body)
    except msgspec.MsgspecError as error:
        return reply(BadRequest(f"drop_tag: the body cannot be read: {error}"))
    replica = core.shard(shard_id)
    if replica is None:
        return reply(NotLeader(f"{core.identity.node_id} does not hold shard {shard_id}"))
    replica.drop_tag(namespace, tag, named_at, lambda error: reply(b"" if error is None else error))


def drop_question(namespace: str, tag: str, named_at: int) -> Question:
    """What every shard is asked. `named_at` is the epoch as of which the namespace existed."""
    return Question(
        METHOD,
        lambda shard_id: _encode((shard_id, namespace, tag, named_at)),
        partial(_not_everywhere, tag),
        of_lost=True,
        final=(UnknownNamespace, BadRequest),
    )


def _not_everywhere(tag: str, shard_ids: Iterable[str]) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"tag {tag!r} may be dropped in part: {named_shards(shard_ids)} had not confirmed it within the deadline; "
        "repeat the call"
    )
