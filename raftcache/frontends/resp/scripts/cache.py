"""Scripts that were sent before, by their SHA-1, so that EVALSHA need not send them again.

Each process has its own: a script that was loaded at one node is not known at another, whose clients send it anew when
EVALSHA says NOSCRIPT. So it may be forgotten as well: the bounds hold by letting go what was unused for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha1

SCRIPTS_LIMIT = 1000
SCRIPTS_LIMIT_BYTES = 8 << 20


class ScriptCache:
    """Sources by SHA-1 in hexadecimal. `evicted` counts those that had to go."""

    def __init__(self) -> None:
        self.size_bytes = self.evicted = 0
        self._sources: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, sha: bytes) -> bool:
        return sha in self._sources

    def add(self, source: bytes) -> bytes:
        """Keep a script; returns its SHA-1."""
        sha = sha1(source).hexdigest().encode()
        if sha not in self._sources:
            self._sources[sha] = source
            self.size_bytes += len(source)
            while len(self._sources) > SCRIPTS_LIMIT or self.size_bytes > SCRIPTS_LIMIT_BYTES:
                self.size_bytes -= len(self._sources.popitem(last=False)[1])
                self.evicted += 1
        else:
            self._sources.move_to_end(sha)
        return sha

    def find(self, sha: bytes) -> bytes | None:
        """The source with that SHA-1, used now."""
        source = self._sources.get(sha)
        if source is not None:
            self._sources.move_to_end(sha)
        return source

    def clear(self) -> None:
        """Forget all of them."""
        self._sources.clear()
        self.size_bytes = 0
