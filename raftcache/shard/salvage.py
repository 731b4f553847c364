"""The state of a lost shard's survivor, as the first snapshot of the shard that replaces it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from raftcache.shard import snapshot
from raftcache.shard.history import History
from raftcache.shard.policies import Policies
from raftcache.store.effects import apply_batch, decode_batch
from raftcache.store.keyspace import Keyspace
from raftcache.store.memory import MemoryBudget
from raftcache.store.replies import Replies
from raftcache.store.sessions import Sessions
from raftcache.store.tags import DroppedTags


def salvage(
    lost_id: str, new_id: str, blocks: Iterable[bytes] | None, commands: Iterable[tuple[int, bytes]]
) -> snapshot.SnapshotBlocks:
    """The survivor's snapshot with every later batch `(term, payload)` applied, as blocks of shard `new_id`.

    Keys and reply records keep their versions' terms and sequence numbers, expiries and namespaces; the sessions, and
    the policies that the lost shard followed, go along. Raises ValueError where the snapshot or a batch cannot be read,
    or they do not fit together.
    """
    keyspace, replies, sessions = Keyspace(MemoryBudget()), Replies(MemoryBudget()), Sessions(MemoryBudget())
    state = snapshot.Prepared(keyspace, replies, sessions, DroppedTags(), History())
    if blocks is not None:
        state = snapshot.prepare(lost_id, blocks)
    policies = Policies(state.namespaces)
    for term, payload in commands:
        batch = decode_batch(payload)
        try:
            state.history.advance(batch, term)
            policies.apply(batch)
        except AssertionError as error:
            raise ValueError(f"the log of shard {lost_id} does not fit together: {error}") from error
        apply_batch(state, batch)
    cuts = state.keyspace.cut(), state.replies.cut()
    dropped, kept = state.dropped.rows_before(()), state.sessions.rows_before(())
    return snapshot.SnapshotBlocks(new_id, state.history, *cuts, policies.applied, dropped, kept)
