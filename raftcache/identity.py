"""Who a node is, as its data folder says: `identity.json`.

A node with that file is the incarnation that wrote it. One without has an empty disk: it makes a new identity, so
it is a new member that holds nothing and has promised nothing to anybody. Written once, never changed. Beside it,
`lock` says that a process works on the folder. Who only wants to look takes no lock: `running_on` asks the system.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from raftcache.config import ConfigError, Name

IDENTITY_FILE = "identity.json"
INCARNATION_BYTES = 4

FORMAT: Literal[2] = 2
"""The version of everything in a data folder. 1 kept a file of votes for each group, and logs without sync marks."""

LOCK_FILE = "lock"
LOCK_TABLE = Path("/proc/locks")

GROUPS_FOLDER = "groups"
"""What of a data folder holds the Raft groups."""

STARTED_FILE = "started"
"""Made when the groups' folder has been written to for the first time; from then on it is never empty."""


class NodeIdentity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node of a cluster, in one of its lives."""

    cluster_id: Name
    node_id: Name
    incarnation: Name
    format: Literal[2] = FORMAT


class IdentityDamaged(ConfigError):
    """An identity file that cannot be read or does not fit. The message names the file and what to do."""

    code = "identity_damaged"


class UnsupportedFormat(IdentityDamaged):
    """A data folder that another release wrote. The message names both formats and what to do."""

    code = "unsupported_format"

    def __init__(self, path: object, found: int) -> None:
        super().__init__(
            f"{path}: this data folder is of format {found}, this release reads format {FORMAT}. Run the release that "
            "wrote it, or empty the whole folder: the node then comes back as a new member and is refilled"
        )


class DataDirInUse(ConfigError):
    """Another process works on the data folder. The message names both."""

    code = "data_dir_in_use"


def lock_data_dir(data_dir: Path) -> BinaryIO:
    """Keep other processes away from a data folder for as long as the returned file stays open, or this process lives.

    Two nodes on one folder would vote twice with one name. The lock is the operating system's (flock), so a killed
    process leaves none; the file holds its owner's process id, for people. Raises DataDirInUse, OSError.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / LOCK_FILE
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            owner = file.read(20).decode("ascii", "replace").strip() or "unknown"
        raise DataDirInUse(
            f"{data_dir}: process {owner} works on this data folder. One node has one folder: stop that process, or "
            "give this node a folder of its own (data_dir)"
        ) from None
    file.truncate(0)
    file.write(b"%d\n" % os.getpid())
    return file


def running_on(data_dir: Path) -> int | None:
    """The process that works on a data folder, or None. Takes no lock, so it never stands in a node's way."""
    path = data_dir / LOCK_FILE
    try:
        inode, pid = path.stat().st_ino, int(path.read_text())
        rows = [line.split() for line in LOCK_TABLE.read_text().splitlines()]
    except (OSError, ValueError):
        return None
    # 12: FLOCK  ADVISORY  WRITE 4711 fd:01:1835044 0 EOF
    held = any("FLOCK" in row and str(pid) in row and any(word.endswith(f":{inode}") for word in row) for row in rows)
    return pid if held else None


def new_incarnation() -> str:
    """A random incarnation: 8 hex digits."""
    return secrets.token_hex(INCARNATION_BYTES)


def load_identity(data_dir: Path) -> NodeIdentity | None:
    """The identity kept in `data_dir`, or None where nothing is kept. Raises IdentityDamaged, UnsupportedFormat."""
    path = data_dir / IDENTITY_FILE
    try:
        data = path.read_bytes()
        _require_format(path, data)
        return msgspec.json.decode(data, type=NodeIdentity)
    except FileNotFoundError:
        _require_no_groups(data_dir)
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IdentityDamaged(
            f"{path}: not a node identity: {error}. Restore the file, or empty the whole folder so that the node "
            "comes back as a new member"
        ) from error


def _require_no_groups(data_dir: Path) -> None:
    """A new incarnation must not take over the files of one that nobody knows any more."""
    if (data_dir / GROUPS_FOLDER).exists():
        raise IdentityDamaged(
            f"{data_dir}: there is a folder {GROUPS_FOLDER!r}, but no {IDENTITY_FILE} that says whose it is. Restore "
            "that file, or empty the whole folder so that the node comes back as a new member"
        )


def require_groups(data_dir: Path) -> None:
    """Whoever removes the groups and leaves the identity makes a node that has forgotten everything and answers under
    its old name. Raises IdentityDamaged."""
    groups = data_dir / GROUPS_FOLDER
    if (data_dir / STARTED_FILE).exists() and not (groups.is_dir() and any(groups.iterdir())):
        raise IdentityDamaged(
            f"{groups}: everything that this node held is gone, but not its identity. Restore the folder, or empty "
            f"the whole of {data_dir} so that the node comes back as a new member"
        )


def mark_started(data_dir: Path) -> None:
    """From now on `require_groups` holds. Raises OSError."""
    path = data_dir / STARTED_FILE
    if not path.exists():
        write_file(path, b"")


class _Format(msgspec.Struct):
    format: int


def _require_format(path: Path, data: bytes) -> None:
    found = msgspec.json.decode(data, type=_Format).format
    if found != FORMAT:
        raise UnsupportedFormat(path, found)


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
