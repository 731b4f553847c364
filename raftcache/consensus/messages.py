"""The messages between two replicas of a group, as compact msgpack arrays.

Every message is `[group id, kind, to replica, from replica, …]`; the link says which node and incarnation stand
at either end, so together they name both members. A message to a member that is no more is not sent, and an answer
counts for the incarnation that gave it. A
frame is an array of messages: all that one loop turn had for one peer.

| kind | fields | |
|---|---|---|
| APPEND | term, commit, prev index, prev term, generation, sent at, sync index, stamp, time, terms, data… | see below |
| ACK | term, next index, reset, success, generation, sent at (echoed), wall clock, stamp, silence | |
| FILLER | term, sent at | a heartbeat to a replica that needs a snapshot |
| REQUEST_VOTE | term, last index, last term, transfer | `transfer`: the leader itself asked for it |
| VOTE | term, wall clock, suspect | `suspect`: see `election` |
| PRE_VOTE | term asked for, last index, last term, round | |
| PRE_VOTE_REPLY | own term, granted, round, wall clock, suspect | |
| TIMEOUT_NOW | term | leadership transfer |
| STALE_TERM | own term | the answer to a leader of a lower term |
| SNAPSHOT | term, index, snapshot's term, size, offset, data | a chunk of a snapshot file |
| SNAPSHOT_ACK | term, index, received, installed | |
| SNAPSHOT_REFUSED | term, index, snapshot's term, reason | what was received is damaged |
| SYNCED | term, index, the entry's term, on disk | the newest entry that is synced and matches |

An APPEND's `sync index` is how far its receiver is to sync its log, 0 for no such wish; its `terms` is one number where
all entries are of one term. An ACK's `stamp` is its sender's clock, and an APPEND's is one of its receiver's that came
back, 0 for none: see `staleness`. An APPEND's `time` is what the machine of its sender says that it is, in ms, 0 where
that says nothing. An ACK's `silence` is a promise in ms: see `lease`. SYNCED names `UNKNOWN_TERM` where
its sender holds the entry in memory no more, and says `on disk` false where that keeps its log in memory only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgpack

from raftcache.wal.api import Entry

APPEND: Final = 1
ACK: Final = 2
FILLER: Final = 3
REQUEST_VOTE: Final = 4
VOTE: Final = 5
PRE_VOTE: Final = 6
PRE_VOTE_REPLY: Final = 7
TIMEOUT_NOW: Final = 8
STALE_TERM: Final = 9
SNAPSHOT: Final = 10
SNAPSHOT_ACK: Final = 11
SYNCED: Final = 12
SNAPSHOT_REFUSED: Final = 13

Message = list[Any]

FIELDS: Final = {APPEND: 10, ACK: 9, FILLER: 2, REQUEST_VOTE: 4, VOTE: 3, PRE_VOTE: 4, PRE_VOTE_REPLY: 5,
          TIMEOUT_NOW: 1, STALE_TERM: 1, SNAPSHOT: 6, SNAPSHOT_ACK: 4, SYNCED: 4,
          SNAPSHOT_REFUSED: 4}  # fmt: skip
"""How many fields follow the first four; an APPEND has these or more."""


def well_formed(message: Message) -> bool:
    """Whether a message names a group and two replicas, and has a known kind and as many fields as that has."""
    if len(message) < 4 or [type(part) for part in message[:4]] != [str, int, int, int] or message[1] not in FIELDS:
        return False
    kind = message[1]
    count = len(message) - 4
    return count >= FIELDS[kind] if kind == APPEND else count == FIELDS[kind]

NOTE_GROUP: Final = ""
"""The group id of node-level notes: `["", payload]`."""

UNKNOWN_TERM: Final = -1
"""The entry's term in a SYNCED, where its sender does not hold the entry in memory any more."""

FRAME_TARGET_BYTES = 16 << 20
"""Messages of a turn beyond this much go into another frame: links refuse frames of 64 MiB, and the largest
message is an append of `settings.append_limit_bytes` and one entry."""

PIECE_BYTES: Final = 4096
"""An entry this long is not copied into its frame. Below, that costs less than a piece more."""

_BIN_32: Final = b"\xc6"
"""Begins binary data whose length has four bytes. Source: the MessagePack specification, `bin format family`."""

_packer: Final = msgpack.Packer(use_bin_type=True, autoreset=True)


def pack_frames(messages: list[Message]) -> Iterator[list[bytes]]:
    """One frame for all the messages of a turn to one peer, or a few where they are large; each in pieces that stand
    one behind the other. Large entries are pieces by themselves: nothing copies them on their way to the socket, nor
    packs them for each follower anew."""
    packed: list[list[bytes]] = []
    size = 0
    for message in messages:
        packed.append(_pieces(message))
        size += sum([len(piece) for piece in packed[-1]])
        if size > FRAME_TARGET_BYTES:
            yield _frame(packed)
            packed, size = [], 0
    if packed:
        yield _frame(packed)


def _frame(packed: list[list[bytes]]) -> list[bytes]:
    """The pieces of an array of messages; small ones that follow each other are one."""
    frame, small = list[bytes](), [_packer.pack_array_header(len(packed))]
    for pieces in packed:
        for piece in pieces:
            if len(piece) < PIECE_BYTES:
                small.append(piece)
            else:
                frame += (b"".join(small), piece) if small else (piece,)
                small = []
    return [*frame, b"".join(small)] if small else frame


def _is_piece(field: Any) -> bool:
    return type(field) is bytes and len(field) >= PIECE_BYTES


def _pieces(message: Message) -> list[bytes]:
    """A message, packed; before a large field stands `_BIN_32`, as MessagePack has it."""
    if not any(map(_is_piece, message)):
        return [_packer.pack(message)]
    pieces = [_packer.pack_array_header(len(message))]
    for field in message:
        if _is_piece(field):
            pieces += (_BIN_32 + len(field).to_bytes(4, "big"), field)
        else:
            pieces.append(_packer.pack(field))
    return pieces


def unpack_frame(frame: bytes) -> list[Message]:
    """The messages of a frame. Raises ValueError where it is not an array of arrays."""
    try:
        messages = msgpack.unpackb(frame)
    except Exception as error:
        raise ValueError(f"not a frame: {error}") from error
    if not isinstance(messages, list) or not all(isinstance(m, list) and m for m in messages):
        raise ValueError("not a frame: an array of arrays is expected")
    return messages


def pack_entries(entries: list[Entry]) -> Message:
    """`[terms, data, …]`: the tail of an APPEND."""
    if not entries:
        return [0]
    first = entries[0][2]
    if first == entries[-1][2]:  # Terms never fall along a log, so equal ends mean equal terms.
        return [first, *[entry[0] for entry in entries]]
    return [[entry[2] for entry in entries], *[entry[0] for entry in entries]]


def unpack_entries(prev_index: int, tail: Message) -> list[Entry]:
    """The inverse of `pack_entries`."""
    terms, data = tail[0], tail[1:]
    if isinstance(terms, int):
        return [Entry(item, prev_index + 1 + i, terms) for i, item in enumerate(data)]
    return [Entry(item, prev_index + 1 + i, terms[i]) for i, item in enumerate(data)]
