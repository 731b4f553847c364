"""With RAFTCACHE_COMPILE=1 the hot modules really are compiled; without it none is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from raftcache.compiled import is_compiled

ROOT = Path(__file__).parents[1]
LIST = ROOT / "scripts" / "compile" / "modules.txt"
MODULES = [
    line.removesuffix(".py").replace("/", ".")
    for line in LIST.read_text().splitlines()
    if line and not line.startswith("#")
]
ASKED = os.environ.get("RAFTCACHE_COMPILE") == "1"


@pytest.mark.parametrize("name", MODULES)
def test_a_listed_module_is_compiled_exactly_where_that_was_asked_for(name: str) -> None:
    file = import_module(name).__file__
    assert file is not None and file.endswith(tuple(EXTENSION_SUFFIXES)) == ASKED, f"{name} is {file}"


def test_the_process_knows_of_itself_whether_it_is_compiled() -> None:
    assert is_compiled() == ASKED


def test_a_child_process_started_from_the_projects_folder_is_of_the_same_kind() -> None:
    command = [sys.executable, "-m", "raftcache.cli.main", "--version"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.strip().endswith("(compiled)") == ASKED


@pytest.mark.skipif(not ASKED, reason="there is nothing to compare with")
def test_a_simulated_run_is_the_same_event_for_event_as_that_of_the_pure_code() -> None:
    pure = {name: value for name, value in os.environ.items() if name != "RAFTCACHE_COMPILED"}
    program = "from raftcache.testing.simulation import run_seed; print(run_seed(42, 30.0).trace)"
    traces = [
        subprocess.run([sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True).stdout
        for env in (pure, {**os.environ})
    ]
    assert traces[0] == traces[1]


def test_extensions_lie_beside_the_sources_that_are_used_and_nowhere_else() -> None:
    used = Path(str(import_module("raftcache.errors").__file__)).parent
    assert any(used.rglob("*.so")) == ASKED
    assert not any((ROOT / "raftcache").rglob("*.so"))


@pytest.mark.parametrize("name", MODULES)
def test_no_listed_module_uses_what_compiled_code_does_otherwise(name: str) -> None:
    source = (ROOT / f"{name.replace('.', '/')}.py").read_text()
    assert "cached_property" not in source, "a compiled class would compute it at every look"
