"""Redis's patterns for keys: `*` any bytes, `?` one, `[abc]`, `[a-c]`, `[^x]` one of these, `\\x` the byte itself.

A pattern is turned into a row of sets of bytes, with stars between them. Where a match fails, only the last star takes
one byte more; what an earlier one took need never be looked at again, for any later place does as well. So the time is
at most the key's length times the pattern's, whatever the pattern.

Source: `stringmatchlen` in Redis's util.c, also for what is not closed or stands the wrong way round.
"""

from __future__ import annotations

from collections.abc import Callable

from raftcache.frontends.resp.spec import Refused

PATTERN_LIMIT_BYTES = 1024
"""As long as a key may be."""

_ANY = frozenset(range(256))
Part = frozenset[int] | None
"""The bytes that one byte of the key may be; None: a star."""


def matcher(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether a key is like the pattern. Raises Refused."""
    if len(pattern) > PATTERN_LIMIT_BYTES:
        raise Refused(f"ERR pattern: {len(pattern)} bytes, the limit is {PATTERN_LIMIT_BYTES}")
    parts = parsed(pattern)
    if parts == [None]:
        return lambda _key: True
    return lambda key: _matches(parts, key)


def parsed(pattern: bytes) -> list[Part]:
    """The parts of a pattern; of several stars in a row one."""
    parts, at = list[Part](), 0
    while at < len(pattern):
        part, at = _part(pattern, at)
        if part is not None or not parts or parts[-1] is not None:
            parts.append(part)
    return parts


def _part(pattern: bytes, at: int) -> tuple[Part, int]:
    byte = pattern[at : at + 1]
    if byte == b"*":
        return None, at + 1
    if byte == b"?":
        return _ANY, at + 1
    if byte == b"[":
        return _class(pattern, at + 1)
    if byte == b"\\" and at + 1 < len(pattern):
        at += 1
    return frozenset({pattern[at]}), at + 1


def _class(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """What stands between brackets. One that is not closed ends with the pattern."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    found = set[int]()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            at += 1
            found.add(pattern[at])
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            first, last = sorted((pattern[at], pattern[at + 2]))
            found.update(range(first, last + 1))
            at += 2
        else:
            found.add(pattern[at])
        at += 1
    return frozenset(_ANY - found if negated else found), at + 1


def _matches(parts: list[Part], key: bytes) -> bool:
    at = place = 0
    star = star_at = -1
    while at < len(key):
        part = parts[place] if place < len(parts) else frozenset[int]()
        if part is None:
            star, star_at = place, at
            place += 1
        elif key[at] in part:
            at, place = at + 1, place + 1
        elif star < 0:
            return False
        else:
            star_at += 1
            at, place = star_at, star + 1
    return all(part is None for part in parts[place:])
