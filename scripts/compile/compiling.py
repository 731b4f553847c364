"""Builds the modules that `modules.txt` lists to C extensions by mypyc, into a folder of their own.

mypyc compiles them as one group, within which calls are C calls. The folder gets a copy of the whole package with the
extensions beside the sources, so that nothing of it comes from anywhere else: an extension can never stand before a
source that has changed since.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE / "modules.txt"
GROUP = "raftcache.native"
"""What the extension that holds the code of all modules is called, before mypyc's suffix."""
TOOLS = ("mypy", "setuptools")
LEFT_OUT = (".pyc", ".so")
SETTINGS = "settings-of-mypy.toml"
"""The copy of pyproject.toml has another name, for setuptools would read it, too, and it is not for that."""
LOG_LINES = 15


class NotCompiled(Exception):
    """Why there are no extensions."""


def listed() -> list[str]:
    """The modules to compile, as paths below the project's folder."""
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [line for line in lines if line]


def stamp(root: Path) -> str:
    """A checksum of all that a build is made from, and of what is copied with it. Sources that are not listed count,
    too: mypyc looks into what is imported."""
    told = sha256(f"{sys.version} {platform.machine()} {_tool_versions()}".encode())
    for path in sorted([root / "pyproject.toml", *(root / "raftcache").rglob("*"), *HERE.iterdir()]):
        if path.is_file() and path.suffix not in LEFT_OUT:
            told.update(b"%s\0%d\0" % (str(path.relative_to(root)).encode(), path.stat().st_size))
            told.update(path.read_bytes())
    return told.hexdigest()[:16]


def build(root: Path, target: Path) -> None:
    """Fill `target`, which is made. Raises NotCompiled."""
    _require_compiler()
    ignored = shutil.ignore_patterns("__pycache__", *(f"*{suffix}" for suffix in LEFT_OUT))
    shutil.copytree(root / "raftcache", target / "raftcache", ignore=ignored)
    shutil.copy(root / "pyproject.toml", target / SETTINGS)
    command = [sys.executable, str(HERE / "extensions.py"), "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=target, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    shutil.rmtree(target / "build", ignore_errors=True)
    if done.returncode:
        raise NotCompiled("the build failed:\n" + "\n".join(said.splitlines()[-LOG_LINES:]))
    missing = [path for path in listed() if not any(_extensions_of(target / path))]
    if missing:
        raise NotCompiled(f"the build made no extension for {', '.join(missing)}")


def extensions(target: Path) -> list[Path]:
    """All extensions that `build` has made there."""
    return sorted((target / "raftcache").rglob("*.so"))


def _require_compiler() -> None:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise NotCompiled(f"there is no C compiler ({compiler})")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise NotCompiled("Python's headers are not installed (python3-dev)")


def _extensions_of(source: Path) -> Iterator[Path]:
    return source.parent.glob(f"{source.stem}.*.so")


def _tool_versions() -> str:
    try:
        return " ".join(f"{name} {version(name)}" for name in TOOLS)
    except PackageNotFoundError as error:
        raise NotCompiled(f"{error.name} is not installed, with which it is done") from error
