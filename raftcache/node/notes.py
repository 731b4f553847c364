"""What nodes tell each other beside Raft: soft facts, sent again and again, true for seconds.

Notes travel on the peer links next to all groups (`consensus.Host.send_note`). Losing one costs time only.
"""

from __future__ import annotations

import msgspec

from raftcache.consensus.api import MemberId
from raftcache.metadata.decisions import AddMember, RemoveMember, TransferLeadership
from raftcache.metadata.reports import NodeReport


class Leading(msgspec.Struct, frozen=True, array_like=True, tag="leading"):
    """A leader has begun to serve a shard."""

    shard: str
    term: int
    node: str


class Report(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """A node lives, and this is how the groups that it leads are."""

    report: NodeReport


class LossesKnown(msgspec.Struct, frozen=True, array_like=True, tag="losses_known"):
    """By shard, terms that this process led and of which it knows exactly what it has lost (`shard.losses`)."""

    resolved: dict[str, tuple[int, ...]]


class Transfer(msgspec.Struct, frozen=True, array_like=True, tag="transfer"):
    """The controller asks a leader to hand a group over."""

    group: str
    to_node: str


class ChangeMember(msgspec.Struct, frozen=True, array_like=True, tag="change_member"):
    """The controller asks a leader to add a member, or to remove one."""

    group: str
    member: MemberId
    add: bool


class AmIRemoved(msgspec.Struct, frozen=True, array_like=True, tag="am_i_removed"):
    """A replica that the map no longer wants asks its group's leader whether it is out (hazard 28)."""

    group: str
    member: MemberId


class Removed(msgspec.Struct, frozen=True, array_like=True, tag="removed"):
    """The leader's answer: yes."""

    group: str
    member: MemberId


Note = Leading | Report | LossesKnown | Transfer | ChangeMember | AmIRemoved | Removed

encode_note = msgspec.msgpack.Encoder().encode
decode_note = msgspec.msgpack.Decoder(Note).decode


def note_of(action: TransferLeadership | AddMember | RemoveMember) -> tuple[str, Note]:
    """The node that has to act on a controller's action, and what it is told."""
    if isinstance(action, TransferLeadership):
        return action.from_node, Transfer(action.shard, action.to_node)
    return action.leader, ChangeMember(action.group, action.member, isinstance(action, AddMember))
