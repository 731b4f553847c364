"""Imports point down only.

The rows of the design, from the top. A module may import from rows below its own; inside a row packages may import
each other one way, so that no circle forms. `client` has a list of its own, and some things may be imported in one
place only. The pure packages besides contain nothing that waits, connects or looks at a clock.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "raftcache"

ROWS = (
    ("testing",),
    ("cli", "supervisor"),
    ("node",),
    ("frontends",),
    ("routing",),
    ("shard", "metadata"),
    ("consensus", "net", "wal"),
    ("store", "wire"),
    ("commands", "errors", "clock", "compiled", "config", "identity", "toml"),
)
RANK = {package: len(ROWS) - row for row, packages in enumerate(ROWS) for package in packages}
CLIENT_MAY_IMPORT = ("client", "wire", "net", "routing.map", *ROWS[-1])
ENGINE, ENGINE_PACKAGE = "pysyncobj", "consensus"
PURE = ("store", "wire", "commands", "frontends/resp")
SHELLS = ("frontends/resp/server.py",)
"""The files of pure packages that carry bytes to and from sockets, and do nothing else."""
IMPURE_MODULES = ("asyncio", "socket", "time", "threading", "select", "selectors", "subprocess")


class Import(NamedTuple):
    """`name` is imported at `path:line`; `package` is the part of raftcache that `path` belongs to."""

    path: Path
    line: int
    package: str
    name: str

    def says(self, rule: str) -> str:
        return f"{self.path}:{self.line} imports {self.name}: {rule}"


def violations(root: Path) -> list[str]:
    """Everything below `root`, a `raftcache` folder, that breaks a rule."""
    imports = [found for path in sorted(root.rglob("*.py")) for found in imports_of(root, path)]
    return [
        *(problem for found in imports if (problem := broken_rule(found)) is not None),
        *circles(imports),
        *(problem for package in PURE for problem in impurities(root, package)),
    ]


def imports_of(root: Path, path: Path) -> Iterator[Import]:
    """The imports of one file, wherever in it they stand; relative ones are made absolute."""
    place = path.relative_to(root).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported_names(node, ("raftcache", *place)):
            yield Import(path, getattr(node, "lineno", 0), place[0], name)


def imported_names(node: ast.AST, place: tuple[str, ...]) -> list[str]:
    """`from a import b` counts as `a.b`, since `b` may be a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = place[: len(place) - node.level] if node.level else ()
        return [".".join((*base, *filter(None, (node.module, alias.name)))) for alias in node.names]
    return []


def broken_rule(found: Import) -> str | None:
    if found.name.split(".")[0] == ENGINE and found.package != ENGINE_PACKAGE:
        return found.says(f"only {ENGINE_PACKAGE} may")
    target = target_package(found.name)
    if target is None or target == found.package or found.package == "__init__":
        return None
    if found.package == "client":
        allowed = any(f"{found.name}.".startswith(f"raftcache.{place}.") for place in CLIENT_MAY_IMPORT)
        return None if allowed else found.says("the client may not")
    if found.package not in RANK or target not in RANK:
        return found.says("a package that stands in no row")
    return found.says("that points up") if RANK[target] > RANK[found.package] else None


def target_package(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "raftcache" and len(parts) > 1 and not parts[1].startswith("__") else None


def circles(imports: list[Import]) -> list[str]:
    """Two packages of one row that import each other."""
    pairs = {(found.package, target_package(found.name) or ""): found for found in imports}
    both_ways = [pair for pair in sorted(pairs) if pair[0] < pair[1] and pair[::-1] in pairs]
    return [
        pairs[package, target].says(f"{target} imports {package} as well")
        for package, target in both_ways
        if RANK.get(package) == RANK.get(target)
    ]


def impurities(root: Path, package: str) -> list[str]:
    """What waits, connects or looks at a clock in a package that must be pure."""
    found = []
    for path in sorted((root / package).rglob("*.py")):
        if path.relative_to(root).as_posix() in SHELLS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            impure = isinstance(node, (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith))
            modules = {name.split(".")[0] for name in imported_names(node, ())} & set(IMPURE_MODULES)
            if impure or modules:
                what = type(node).__name__ if impure else f"import of {', '.join(sorted(modules))}"
                found.append(f"{path}:{getattr(node, 'lineno', 0)}: {what} in a pure package")
    return found


def test_the_layers_hold() -> None:
    assert violations(ROOT) == []


def test_every_package_stands_in_a_row() -> None:
    modules = [path for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    names = {path.stem for path in modules} - {"__init__", "__main__", "client"}
    assert names <= RANK.keys()


PLANTED = {
    "up": ("net/a.py", "from raftcache.shard import pipeline", "points up"),
    "up from inside a function": ("store/a.py", "def f():\n    import raftcache.node.main", "points up"),
    "up, relative": ("wal/a.py", "from ..frontends import http", "points up"),
    "up, by the package": ("errors.py", "from raftcache import cli", "points up"),
    "to testing": ("node/a.py", "from raftcache.testing.loop import Loop", "points up"),
    "to a stranger": ("node/a.py", "import raftcache.helpers", "stands in no row"),
    "engine": ("shard/a.py", "import pysyncobj", "only consensus may"),
    "part of the engine": ("node/a.py", "from pysyncobj.journal import Journal", "only consensus may"),
    "client to a layer": ("client/a.py", "from raftcache.shard import pipeline", "the client may not"),
    "client to a part of routing": ("client/a.py", "from raftcache.routing.router import Router", "the client may not"),
    "await": ("store/a.py", "async def f():\n    await g()", "pure package"),
    "clock": ("commands/a.py", "from time import monotonic", "pure package"),
    "socket": ("wire/a.py", "import socket", "pure package"),
    "clock in a protocol": ("frontends/resp/a.py", "import time", "pure package"),
    "event loop": ("wire/deep/a.py", "import asyncio.events", "pure package"),
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_violation_is_caught(planted: tuple[str, str, str], tmp_path: Path) -> None:
    place, source, rule = planted
    plant(tmp_path, place, source)
    found = violations(tmp_path)
    assert found and all(str(tmp_path / place) in problem for problem in found)
    assert rule in found[0]


def test_a_circle_inside_a_row_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "net/a.py", "import raftcache.wal.b")
    assert violations(tmp_path) == []
    plant(tmp_path, "wal/b.py", "import raftcache.net.a")
    assert len(violations(tmp_path)) == 1


def test_what_is_allowed_is_let_through(tmp_path: Path) -> None:
    plant(tmp_path, "consensus/a.py", "import pysyncobj\nimport asyncio\nfrom raftcache.wal.api import Log")
    plant(tmp_path, "client/a.py", "from raftcache.routing.map import ShardMap\nfrom raftcache import errors")
    plant(tmp_path, "cli/a.py", "from raftcache.supervisor.state import Supervision\nfrom raftcache import __version__")
    plant(tmp_path, "frontends/resp/server.py", "import asyncio\nimport socket")
    plant(tmp_path, "testing/a.py", "from raftcache.cli.main import main")
    assert violations(tmp_path) == []


def plant(root: Path, place: str, source: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(source)
