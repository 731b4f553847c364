"""What an entry really costs: the growth of the process over a million entries, beside what the accounts say.

Each row is a process of its own, so that nothing is reused: it takes in entries as a follower does, from the bytes of
batches, with an eviction order or without, and compares the resident memory before and after.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from raftcache.commands.policy import Admission, Eviction
from raftcache.store.effects import PUT, Batch, apply_batch, decode_batch, encode_batch
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.tags import DroppedTags
from raftcache.store.tenants import Kind

KEY_BYTES, VALUE_BYTES = 24, 40
BATCH = 1000
CASES = (
    ("no order", None, False),
    ("no order, TTL", None, True),
    ("lru", Eviction.LRU, False),
    ("lru, TTL", Eviction.LRU, True),
    ("s3fifo, TTL", Eviction.S3FIFO, True),
    ("lfu, TTL", Eviction.LFU, True),
)
ALLOWED_PERCENT = 15.0


class Tables:
    """What effects change."""

    def __init__(self) -> None:
        budget = MemoryBudget()
        self.keyspace, self.replies, self.dropped = Keyspace(budget), Replies(budget), DroppedTags()


def resident_bytes() -> int:
    """Of this process, from the kernel."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def measure(entries: int, eviction: str, with_ttl: bool) -> dict[str, float]:
    """Fill one keyspace; bytes an entry, over key and value."""
    tables, dice = Tables(), random.Random(1)
    if eviction:
        tables.keyspace.tenants.configure({300: Kind(Eviction(eviction), Admission.ALL)})
    gc.collect()
    before_bytes = resident_bytes()
    for first in range(0, entries, BATCH):
        effects = []
        for n in range(first, min(entries, first + BATCH)):
            expires_ms = 1_800_000_000_000 + dice.randrange(86_400_000) if with_ttl else 0
            effects.append((PUT, b"ns:%021d" % n, b"%040d" % n, 0, expires_ms, 300))
        apply_batch(tables, decode_batch(encode_batch(Batch(7, first + 1, 1_800_000_000_000, effects))))
    gc.collect()
    own_bytes = KEY_BYTES + VALUE_BYTES
    real = (resident_bytes() - before_bytes) / entries
    charged = tables.keyspace.used_bytes / entries
    off_percent = 100 * (charged / real - 1)
    return {"real_bytes": real - own_bytes, "charged_bytes": charged - own_bytes, "off_percent": off_percent}


def main() -> int:
    """Print the table; 1 where the accounts are further off than they may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, metavar="N", help="default: 1000000")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        _, eviction, with_ttl = next(case for case in CASES if case[0] == args.case)
        print(json.dumps(measure(args.entries, "" if eviction is None else eviction.value, with_ttl)))
        return 0
    table = Table("order", "real bytes over key and value", "charged", "accounts off")
    worst = 0.0
    for name, _, _ in CASES:
        command = [sys.executable, __file__, "--entries", str(args.entries), "--case", name]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        worst = max(worst, abs(row["off_percent"]))
        table.add_row(name, f"{row['real_bytes']:.0f}", f"{row['charged_bytes']:.0f}", f"{row['off_percent']:+.1f} %")
    Console().print(table)
    return 0 if worst <= ALLOWED_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
