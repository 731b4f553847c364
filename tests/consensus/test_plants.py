"""Bugs of syncing, voting, staleness, leases, planted on purpose: the scenarios that hold without them fail with them.

They need several things to come together, which the simulation's dice seldom do; here they are scripted.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hazards.guarded import GuardedLab

from raftcache.testing.plants import planted

from . import test_lease, test_staleness, test_suspects, test_syncing

Make = Callable[..., GuardedLab]

SCENARIOS = [
    ("report-without-term", test_syncing.test_a_divergent_tail_completes_no_quorum),
    ("report-without-term", test_syncing.test_a_report_counts_by_the_term_of_the_entry),
    ("suspects-vote", test_suspects.test_the_vote_of_a_suspect_elects_nobody),
    ("staleness-from-receipt", test_staleness.test_what_a_deposed_leader_sent_long_ago_makes_nothing_fresh),
    ("vote-unsynced", test_syncing.test_no_vote_leaves_before_it_is_on_disk),
    ("lease-from-receive-time", test_lease.test_late_answers_prolong_nothing),
    ("lease-after-transfer", test_lease.test_a_transfer_forfeits_it_for_the_rest_of_the_term),
    ("lease-without-margin", test_lease.test_it_ends_before_another_is_elected_whatever_the_clocks_do),
    ("no-restart-silence", test_lease.test_who_restarts_keeps_the_promise_of_its_last_run),
]


@pytest.mark.parametrize(("plant", "scenario"), SCENARIOS)
def test_a_planted_bug_is_caught(guarded: Make, plant: str, scenario: Callable[[Make], None]) -> None:
    with planted(plant), pytest.raises(AssertionError):
        scenario(guarded)
