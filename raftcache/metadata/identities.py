"""Which of a node's identities in a group is its present one, and which members are therefore gone for good.

A member is (node, incarnation, replica number). It is gone for good when its node lives under another incarnation by
now, for its disk was empty, or holds the group under a higher number, for its files of that group were wiped: either
way nothing is left that could answer under the old name. A number only rises within an incarnation, so of several
claims the highest is the newest, whoever made it and however old it is.

A member whose node is merely down is not gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raftcache.consensus.api import MemberId

Newest = dict[str, MemberId]
"""By node id, under which identity it holds a group now."""


def newest_identities(incarnations: Mapping[str, str], claims: Iterable[MemberId]) -> Newest:
    """The present identity of every node that `claims` name; `incarnations` are the registered ones by node id.

    A new incarnation starts again at number 0.
    """
    newest: Newest = {}
    for claim in claims:
        incarnation = incarnations.get(claim.node, claim.incarnation)
        member = claim if claim.incarnation == incarnation else MemberId(claim.node, incarnation)
        if claim.node not in newest or member.replica > newest[claim.node].replica:
            newest[claim.node] = member
    return newest


def is_gone(member: MemberId, newest: Newest) -> bool:
    """Whether `member` can never answer again."""
    return newest.get(member.node, member) != member


def quorum_of(members: int) -> int:
    """How many of `members` make a majority."""
    return members // 2 + 1
