"""raftcache: a distributed in-memory cache with durability chosen per namespace."""

__version__ = "0.1.0"
