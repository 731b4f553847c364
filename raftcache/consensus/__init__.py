"""Raft groups: the only package that knows which engine runs inside."""

from raftcache.consensus.api import GroupStatus, MemberId, PeerStatus, StateMachine
from raftcache.consensus.group import Group
from raftcache.consensus.host import Host
from raftcache.consensus.settings import ConsensusSettings

__all__ = ["ConsensusSettings", "Group", "GroupStatus", "Host", "MemberId", "PeerStatus", "StateMachine"]
