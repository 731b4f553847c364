"""Inline commands: a line of words, as people type them into telnet.

The rules are those of `sdssplitargs` in Redis: words are divided by white space; in double quotes `\\n`, `\\r`,
`\\t`, `\\b`, `\\a`, `\\xHH` and `\\` before any other character mean what they do in C; in single quotes only
`\\'` is special.
A closing quote must be followed by white space or by the end of the line.
"""

from __future__ import annotations

import re

_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_SPACE = re.compile(rb"[ \t\r\n\v\f\0]*")
# Each repetition takes a character that no other alternative could take: the search never goes back.
_WORD = re.compile(rb"""[^ \t\r\n\v\f\0"']+""")
_DOUBLE = re.compile(rb'"((?:[^"\\]|\\.)*)"(?=[ \t\r\n\v\f\0]|\Z)', re.DOTALL)
_SINGLE = re.compile(rb"'((?:[^'\\]|\\'|\\(?!'))*)'(?=[ \t\r\n\v\f\0]|\Z)", re.DOTALL)
_DOUBLE_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def split_line(line: bytes) -> list[bytes] | None:
    """The words of a line without its line end; None where a quote is not closed as it must be."""
    words: list[bytes] = []
    at = _skip_space(line, 0)
    while at < len(line):
        word, at = _word(line, at)
        if word is None:
            return None
        words.append(word)
        at = _skip_space(line, at)
    return words


def _skip_space(line: bytes, at: int) -> int:
    match = _SPACE.match(line, at)
    return at if match is None else match.end()


def _word(line: bytes, at: int) -> tuple[bytes | None, int]:
    """The word that begins at `at`, of plain and quoted pieces, and where it ends."""
    pieces: list[bytes] = []
    while True:
        plain = _WORD.match(line, at)
        if plain is not None:
            pieces.append(plain.group())
            at = plain.end()
        quote = line[at : at + 1]
        if quote not in (b'"', b"'"):
            return b"".join(pieces), at
        quoted = (_DOUBLE if quote == b'"' else _SINGLE).match(line, at)
        if quoted is None:
            return None, at
        pieces.append(_unescaped(quoted.group(1), quote))
        return b"".join(pieces), quoted.end()


def _unescaped(text: bytes, quote: bytes) -> bytes:
    if quote == b"'":
        return text.replace(b"\\'", b"'")
    return _DOUBLE_ESCAPE.sub(_meant, text)


def _meant(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _ESCAPES.get(match[2], match[2])
