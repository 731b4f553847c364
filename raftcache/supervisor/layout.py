"""The data folder of a local cluster.

    DATA_DIR/lock            held by the running supervisor
    DATA_DIR/cluster.json    what was created here (`supervisor.cluster`)
    DATA_DIR/secret          the cluster secret, readable by its owner alone
    DATA_DIR/<node>/         node.toml, identity.json, pid, log, and what the node itself keeps

A node whose folder was emptied finds its `node.toml` written anew, but is a new incarnation that nobody listed as
a first member, so it never starts a group by itself.

The nodes of a memory-only cluster have no identity there: each is told its first incarnation when it is started for
the first time, and makes up another whenever it starts again. Such a cluster ends with its processes, and `renew` puts
a new one in its place.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from raftcache.config import ConfigError, dump_config, read_secret
from raftcache.identity import IDENTITY_FILE, create_identity, write_file
from raftcache.supervisor.cluster import LocalCluster, node_config

SECRET_BYTES = 32
CLUSTER_FILE, LOCK_FILE = "cluster.json", "lock"
CONFIG_FILE, PID_FILE, LOG_FILE = "node.toml", "pid", "log"


class DataDir:
    """One data folder. Methods that read or write raise ConfigError where its contents make no sense."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def node_dir(self, node_id: str) -> Path:
        """The folder of one node."""
        return self.path / node_id

    def load(self) -> LocalCluster | None:
        """The cluster created here, or None in a new folder."""
        path = self.path / CLUSTER_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=LocalCluster)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a cluster file: {error}") from error

    def save(self, cluster: LocalCluster) -> None:
        """Write `cluster.json` in one step."""
        write_file(self.path / CLUSTER_FILE, msgspec.json.format(msgspec.json.encode(cluster)) + b"\n")

    def create(self, cluster: LocalCluster) -> None:
        """Write everything a new cluster starts from; `cluster.json` last, for it says that the rest is there."""
        self._clear_half_made([self.node_dir(node.id) for node in cluster.nodes])
        secret = secrets.token_hex(SECRET_BYTES).encode() + b"\n"
        write_file(self.path / cluster.secret_file, secret, mode=0o600)
        for node in () if cluster.memory else cluster.nodes:
            create_identity(self.node_dir(node.id), cluster.cluster_id, node.id, node.incarnation)
        self.write_node_configs(cluster)
        self.save(cluster)

    def renew(self, cluster: LocalCluster) -> None:
        """Put a new memory-only cluster in the place of one that has ended. The secret and the logs stay.

        Cut short, it is done again: what `cluster.json` then names has ended as well.
        """
        for node in cluster.nodes:
            (self.node_dir(node.id) / CONFIG_FILE).unlink(missing_ok=True)
        self.write_node_configs(cluster)
        self.save(cluster)

    def _clear_half_made(self, folders: list[Path]) -> None:
        """Remove what a creation that was cut short left; where anything else is there, refuse and touch nothing."""
        contents = [path for folder in folders for path in folder.glob("*")]
        for path in contents:
            if path.name not in (IDENTITY_FILE, CONFIG_FILE):
                raise ConfigError(
                    f"{path.parent} is not empty, but {self.path} has no {CLUSTER_FILE}: use another --data-dir"
                )
        for path in contents:
            path.unlink()

    def write_node_configs(self, cluster: LocalCluster) -> None:
        """Write the `node.toml` of each node that has none; one that was edited stays."""
        for node in cluster.nodes:
            path = self.node_dir(node.id) / CONFIG_FILE
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, dump_config(node_config(cluster, node)).encode())

    def secret(self, cluster: LocalCluster) -> bytes:
        """The cluster secret."""
        return read_secret(self.path / cluster.secret_file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises ConfigError where another one does."""
        with self._open_lock() as file:
            if not _lock(file, fcntl.LOCK_EX):
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise ConfigError(f"--data-dir {self.path} is in use by another `raftcache up` (pid {holder})")
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def _open_lock(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return open(self.path / LOCK_FILE, "a+")
        except OSError as error:
            raise ConfigError(f"--data-dir {self.path}: cannot be used: {error.strerror}") from error

    def running(self) -> bool:
        """Whether a supervisor holds this folder."""
        try:
            with open(self.path / LOCK_FILE) as file:
                return not _lock(file, fcntl.LOCK_SH)
        except OSError:
            return False

    def write_pid(self, node_id: str, pid: int | None) -> None:
        """Say which process runs the node, or that none does."""
        path = self.node_dir(node_id) / PID_FILE
        if pid is None:
            path.unlink(missing_ok=True)
        else:
            aside = path.with_name(".pid")
            aside.write_text(f"{pid}\n")
            aside.replace(path)

    def pid(self, node_id: str) -> int | None:
        """The process that runs the node, or None."""
        try:
            return int((self.node_dir(node_id) / PID_FILE).read_text())
        except (OSError, ValueError):
            return None


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
