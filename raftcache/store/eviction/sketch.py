"""How often a key was asked for lately, whether it is kept or not: a count-min sketch that forgets.

A key has four counters of up to 15, found by its checksum, and its estimate is the least of them: never too low, and
too high only where others share all four. Each time ten uses were counted for each key kept, all counters are halved.
That is TinyLFU's sketch; what is different here is that no step of it is large.

* The four counters of a key stand in one *block* of 64 bytes, as in Caffeine, of which there is one for 4 keys.
* A use raises only those of them that are not above the new estimate (*conservative update*): the others stand for
  other keys too, and would be taken further from the truth.
* **Halving** only counts an era. A block is halved, for each era that it missed, when it is next looked at, which is
  the same as having halved all at once. A hand besides visits one block for each use that is counted, so that none is
  missed out for more eras than its byte can count.
* **Growing** adds one block at a time, by linear hashing. The new one starts as a copy of the block whose keys it takes
  over a part of, so every estimate stays as it was.

16.2 bytes a key, with which 2 to 4 % of the estimates are too high by more than one, where ten times as many keys are
asked for as are kept. With half of that, and every counter raised, it was more than half of them, and hit ratios were a
point off those of a cache that counts exactly. The sketch is as large as the most keys that were ever kept need.

Sources: G. Cormode and S. Muthukrishnan, "An improved data stream summary: the count-min sketch", J. Algorithms 55(1),
2005; C. Estan and G. Varghese, "New directions in traffic measurement and accounting", SIGCOMM 2002, for conservative
update; G. Einziger, R. Friedman and B. Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 13(4),
2017.
"""

from __future__ import annotations

from zlib import crc32

from raftcache.store.eviction.growing import FIRST_BUCKETS, Doubling

KEYS_PER_BLOCK = 4
BLOCK_BYTES = 64
COUNTER_LIMIT = 15
USES_PER_KEY = 10
"""An era ends when so many uses were counted for each key kept."""

_ERAS = 256
_SPREAD = 0x9E3779B97F4A7C15
_QUARTER = BLOCK_BYTES // 4
"""Each of a key's counters stands in a quarter of its own, so no two of them are one."""
_HALVED = [bytes(count >> eras for count in range(256)) for eras in range(5)]
"""What is left of a count after so many eras, for `bytes.translate`; after four, nothing."""


class Sketch:
    """Estimates of up to 15 uses of any number of keys."""

    __slots__ = ("_counters", "_doubling", "_era", "_eras", "_hand", "_uses")

    def __init__(self) -> None:
        self._doubling = Doubling()
        self._counters = bytearray(FIRST_BUCKETS * BLOCK_BYTES)
        self._eras = bytearray(FIRST_BUCKETS)
        """By block, the era that its counters are of; modulo 256, as the present one is."""
        self._era = self._uses = self._hand = 0

    def count(self, key: bytes, kept: int, times: int = 1) -> None:
        """A key is asked for, `times` times, while `kept` keys are kept."""
        counters = self._counters
        places = self._places(key)
        count = min(min(counters[place] for place in places) + times, COUNTER_LIMIT)
        for place in places:
            if counters[place] < count:
                counters[place] = count
        self._uses += times
        if self._uses >= USES_PER_KEY * max(kept, FIRST_BUCKETS * KEYS_PER_BLOCK):
            self._era, self._uses = (self._era + 1) % _ERAS, 0
        self._hand = (self._hand + 1) % self._doubling.count
        self._renew(self._hand)

    def estimate(self, key: bytes) -> int:
        """How often a key was asked for lately."""
        counters = self._counters
        return min(counters[place] for place in self._places(key))

    def grow(self, kept: int) -> None:
        """One block more where there are too few for the keys kept."""
        if kept <= self._doubling.count * KEYS_PER_BLOCK:
            return
        old, _ = self._doubling.grow()
        self._counters += self._counters[old * BLOCK_BYTES : (old + 1) * BLOCK_BYTES]
        self._eras.append(self._eras[old])

    def _places(self, key: bytes) -> tuple[int, int, int, int]:
        spread = (crc32(key) + 1) * _SPREAD
        block = self._doubling.bucket(spread >> 32 & 0xFFFFFFFF)
        if self._eras[block] != self._era:
            self._renew(block)
        start = block * BLOCK_BYTES
        return (
            start + (spread >> 12 & 15),
            start + _QUARTER + (spread >> 16 & 15),
            start + 2 * _QUARTER + (spread >> 20 & 15),
            start + 3 * _QUARTER + (spread >> 24 & 15),
        )

    def _renew(self, block: int) -> None:
        missed = (self._era - self._eras[block]) % _ERAS
        if missed:
            self._eras[block] = self._era
            part = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
            self._counters[part] = self._counters[part].translate(_HALVED[min(missed, len(_HALVED) - 1)])
