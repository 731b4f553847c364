"""Cache traces, in two forms, plain or compressed by gzip (`.gz`) or zstd (`.zst`).

* CSV with the header `version,time,op,size,lbn`: the key is `lbn`, the time in seconds.
* libCacheSim's oracleGeneral, of which a file is nothing but records of 24 bytes, little-endian and packed: time in
  seconds (u32), object id (u64), size (u32), and when the object is next asked for (i64), which is not looked at here.
  The key is the id in decimal.

A file is oracleGeneral if its name says so (`oracleGeneral` in it, or `.bin` at its end), or if it does not begin with
text.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, cast

import zstandard

from raftcache.cli.output import Failed
from raftcache.commands.types import VALUE_LIMIT_BYTES

HEADER = b"version,time,op,size,lbn"
RECORD = struct.Struct("<IQIq")
RECORDS_PER_READ = 4096


class Request(NamedTuple):
    """One traced request; the size is capped at what the cache takes, 1 MiB."""

    key: bytes
    size_bytes: int


class Timed(NamedTuple):
    """A request and its time, from wherever the trace counts."""

    key: bytes
    size_bytes: int
    time_ms: int


Progress = Callable[[float], None]


def read_trace(path: Path, limit: int | None = None, progress: Progress | None = None) -> Iterator[Request]:
    """The requests in order, read as they are asked for.

    `progress` is told now and then which part of the file, 0 to 1, is read. Raises Failed naming file and line.
    """
    return (Request(timed.key, timed.size_bytes) for timed in read_timed(path, limit, progress))


def read_timed(path: Path, limit: int | None = None, progress: Progress | None = None) -> Iterator[Timed]:
    """The same with their times."""
    try:
        with open(path, "rb") as file:
            report = _reporter(file, path.stat().st_size, progress)
            content = _decompressed(path, file)
            requests = _records if _is_binary(path, content) else _lines
            yield from islice(requests(path, content, report), limit)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise Failed(f"{path}: cannot be read: {error}") from error


def _decompressed(path: Path, file: IO[bytes]) -> io.BufferedReader:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if path.suffix == ".zst":
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))
    return io.BufferedReader(cast(io.FileIO, file))


def _is_binary(path: Path, content: io.BufferedReader) -> bool:
    name = path.name.removesuffix(path.suffix) if path.suffix in (".gz", ".zst") else path.name
    if name.endswith(".bin") or "oraclegeneral" in name.lower():
        return True
    start = content.peek(RECORD.size)[: RECORD.size]
    return not name.endswith(".csv") and any(byte < 0x20 and byte not in b"\r\n\t" for byte in start)


def _reporter(file: IO[bytes], size: int, progress: Progress | None) -> Callable[[], None]:
    def report() -> None:
        if progress is not None:
            progress(file.tell() / max(size, 1))

    return report


def _lines(path: Path, lines: io.BufferedReader, report: Callable[[], None]) -> Iterator[Timed]:
    header = lines.readline().strip()
    if header != HEADER:
        raise Failed(f"{path}: line 1 must be {HEADER.decode()!r}, got {header[:80]!r}")
    for number, line in enumerate(lines, start=2):
        if number % 1024 == 0:
            report()
        yield _request(path, number, line)
    report()


def _request(path: Path, number: int, line: bytes) -> Timed:
    fields = line.strip().split(b",")
    if len(fields) != 5 or not fields[1].isdigit() or not fields[3].isdigit() or not fields[4]:
        raise Failed(f"{path}: line {number} is not {HEADER.decode()}: {line[:80]!r}")
    return Timed(fields[4], min(int(fields[3]), VALUE_LIMIT_BYTES), int(fields[1]) * 1000)


def _records(path: Path, content: io.BufferedReader, report: Callable[[], None]) -> Iterator[Timed]:
    count = 0
    while data := content.read(RECORD.size * RECORDS_PER_READ):
        if torn := len(data) % RECORD.size:
            raise Failed(f"{path}: record {count + len(data) // RECORD.size + 1} has {torn} bytes of {RECORD.size}")
        for time_s, object_id, size_bytes, _ in RECORD.iter_unpack(data):
            yield Timed(b"%d" % object_id, min(size_bytes, VALUE_LIMIT_BYTES), time_s * 1000)
        count += len(data) // RECORD.size
        report()
