"""Least squares, for the capacity model. Pure.

What an operation costs a process is taken to be linear in what it consists of: a part of its own, a share of what a
batch of `depth` operations costs once, and a part for every KiB of its value:

    cpu_us = own + once / depth + per_kib * value_bytes / 1024

Three coefficients are fitted to all points at once, by the normal equations, each point weighted by its own size, so
that an error of a tenth weighs as much at a small cost as at a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Point(NamedTuple):
    """What an operation cost at a depth and a size."""

    depth: int
    value_bytes: int
    cost: float


class Model(NamedTuple):
    """The coefficients."""

    own: float
    once: float
    per_kib: float

    def at(self, depth: int, value_bytes: int) -> float:
        """What it says an operation costs there."""
        return sum(one * other for one, other in zip(self, _terms(depth, value_bytes), strict=True))


def fit(points: Sequence[Point]) -> Model:
    """The model nearest to the points. Raises ValueError where they do not tell the coefficients apart."""
    matrix = [[0.0] * 4 for _ in range(3)]
    for point in points:
        terms = _terms(point.depth, point.value_bytes)
        weight = 1.0 / max(point.cost, 1e-9) ** 2
        for row in range(3):
            for column in range(3):
                matrix[row][column] += weight * terms[row] * terms[column]
            matrix[row][3] += weight * terms[row] * point.cost
    return Model(*_solved(matrix))


def _terms(depth: int, value_bytes: int) -> tuple[float, float, float]:
    return 1.0, 1.0 / depth, value_bytes / 1024


def _solved(matrix: list[list[float]]) -> list[float]:
    """Gauss and Jordan, with the largest pivot."""
    size = len(matrix)
    for column in range(size):
        best = max(range(column, size), key=lambda row: abs(matrix[row][column]))
        matrix[column], matrix[best] = matrix[best], matrix[column]
        pivot = matrix[column][column]
        if abs(pivot) < 1e-12:
            raise ValueError("the points do not tell the coefficients apart: vary depths and sizes")
        matrix[column] = [each / pivot for each in matrix[column]]
        for row in range(size):
            if row != column:
                factor = matrix[row][column]
                matrix[row] = [one - factor * other for one, other in zip(matrix[row], matrix[column], strict=True)]
    return [row[size] for row in matrix]
