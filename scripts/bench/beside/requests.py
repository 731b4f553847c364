"""Requests as bytes, in the Redis protocol and in memcached's, for the load generator in Python. Pure.

The keys of all operations are the same everywhere, and all of them are there before anything is measured.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

from beside.rows import GET, REDIS, SET, SET_DURABLE, SET_QUORUM, TWITTER, Measurement

KEYS = 10_000
BATCHES = 64
"""How many batches of requests a connection has ready, to send them over and over."""

MULTI_KEYS = 100
ALPHABET = string.ascii_letters.encode() + string.digits.encode()


PREFIXES = {GET: b"", SET: b"", SET_QUORUM: b"safe:", SET_DURABLE: b"vault:"}
"""Of the keys of an operation. For raftcache they name namespaces, by whose policies a plain SET waits for the level;
for the others they are part of the key."""


class Cluster(NamedTuple):
    """A cache cluster of Twitter's in March 2020: statistics table of twitter/cache-trace (CC-BY), OSDI'20."""

    name: str
    key_bytes: int
    value_bytes: int
    get_share: float
    zipf_alpha: float


TWITTER_CLUSTER = Cluster("cluster29", 36, 799, 0.86, 1.2323)
"""Of those with a usual mix of reads and writes the one that is nearest to nine reads in ten and to 1 KiB."""


class Request(NamedTuple):
    """One operation; `value` is None for a read."""

    key: bytes
    value: bytes | None


Write = Callable[[Request], bytes]


def key(number: int, key_bytes: int = 16) -> bytes:
    """A key as redis-benchmark makes them, filled up to `key_bytes`."""
    return b"key:%012d" % number + b"x" * (key_bytes - 16)


def value(size_bytes: int) -> bytes:
    """Letters and digits, which need no quotes in redis-benchmark's CSV: the same in every run."""
    return bytes(random.Random(size_bytes).choices(ALPHABET, k=size_bytes))


def resp(*arguments: bytes) -> bytes:
    """A command in the Redis protocol."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments)


def memcached(request: Request) -> bytes:
    """A command in memcached's text protocol (protocol.txt)."""
    if request.value is None:
        return b"get %b\r\n" % request.key
    return b"set %b 0 0 %d\r\n%b\r\n" % (request.key, len(request.value), request.value)


def redis(request: Request) -> bytes:
    """A plain command for Redis, and for raftcache."""
    if request.value is None:
        return resp(b"GET", request.key)
    return resp(b"SET", request.key, request.value)


def batches(measured: Measurement, write: Write, seed: int) -> list[bytes]:
    """What one connection sends: each batch holds `depth` operations. A WAIT covers the writes of its batch, which is
    how a client would pipeline them."""
    chance = random.Random(seed)
    end = resp(b"WAIT", b"1", b"0") if (measured.system, measured.operation) == (REDIS, SET_QUORUM) else b""
    count = BATCHES * measured.depth
    made = _twitter(chance, count) if measured.operation == TWITTER else _uniform(measured, chance, count)
    encoded = [write(request) for request in made]
    return [b"".join(encoded[at : at + measured.depth]) + end for at in range(0, count, measured.depth)]


def _uniform(measured: Measurement, chance: random.Random, count: int) -> list[Request]:
    content = None if measured.operation == GET else value(measured.value_bytes)
    prefix = PREFIXES[measured.operation]
    return [Request(prefix + key(chance.randrange(KEYS)), content) for _ in range(count)]


def _twitter(chance: random.Random, count: int) -> list[Request]:
    like = TWITTER_CLUSTER
    weights = list(accumulate((rank + 1) ** -like.zipf_alpha for rank in range(KEYS)))
    numbers = chance.choices(range(KEYS), cum_weights=weights, k=count)
    content = value(like.value_bytes)
    return [
        Request(key(number, like.key_bytes), None if chance.random() < like.get_share else content)
        for number in numbers
    ]
