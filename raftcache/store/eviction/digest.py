"""What followers are told of reads, so that a new leader knows what is used.

Followers apply every write and removal, and keep an evictor of their own by them; so charges are exact everywhere, and
`lrm` and `ttl` have the very order of the leader. What followers do not see is reads. They need not be told of each
one, nor in order, nor reliably: what a follower makes of them decides nothing until it leads, and then only which keys
go first. So the leader keeps a *digest* of a short time: which keys were read, and how often, each once however hot.
Every `DIGEST_S` seconds it sends it to the followers beside the log, as a message that may be lost, and begins anew.

A digest has at most `DIGEST_KEYS` keys. Of more that are read in the time, those read *first* are in it: a key that is
read often is read early, so that is a sample in which hot keys are, whatever there is of cold ones.

What a new leader then knows: for `lru`, the order of uses but for those within one interval, and but for keys read
only once while the digest was full. For `lfu` and `tinylfu`, counters of the same size, from draws of its own. For
`s3fifo`, the uses of each key, and ghosts of the evictions that it applied where the log tells
them from removals (`Evictor.remove`).

A replica that is filled from a snapshot, or restarts, has entries and no order. It writes them to its evictors in the
order of their versions, `(term, seq)`, which is `lrm` exactly and for `lru` the order of last writes; the digests that
come from then on put right what is hot within seconds.
"""

from __future__ import annotations

DIGEST_S = 1.0
"""How often a digest is sent."""
DIGEST_KEYS = 4096
"""Keys in a digest: about 200 KB a second for each follower of a shard at the worst, with keys of 40 bytes."""
DIGEST_TIMES_LIMIT = 255
"""Reads of one key in a digest; more are not told."""


class ReadDigest:
    """Reads since the last digest, of one namespace in one shard."""

    __slots__ = ("_limit", "_reads")

    def __init__(self, limit: int = DIGEST_KEYS) -> None:
        self._limit = limit
        self._reads: dict[bytes, int] = {}

    def read(self, key: bytes) -> None:
        """A key that is present was read."""
        times = self._reads.get(key)
        if times is None:
            if len(self._reads) < self._limit:
                self._reads[key] = 1
        elif times < DIGEST_TIMES_LIMIT:
            self._reads[key] = times + 1

    def take(self) -> dict[bytes, int]:
        """Keys with how often each was read, in the order of their first reads; the digest is empty afterwards."""
        reads, self._reads = self._reads, {}
        return reads
