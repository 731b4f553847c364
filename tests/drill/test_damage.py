"""What a node sets aside: the damaged replica, under the number that it had, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from jepsen_like.damage import about_set_aside
from raftcache.consensus.api import MemberId

OLD = MemberId("n0", "aa", 3)


def complaints(folder: Path, names: list[str]) -> list[str]:
    for name in names:
        (folder / name).mkdir(parents=True)
    return about_set_aside(folder, "n0", OLD, "g1")


def test_the_damaged_replica_alone_is_right(tmp_path: Path) -> None:
    assert complaints(tmp_path, ["g1.3"]) == []


@pytest.mark.parametrize("names", [[], ["g1.4"], ["g2.3"], ["g1.3", "g2.0"]])
def test_nothing_or_another_or_more_is_not(tmp_path: Path, names: list[str]) -> None:
    (text,) = complaints(tmp_path / "damaged", names)
    assert text == f"n0 has set aside {names}, wanted ['g1.3']"
