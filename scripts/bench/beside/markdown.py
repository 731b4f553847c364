"""A comparison in Markdown, as README.md shows it: all rows at the size at which floors are asked for, and the ratios
over the sizes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beside.rows import JUDGED_BYTES

HEAD = ("raftcache / rival", "ratio", "operations a second", "CPU µs an operation", "p99 ms")


def tables(shown: Mapping[str, Any]) -> str:
    """The tables of a report's document, and what they were measured with."""
    rows = shown["rows"]
    sizes = sorted({row["ours"]["value_bytes"] for row in rows})
    size = JUDGED_BYTES if JUDGED_BYTES in sizes else sizes[0]
    parts = [f"{_conditions(shown)} Values of {_size(size)}:", "\n".join(_by_depth(rows, size))]
    if len(sizes) > 1:
        parts += ["The ratios over the sizes of values:", "\n".join(_by_size(rows, sizes))]
    return "\n\n".join(parts)


def _conditions(shown: Mapping[str, Any]) -> str:
    found = {name: re.search(r"\d+(\.\d+)+", text) for name, text in shown["versions"].items()}
    versions = ", ".join(f"{name} {match[0]}" for name, match in found.items() if match is not None)
    compiled = "compiled" if shown["compiled"] else "not compiled"
    return (
        f"Of {shown['date']}: medians of {shown['rounds']} rounds of {shown['seconds']:g} s, {shown['connections']} "
        f"connections, {shown['processors']} processors; {versions}; Python {shown['python']}, {compiled}."
    )


def _by_depth(rows: Sequence[Mapping[str, Any]], size: int) -> Iterator[str]:
    yield _line(HEAD)
    yield _line(("---", *["--:"] * (len(HEAD) - 1)))
    rows, depth = [row for row in rows if row["ours"]["value_bytes"] == size], 0
    for row in rows:
        if row["ours"]["depth"] != depth:
            depth = row["ours"]["depth"]
            yield _line((f"*depth {depth}*", *[""] * (len(HEAD) - 1)))
        yield _line(_cells(row))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    sides = row["ours"], row["theirs"]
    asked = f" (asked: {row['at_least']:g})" if row["at_least"] else ""
    figures = (("per_s", ",.0f"), ("server_cpu_us", ".1f"), ("p99_ms", ".1f"))
    pairs = [" / ".join(format(side[name], shape) for side in sides) for name, shape in figures]
    return row["title"], f"**{row['ratio']:.2f}**{asked}", *pairs


def _by_size(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> Iterator[str]:
    """A row for each comparison that was made at more than one size, a column for each depth and size."""
    depths = sorted({row["ours"]["depth"] for row in rows})
    places = [(depth, size) for depth in depths for size in sizes]
    ratios: dict[str, dict[tuple[int, int], float]] = {}
    for row in rows:
        ratios.setdefault(row["title"], {})[row["ours"]["depth"], row["ours"]["value_bytes"]] = row["ratio"]
    yield _line(("raftcache / rival", *[f"depth {depth}, {_size(size)}" for depth, size in places]))
    yield _line(("---", *["--:"] * len(places)))
    for title, found in ratios.items():
        if len({size for _, size in found}) > 1:
            yield _line((title, *[f"{found[place]:.2f}" if place in found else "" for place in places]))


def _size(size_bytes: int) -> str:
    return f"{size_bytes // 1024} KiB" if size_bytes >= 1024 and not size_bytes % 1024 else f"{size_bytes} B"


def _line(cells: Sequence[str]) -> str:
    return "|" + "".join([f" {cell} |" if cell else " |" for cell in cells])
