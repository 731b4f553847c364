"""What Twitter's cache clusters looked like, to shape a mix by (Yang, Yue, Rashmi, OSDI'20; see data/README.md)."""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib import resources
from typing import NamedTuple

TABLE = "twitter-2020-clusters.tsv"

USUAL_ALPHA = 0.8
"""Where the table has none; web caches lie between 0.64 and 0.83 (Breslau et al., INFOCOM'99)."""

_SECONDS = {"s": 1, "h": 3600, "d": 86_400}
_TTL = re.compile(r"([0-9.]+)([shd])\Z")

Weighted = dict[str, float]


class Shape(NamedTuple):
    """A row. The weights of `operations` (memcached's words) and of `ttls_s` need not sum to 1."""

    name: str
    key_bytes: int
    value_bytes: int
    operations: Weighted
    ttls_s: dict[float, float]
    alpha: float


def shapes() -> dict[str, Shape]:
    """All rows that say which operations there were, by name."""
    return {name: shape for name, row in _rows().items() if (shape := _shape(row)) is not None}


def shape(name: str) -> Shape:
    """One row. Raises ValueError that names those there are."""
    known = shapes()
    if name not in known:
        raise ValueError(f"shape {name!r:.80} is none of {', '.join(known)}")
    return known[name]


@cache
def _rows() -> dict[str, dict[str, str]]:
    text = (resources.files("jepsen_like") / "data" / TABLE).read_text()
    return {row["cluster"]: row for row in csv.DictReader(text.splitlines(), delimiter="\t")}


def _shape(row: dict[str, str]) -> Shape | None:
    if not _given(row["operation_mix"]):
        return None
    ttls = _weights(row["common_ttl"].replace(",", " "))
    return Shape(
        row["cluster"],
        int(row["key_bytes_mean"]),
        int(row["value_bytes_mean"]),
        _weights(row["operation_mix"]),
        {_seconds(text): weight for text, weight in ttls.items()},
        float(row["zipf_alpha"]) if _given(row["zipf_alpha"]) else USUAL_ALPHA,
    )


def _given(cell: str) -> bool:
    return cell not in ("N/A", "NA")


def _weights(text: str) -> Weighted:
    """`get:0.96 set:0.04` as numbers."""
    return {name: float(weight) for name, _, weight in (each.partition(":") for each in text.split())}


def _seconds(text: str) -> float:
    match = _TTL.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 90s, 1.5h or 2d")
    return float(match[1]) * _SECONDS[match[2]]
