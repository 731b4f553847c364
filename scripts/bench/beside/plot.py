"""The picture of a comparison: a bar for each row, how many times the rival's throughput it is, as SVG. Pure.

The scale is logarithmic, for a system of half the speed is as far from its rival as one of twice the speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10
from typing import Any
from xml.sax.saxutils import escape

from beside.report import group

WIDTH, LEFT, RIGHT, TOP, LINE = 950, 330, 200, 76, 22
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
AHEAD, BEHIND, FLOOR = "#2e8b57", "#1f6fb2", "#d1495b"


class _Scale:
    """Where a ratio is, from the smallest and the largest that are shown."""

    def __init__(self, ratios: list[float]) -> None:
        self.low, self.high = min(0.5, *ratios) * 0.9, max(2.0, *ratios) * 1.1

    def x(self, ratio: float) -> float:
        """The place of a ratio; what is off the scale stands at its edge."""
        within = min(max(ratio, self.low), self.high)
        return LEFT + (WIDTH - LEFT - RIGHT) * log10(within / self.low) / log10(self.high / self.low)


def draw(shown: Mapping[str, Any]) -> str:
    """The SVG document of a report's document."""
    rows = shown["rows"]
    lines = len(rows) + len({group(row) for row in rows})
    height = TOP + LINE * lines + 46
    scale = _Scale([row["ratio"] for row in rows] + [row["at_least"] for row in rows if row["at_least"]])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(16, 26, "raftcache beside its rivals: throughput, times the rival's", 'font-size="16"'),
        _text(16, 48, _subtitle(shown), 'fill="#666"'),
        *_axis(scale, TOP + LINE * lines),
        *_bars(rows, scale),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _subtitle(shown: Mapping[str, Any]) -> str:
    return (
        f"{shown['processors']} processors shared by servers and load, {shown['connections']} connections, medians of "
        f"{shown['rounds']} rounds, {shown['date']}; a red mark is what is asked for"
    )


def _axis(scale: _Scale, bottom: float) -> Iterator[str]:
    for tick in TICKS:
        if scale.low <= tick <= scale.high:
            x, colour = scale.x(tick), "#888" if tick == 1.0 else "#e3e3e3"
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom:.1f}" stroke="{colour}"/>'
            yield _text(x, bottom + 20, f"{tick:g}x", 'text-anchor="middle" fill="#666"')


def _bars(rows: list[dict[str, Any]], scale: _Scale) -> Iterator[str]:
    y, last = float(TOP), ""
    for row in rows:
        if (own := group(row)) != last:
            yield _text(16, y + 15, own, 'font-weight="bold"')
            y, last = y + LINE, own
        yield from _bar(row, y, scale)
        y += LINE


def _bar(row: Mapping[str, Any], y: float, scale: _Scale) -> Iterator[str]:
    """From 1 to the ratio, to whichever side it is on."""
    one, end = scale.x(1.0), scale.x(row["ratio"])
    colour, left, width = AHEAD if end >= one else BEHIND, min(one, end), abs(end - one)
    yield _text(LEFT - 10, y + 15, row["title"], 'text-anchor="end"')
    yield f'<rect x="{left:.1f}" y="{y + 4:.1f}" width="{width:.1f}" height="{LINE - 8}" fill="{colour}"/>'
    if row["at_least"]:
        x = scale.x(row["at_least"])
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y + 1:.1f}" y2="{y + LINE - 1:.1f}"'
        yield f'<line {ends} stroke="{FLOOR}" stroke-width="3"/>'
    rates = f"{row['ratio']:.2f}x  {row['ours']['per_s']:,} / {row['theirs']['per_s']:,}"
    yield _text(WIDTH - RIGHT + 8, y + 15, rates, "")


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
