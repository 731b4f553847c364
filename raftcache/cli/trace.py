"""Cache traces: CSV, gzipped or plain, with the header `version,time,op,size,lbn`; the key is `lbn`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from raftcache.cli.output import Failed
from raftcache.commands.types import VALUE_LIMIT_BYTES

HEADER = b"version,time,op,size,lbn"


class Request(NamedTuple):
    """One traced request; the size is capped at what the cache takes, 1 MiB."""

    key: bytes
    size_bytes: int


Progress = Callable[[float], None]


def read_trace(path: Path, limit: int | None = None, progress: Progress | None = None) -> Iterator[Request]:
    """The requests in order, read as they are asked for.

    `progress` is told now and then which part of the file, 0 to 1, is read. Raises Failed naming file and line.
    """
    try:
        with open(path, "rb") as file:
            report = _reporter(file, path.stat().st_size, progress)
            lines = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            yield from islice(_requests(path, lines, report), limit)
    except (OSError, EOFError, zlib.error) as error:
        raise Failed(f"{path}: cannot be read: {error}") from error


def _reporter(file: IO[bytes], size: int, progress: Progress | None) -> Callable[[], None]:
    def report() -> None:
        if progress is not None:
            progress(file.tell() / max(size, 1))

    return report


def _requests(path: Path, lines: IO[bytes] | gzip.GzipFile, report: Callable[[], None]) -> Iterator[Request]:
    header = lines.readline().strip()
    if header != HEADER:
        raise Failed(f"{path}: line 1 must be {HEADER.decode()!r}, got {header[:80]!r}")
    for number, line in enumerate(lines, start=2):
        if number % 1024 == 0:
            report()
        yield _request(path, number, line)
    report()


def _request(path: Path, number: int, line: bytes) -> Request:
    fields = line.strip().split(b",")
    if len(fields) != 5 or not fields[3].isdigit() or not fields[4]:
        raise Failed(f"{path}: line {number} is not {HEADER.decode()}: {line[:80]!r}")
    return Request(fields[4], min(int(fields[3]), VALUE_LIMIT_BYTES))
