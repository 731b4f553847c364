"""The operations of Lua's `bit`: on 32 bits, with results that have a sign."""

from __future__ import annotations

import math
from collections.abc import Callable

_MASK = (1 << 32) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 32) if value >> 31 else value


def _word(number: float) -> int:
    """The 32 lowest bits of a number."""
    return round(number) & _MASK if math.isfinite(number) else 0


OPERATIONS: dict[bytes, Callable[[int, int], int]] = {
    b"tobit": lambda a, b: a,
    b"bnot": lambda a, b: ~a,
    b"band": lambda a, b: a & b,
    b"bor": lambda a, b: a | b,
    b"bxor": lambda a, b: a ^ b,
    b"lshift": lambda a, b: a << (b & 31),
    b"rshift": lambda a, b: a >> (b & 31),
    b"arshift": lambda a, b: _signed(a) >> (b & 31),
    b"rol": lambda a, b: a << (b & 31) | a >> (32 - (b & 31)),
    b"ror": lambda a, b: a >> (b & 31) | a << (32 - (b & 31)),
    b"bswap": lambda a, b: int.from_bytes(a.to_bytes(4, "little"), "big"),
}


def calculate(operation: bytes, a: float, b: float) -> int:
    """One operation. Raises nothing: that would become an object of Python's in Lua."""
    return _signed(OPERATIONS[operation](_word(a), _word(b)))
