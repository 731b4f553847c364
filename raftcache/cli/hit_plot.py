"""The picture of `raftcache replay --policies`: hit ratios over sizes, a line for each policy, as SVG."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 480
LEFT, TOP, RIGHT, BOTTOM = 64, 56, 210, 56
TICKS = 5
COLOURS = ("#1f6fb2", "#d1495b", "#2e8b57", "#c77d0a", "#6a4c93", "#00798c", "#8c564b", "#555555")
DASHES = ("", "6 4", "2 3")
"""A colour for each policy, a dash for each admission."""

Line = tuple[tuple[str, str], list[float]]


def draw(results: list[dict[str, Any]], unit: str, trace: str) -> str:
    """The SVG document of rows `{policy, admission, size, capacity, hit_ratio, ...}`; `unit` is items or bytes."""
    columns = list(dict.fromkeys((row["size"], row["capacity"]) for row in results))
    lines: dict[tuple[str, str], list[float]] = {}
    for row in results:
        lines.setdefault((row["policy"], row["admission"]), []).append(row["hit_ratio"])
    top = max(0.05, *(ratio for ratios in lines.values() for ratio in ratios))
    low = min(ratio for ratios in lines.values() for ratio in ratios)
    scale = _Scale(len(columns), low - (top - low) * 0.1 if top > low else 0.0, top + (top - low) * 0.05 + 1e-9)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 28, f"Hit ratio of {trace}, {results[0]['requests']:,} requests", 'font-size="16"'),
        *_axes(columns, scale, unit),
        *(part for number, line in enumerate(lines.items()) for part in _line(line, number, list(lines), scale)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Where a column and a ratio are in the picture."""

    def __init__(self, columns: int, low: float, high: float) -> None:
        self.low, self.high = max(0.0, low), high
        self._columns = columns

    def x(self, column: int) -> float:
        room = WIDTH - LEFT - RIGHT
        return LEFT + room * (column + 0.5) / self._columns

    def y(self, ratio: float) -> float:
        room = HEIGHT - TOP - BOTTOM
        return TOP + room * (1 - (ratio - self.low) / (self.high - self.low))


def _axes(columns: list[tuple[str, int]], scale: _Scale, unit: str) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        ratio = scale.low + (scale.high - scale.low) * tick / TICKS
        y = scale.y(ratio)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{ratio:.3f}", 'text-anchor="end" fill="#666"'))
    for number, (size, capacity) in enumerate(columns):
        x = scale.x(number)
        parts.append(_text(x, HEIGHT - BOTTOM + 20, size, 'text-anchor="middle"'))
        parts.append(_text(x, HEIGHT - BOTTOM + 38, f"{capacity:,} {unit}", 'text-anchor="middle" fill="#666"'))
    return parts


def _line(line: Line, number: int, names: list[tuple[str, str]], scale: _Scale) -> list[str]:
    (policy, admission), ratios = line
    policies = list(dict.fromkeys(name for name, _ in names))
    admissions = list(dict.fromkeys(name for _, name in names))
    colour = COLOURS[policies.index(policy) % len(COLOURS)]
    dash = DASHES[admissions.index(admission) % len(DASHES)]
    points = [(scale.x(column), scale.y(ratio)) for column, ratio in enumerate(ratios)]
    style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" fill="none"'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = WIDTH - RIGHT + 18, TOP + 8 + 20 * number
    return [
        f'<polyline points="{path}" {style}/>',
        *(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{colour}"/>' for cx, cy in points),
        f'<line x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}" {style}/>',
        _text(x + 34, y + 4, policy if admission == "all" else f"{policy} + {admission}", ""),
    ]


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
