"""What a log entry says, as a document for people and for programs.

    {"index", "term", "kind", "bytes"} and, by kind,
    batch     "batch":   {"term", "first_seq", "time_ms", "effects": [{"effect": "put", "key", ...}, ...]}
    metadata  "command": {"command": "PutNode", <its fields>}
    members   "members": ["n0.1a2b.0", ...]
    no_op     nothing more

An entry that cannot be decoded has "problem" instead: it may be of another version, and what is around it may be
whole. Values are not shown, only their sizes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from raftcache.commands.types import JSON
from raftcache.consensus.journal import MEMBERSHIP, NO_OP, REGULAR, unpack_members
from raftcache.metadata.commands import decode_metadata_command
from raftcache.metadata.state import METADATA_GROUP
from raftcache.shard.policies import point_of
from raftcache.store.effects import (
    EVICT,
    FORGET_SESSION,
    LEADER_STARTED,
    POLICY_POINT,
    PUT,
    PUT_TAGGED,
    READS,
    REMOVE,
    REPLY,
    SESSION,
    TAG,
    Effect,
    decode_batch,
)
from raftcache.store.replies import decode_record
from raftcache.wal.api import Entry

_decode_pair = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw]).decode


def describe(group_id: str, entry: Entry) -> dict[str, Any]:
    """The document of one entry of a group's log."""
    kind = entry.data[0] if entry.data else -1
    name = {NO_OP: "no_op", MEMBERSHIP: "members"}.get(kind, f"kind {kind}")
    if kind == REGULAR:
        name = "metadata" if group_id == METADATA_GROUP else "batch"
    document: dict[str, Any] = {"index": entry.index, "term": entry.term, "kind": name, "bytes": len(entry.data)}
    try:
        return document | _content(name, entry.data)
    except (ValueError, TypeError, LookupError) as error:
        return document | {"problem": f"{type(error).__name__}: {error}"}


def summary(document: dict[str, Any]) -> str:
    """The part of a document that depends on the kind of entry, on one line."""
    if "problem" in document:
        return f"cannot be decoded: {document['problem']}"
    if "batch" in document:
        batch = document["batch"]
        effects = "; ".join(_effect_text(effect) for effect in batch["effects"]) or "no effects"
        return f"seq {batch['term']}.{batch['first_seq']}: {effects}"
    if "command" in document:
        fields = dict(document["command"])
        return f"{fields.pop('command')} {msgspec.json.encode(fields).decode()}"
    return " ".join(document.get("members", ()))


def _content(name: str, data: bytes) -> dict[str, Any]:
    if name == "batch":
        batch = decode_batch(data[1:])
        effects = [_effect(effect) for effect in batch.effects]
        head = {"term": batch.term, "first_seq": batch.first_seq, "time_ms": batch.time_ms}
        return {"batch": {**head, "effects": effects}}
    if name == "metadata":
        command = decode_metadata_command(_decode_pair(data[1:])[1])
        return {"command": {"command": type(command).__name__, **_fields(command)}}
    if name == "members":
        return {"members": [str(member) for member in unpack_members(data)]}
    return {}


def _effect(effect: Effect) -> dict[str, Any]:
    code = effect[0]
    if code in (PUT, PUT_TAGGED):
        _, key, value, flag, expires_ms, namespace_id, *tags = effect
        kind = "json" if flag == JSON else "raw"
        sizes = {"value_bytes": len(value), "flag": kind, "expires_ms": expires_ms, "namespace_id": namespace_id}
        return {"effect": "put", "key": text(key), **sizes, **({"tags": list(tags[0])} if tags else {})}
    if code == TAG:
        kind = "drop_tag" if effect[3] else "forget_tag"
        return {"effect": kind, "namespace_id": effect[1], "tag": effect[2]}
    if code in (REMOVE, EVICT):
        return {"effect": "remove" if code == REMOVE else "evict", "key": text(effect[1])}
    if code == READS:
        return {"effect": "reads", "namespace_id": effect[1], "keys": [text(key) for key in effect[2]]}
    if code == REPLY and len(effect) == 2:
        return {"effect": "forget_reply", "record": text(effect[1])}
    if code == REPLY:
        _, id_, record, expires_ms, namespace_id = effect
        sizes = {"record_bytes": len(record), "expires_ms": expires_ms, "namespace_id": namespace_id}
        return {"effect": "reply", "record": text(id_), "key": text(decode_record(record).key), **sizes}
    if code == SESSION:
        return {"effect": "session", "session": effect[1].hex(), "floor": effect[2], "numbers": effect[4][::2]}
    if code == FORGET_SESSION:
        return {"effect": "forget_session", "session": effect[1].hex()}
    if code == POLICY_POINT:
        point = point_of(effect)
        changed = [_readable(namespace) for namespace in point.changed]
        return {"effect": "policy_point", "epoch": point.epoch, "changed": changed, "removed": list(point.removed)}
    if code == LEADER_STARTED:
        return {"effect": "leader_started", "node": effect[1]}
    return {"effect": f"code {code}", "fields": len(effect) - 1}


def _effect_text(effect: dict[str, Any]) -> str:
    if effect["effect"] == "reply":
        return f"reply {effect['record']} (of {effect['key']}, {effect['record_bytes']} B)"
    if effect["effect"] != "put":
        return " ".join(str(value) for value in effect.values())
    expires = f", expires {effect['expires_ms']}" if effect["expires_ms"] else ""
    return f"put {effect['key']} ({effect['value_bytes']:,} B {effect['flag']}{expires})"


def text(data: bytes) -> str:
    """Bytes as text; what is no UTF-8, and what would break a line, as escapes."""
    decoded = data.decode("utf-8", "backslashreplace")
    return decoded if decoded.isprintable() else decoded.encode("unicode_escape").decode("ascii")


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: _readable(getattr(value, name)) for name in value.__struct_fields__}


def _readable(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return str(value) if type(value).__str__ is not tuple.__str__ else list(map(_readable, value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_readable(each) for each in value]
    return {str(key): _readable(each) for key, each in value.items()} if isinstance(value, dict) else value
