"""All workloads by name."""

from __future__ import annotations

from jepsen_like.workloads.batch import Batch
from jepsen_like.workloads.counter import Counter
from jepsen_like.workloads.inserts import Durable, Inserts
from jepsen_like.workloads.invalidate import Invalidate
from jepsen_like.workloads.loss_window import LossWindow
from jepsen_like.workloads.mix import Mix
from jepsen_like.workloads.policy_change import PolicyChange
from jepsen_like.workloads.quota import Quota
from jepsen_like.workloads.receipts import Receipts
from jepsen_like.workloads.register import Register
from jepsen_like.workloads.replica_reads import ReplicaReads
from jepsen_like.workloads.ttl import Ttl
from jepsen_like.workloads.workload import Options, Workload

KINDS: tuple[type[Workload], ...] = (
    Register,
    Counter,
    Inserts,
    Ttl,
    LossWindow,
    Receipts,
    ReplicaReads,
    Batch,
    PolicyChange,
    Invalidate,
    Quota,
    Durable,
    Mix,
)
WORKLOADS = {kind.name: kind for kind in KINDS}


def make(name: str, options: Options) -> Workload:
    """A fresh one. Raises ValueError that names those there are."""
    if name not in WORKLOADS:
        raise ValueError(f"workload {name!r:.80} is none of {', '.join(WORKLOADS)}")
    return WORKLOADS[name](options)
