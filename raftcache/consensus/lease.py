"""The leader's lease: why a leader may answer a linearizable read from memory, without asking anybody.

A linearizable read needs a moment, after it arrived and before its answer leaves, at which its leader knows everything
that was ever committed. The barrier finds one by committing something. The lease finds one by the clock: as long as it
holds, nobody has been elected in a later term, so nobody else can have committed anything (Ongaro's thesis, section
6.4.1, which asks for a bound on the drift of clocks; DESIGN section 6).

**The promise.** A replica that hears from a leader grants no vote and no pre-vote, to itself no more than to others,
for the minimum election timeout E, by its own clock (`election`). Its answer says how long that is (`silence_ms`, for
nodes may be configured differently) and echoes when, by the leader's clock, the message was sent. It heard the message
after it was sent, so its promise runs for E from the send time at least. From the *receipt* of the answer it need not:
a leader that was paused finds answers of any age in its sockets.

**Its length.** Let a clock run between 1-d and 1+d seconds in a true second. The follower's E takes at least E/(1+d)
true seconds, so no vote of its is given before that. A lease of D on the leader's clock takes at most D/(1-d). It ends
in time where D/(1-d) <= E/(1+d), which is D = E(1-d)/(1+d), less a millisecond, for clocks are read as floats. The
clock is CLOCK_BOOTTIME: it runs through suspends and nobody sets it, but NTP slews it. Linux bounds `tick` to ten
percent (adjtimex(2)), and chrony stays below that; with d = 0.1, E = 400 ms gives leases of 326 ms.

**The quorum.** The lease ends where the promises of a majority of the voters, the leader with them, end. Whoever is to
be elected in a later term needs the votes of a majority, by what it thinks the members are. The two share a member:

* Members change one at a time, and the next change waits until the last is committed. A majority before one change and
  a majority after it intersect. For a change to be committed a majority after it has heard from the leader again, later
  than what this lease counts from, so also two changes within a lease leave a promise in the way.
* The shared member is not the leader itself: a leader that votes for another has adopted its term and leads no more.
* It keeps its promise through a restart, for a replica counts its opening as having heard from a leader, and whatever
  its last run promised it had promised before that. Where a restart *lowers* `election_min_ms`, that is less than what
  was promised; which is why the operator's guide asks for a full stop then.
* A new incarnation, or a replica whose number was renewed, is another member: the one that promised votes no more.
* Suspects and members that are gone lower what a candidate needs of *trusted* votes, never below a majority of votes.
* A learner's answers count once it votes: it made the same promise when it heard from the leader.
* A vote is no such promise: who voted for this leader may vote for the next one at once. Only answers to what a leader
  sent in its own term count, not those to its campaign.

**Transfers.** The one candidate that voters listen to in spite of their promise is one that its leader told to campaign
(`election`, `transfer`). So a leader that told anybody so has no lease for the rest of its term, whatever came of it:
the message may be under way for long. This alone lets elections follow each other within a lease, so no leader of an
earlier term may have one then either: by induction, for it had ended when the leader that asked was elected, or was
forfeited by a transfer itself.

**The beginning.** A new leader knows everything that its predecessors committed only once an entry of its own term is
committed. Until then it holds no lease.

**A pause between looking at the clock and answering** does no harm. The look and the execution are one step of the
loop, in which the state cannot change. So what is read is the state as of the look, which lies between the read's
arrival and its answer, however long the process then stands still: there the read takes its place in the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftcache.consensus.group import Group

ROUNDING_S = 0.001
"""For clocks that are read as floats."""


def lease_s(silence_ms: int, max_drift: float) -> float:
    """How long, by the leader's clock, a promise of `silence_ms` by another clock is certain to last; in seconds.
    `max_drift`: how far off the rate of either clock may be, 0.1 for ten percent."""
    return silence_ms / 1000 * (1 - max_drift) / (1 + max_drift) - ROUNDING_S


def quorum_end(ends: Sequence[float]) -> float:
    """Until when a majority keeps its promise, where `ends` says that of each voter."""
    return sorted(ends, reverse=True)[len(ends) // 2]


class Lease:
    """Of one replica; it means something only while that leads."""

    def __init__(self, group: Group) -> None:
        self._g = group
        self._on = group.settings.linearizable_reads == "lease"
        self._ends_at = -inf
        self._forfeited = self._started = False
        self.refusals: Counter[str] = Counter()
        """How often a lease was asked for in vain, by reason."""

    def leadership_gained(self) -> None:
        """Begin without one."""
        self._ends_at = -inf
        self._forfeited = self._started = False

    def forfeit(self) -> None:
        """Somebody is told to campaign: no lease any more in this term."""
        self._forfeited = True

    def promised_until(self, sent_at: float, silence_ms: int) -> float:
        """When, by this leader's clock, the promise of a follower ends that heard what was sent at `sent_at`."""
        return sent_at + lease_s(silence_ms, self._g.settings.max_clock_drift)

    def renew(self, ends: Sequence[float]) -> None:
        """A follower answered. `ends`: when the promise of each voter ends, this leader's too; -inf for none."""
        self._ends_at = quorum_end(ends)

    def why_not(self) -> str:
        """The reason, in a word, why this leader does not hold the lease; empty while it does."""
        if not self._on:
            return "off"
        if self._forfeited:
            return "forfeited"
        if not self._has_started():
            return "starting"
        if self._g.voters and self._g.runtime.now() >= self._ends_at:
            return "expired"
        return ""

    def _has_started(self) -> bool:
        if not self._started:
            self._started = self._g.journal.holds(self._g.commit_index, self._g.term)
        return self._started

    def holds(self) -> bool:
        """Whether this leader holds it now; where it does not, that is counted."""
        reason = self.why_not()
        if reason:
            self.refusals[reason] += 1
        return not reason
