"""Raft groups: the only package that knows which engine runs inside."""

from raftcache.consensus.api import GroupStatus, MemberId, PeerStatus, StateMachine
from raftcache.consensus.group import Group, Prepared, prepare_group
from raftcache.consensus.host import Host
from raftcache.consensus.salvage import Remains, read_remains
from raftcache.consensus.settings import ConsensusSettings

__all__ = [
    "ConsensusSettings",
    "Group",
    "GroupStatus",
    "Host",
    "MemberId",
    "PeerStatus",
    "Prepared",
    "Remains",
    "StateMachine",
    "prepare_group",
    "read_remains",
]
