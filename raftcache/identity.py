"""Who a node is, as its data folder says: `identity.json`.

A node with that file is the incarnation that wrote it. One without has an empty disk: it makes a new identity, so
it is a new member that holds nothing and has promised nothing to anybody. Written once, never changed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Literal

import msgspec

from raftcache.config import ConfigError, Name

IDENTITY_FILE = "identity.json"
INCARNATION_BYTES = 4


class NodeIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node of a cluster, in one of its lives."""

    cluster_id: Name
    node_id: Name
    incarnation: Name
    format: Literal[1] = 1


class IdentityDamaged(ConfigError):
    """An identity file that cannot be read or does not fit. The message names the file and what to do."""

    code = "identity_damaged"


def new_incarnation() -> str:
    """A random incarnation: 8 hex digits."""
    return secrets.token_hex(INCARNATION_BYTES)


def load_identity(data_dir: Path) -> NodeIdentity | None:
    """The identity kept in `data_dir`, or None where there is no file. Raises IdentityDamaged."""
    path = data_dir / IDENTITY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeIdentity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IdentityDamaged(
            f"{path}: not a node identity: {error}. Restore the file, or empty the whole folder so that the node "
            "comes back as a new member"
        ) from error


def create_identity(data_dir: Path, cluster_id: str, node_id: str, incarnation: str = "") -> NodeIdentity:
    """Write and return a new identity; a random incarnation unless one is given. Raises FileExistsError, OSError."""
    identity = NodeIdentity(cluster_id=cluster_id, node_id=node_id, incarnation=incarnation or new_incarnation())
    path = data_dir / IDENTITY_FILE
    if path.exists():
        raise FileExistsError(f"{path}: this node has an identity already")
    data_dir.mkdir(parents=True, exist_ok=True)
    write_file(path, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")
    return identity


def require_identity(identity: NodeIdentity, cluster_id: str, node_id: str) -> None:
    """Raises IdentityDamaged where a data folder belongs to another node or cluster than its configuration."""
    for field, kept, wanted in (
        ("cluster_id", identity.cluster_id, cluster_id),
        ("node_id", identity.node_id, node_id),
    ):
        if kept != wanted:
            raise IdentityDamaged(f"{field} = {wanted!r}, but this data folder belongs to {kept!r}")


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` at `path` in one step: written aside, synced, renamed, and the folder synced."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
