"""A node's identity file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raftcache.identity import (
    IdentityDamaged,
    create_identity,
    load_identity,
    new_incarnation,
    require_identity,
    write_file,
)


def test_an_empty_folder_has_none_and_a_new_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "n0"
    assert load_identity(folder) is None
    created = create_identity(folder, "c", "n0")
    assert load_identity(folder) == created
    document = json.loads((folder / "identity.json").read_text())
    assert document == {"cluster_id": "c", "node_id": "n0", "incarnation": created.incarnation, "format": 1}
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


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    document = {"cluster_id": "c", "node_id": "n0", "incarnation": "i", "format": 2}
    (tmp_path / "identity.json").write_text(json.dumps(document))
    with pytest.raises(IdentityDamaged, match="format"):
        load_identity(tmp_path)


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
