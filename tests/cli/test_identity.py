"""A node's identity file, and the lock on its data folder."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftcache.config import ConfigError, NodeConfig
from raftcache.identity import (
    DataDirInUse,
    IdentityDamaged,
    UnsupportedFormat,
    create_identity,
    load_identity,
    lock_data_dir,
    mark_started,
    new_incarnation,
    require_identity,
    running_on,
    write_file,
)
from raftcache.node.main import identity_of


def test_an_empty_folder_has_none_and_a_new_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "n0"
    assert load_identity(folder) is None
    created = create_identity(folder, "c", "n0")
    assert load_identity(folder) == created
    document = json.loads((folder / "identity.json").read_text())
    assert document == {"cluster_id": "c", "node_id": "n0", "incarnation": created.incarnation, "format": 2}
    with pytest.raises(FileExistsError):
        create_identity(folder, "c", "n0")
    assert [path.name for path in folder.iterdir()] == ["identity.json"]


def test_incarnations_differ() -> None:
    assert len({new_incarnation() for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "{", '{"cluster_id": "c"}', "[]", "\xff"])
def test_damage_is_told_from_absence(text: str, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(IdentityDamaged, match=r"identity\.json: not a node identity"):
        load_identity(tmp_path)


@pytest.mark.parametrize("found", [1, 3])
def test_another_format_is_refused_with_both_versions_and_a_way_out(found: int, tmp_path: Path) -> None:
    document = {"cluster_id": "c", "node_id": "n0", "incarnation": "i", "format": found, "more": "than we know"}
    (tmp_path / "identity.json").write_text(json.dumps(document))
    with pytest.raises(UnsupportedFormat, match=f"of format {found}, this release reads format 2") as refused:
        load_identity(tmp_path)
    assert str(tmp_path / "identity.json") in refused.value.message
    assert "empty the whole folder" in refused.value.message


def test_a_folder_of_another_node_is_refused(tmp_path: Path) -> None:
    identity = create_identity(tmp_path, "c", "n0", "i0")
    require_identity(identity, "c", "n0")
    with pytest.raises(IdentityDamaged, match="node_id = 'n1', but this data folder belongs to 'n0'"):
        require_identity(identity, "c", "n1")
    with pytest.raises(IdentityDamaged, match="cluster_id = 'd'"):
        require_identity(identity, "d", "n0")


def test_write_file_replaces_whole_files_and_sets_the_mode(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one", mode=0o600)
    write_file(tmp_path / "a", b"two", mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def node_config(data_dir: str) -> NodeConfig:
    return NodeConfig(cluster_id="c", node_id="n0", data_dir=data_dir, http="h:1", rpc="h:2", peer="h:3")


def test_a_memory_only_node_is_who_it_is_told_or_somebody_new() -> None:
    assert identity_of(node_config(""), "1a2b").incarnation == "1a2b"
    assert identity_of(node_config("")).incarnation != identity_of(node_config("")).incarnation


def test_a_memory_only_node_says_what_that_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    identity_of(node_config(""))
    for part in ("comes back empty, as a new member", "refilled from the others", "lost once a majority"):
        assert part in caplog.text


def test_a_node_with_a_disk_is_not_told_who_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--first-incarnation is for a node without data_dir"):
        identity_of(node_config(str(tmp_path)), "1a2b")
    assert list(tmp_path.iterdir()) == []


def test_groups_without_an_identity_are_nobodys(tmp_path: Path) -> None:
    """Somebody removed the one file: a new incarnation must not take over what the old one had promised."""
    (tmp_path / "groups").mkdir()
    with pytest.raises(IdentityDamaged, match=r"folder 'groups', but no identity\.json"):
        load_identity(tmp_path)


@pytest.mark.parametrize("removed", ("the folder", "what is in it"))
def test_an_identity_without_groups_has_forgotten_everything(tmp_path: Path, removed: str) -> None:
    """Somebody removed the groups and left the name under which they voted."""
    first = identity_of(node_config(str(tmp_path)))
    assert identity_of(node_config(str(tmp_path))) == first, "it was killed before it had any"
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "replicas").touch()
    mark_started(tmp_path)
    assert identity_of(node_config(str(tmp_path))) == first
    (tmp_path / "groups" / "replicas").unlink()
    if removed == "the folder":
        (tmp_path / "groups").rmdir()
    with pytest.raises(IdentityDamaged, match="everything that this node held is gone, but not its identity"):
        identity_of(node_config(str(tmp_path)))


HOLD = "import sys; from pathlib import Path; from raftcache.identity import lock_data_dir\n"
HOLD += "with lock_data_dir(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    folder = tmp_path / "n0"
    assert running_on(folder) is None
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert running_on(folder) == holder.pid
        with (
            pytest.raises(DataDirInUse, match=rf"{folder}: process {holder.pid} works on this data folder"),
            lock_data_dir(folder),
        ):
            pass
        holder.kill()
    assert running_on(folder) is None
    with lock_data_dir(folder):
        assert running_on(folder) == os.getpid()
    assert running_on(folder) is None


def test_a_node_on_an_empty_disk_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = node_config(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        first, second = identity_of(config), identity_of(config)
    assert first == second
    assert caplog.text.count("has an empty disk: it is a new incarnation") == 1
