"""raftcache: a distributed in-memory cache with durability chosen per namespace."""

import os

__version__ = "0.1.0"

if _compiled := os.environ.get("RAFTCACHE_COMPILED"):
    # A folder with all of this package, hot modules compiled, made by `scripts/compile`, which says so to processes of
    # the scripts alone. Not by PYTHONPATH: with `python -m`, the current folder stands before that.
    __path__ = [os.path.join(_compiled, "raftcache")]
