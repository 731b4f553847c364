"""What the contract's check calls kept, and what broken."""

from __future__ import annotations

import pytest

from jepsen_like.accounts import Account, Case, complaints, table


def account(**changes: object) -> Account:
    """An isolated leader of whose three writes one is lost, and everything agrees."""
    made = Account(
        acknowledged={"v1", "v2", "v3"},
        there={"v1", "v2"},
        receipts={"v1": "committed", "v2": "committed", "v3": "lost"},
        reported={"v3"},
        reported_count=1,
        bound_writes=5,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_an_account_that_agrees_with_itself_has_no_complaints() -> None:
    assert account().lost == {"v3"}
    assert account().complaints() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bound_writes": 0}, "1 lost, the bound is 0: v3"),
        ({"receipts": {"v1": "committed", "v2": "committed"}}, "1 writes have no receipt: v3"),
        (
            {"receipts": {"v1": "committed", "v2": "pending", "v3": "lost"}},
            "1 writes have a receipt that is not final: v2",
        ),
        (
            {"receipts": dict.fromkeys(["v1", "v2", "v3"], "committed")},
            "1 writes are lost, and their receipts say committed: v3",
        ),
        (
            {"receipts": dict.fromkeys(["v1", "v2", "v3"], "lost")},
            "2 writes are there, and their receipts say lost: v1, v2",
        ),
        ({"reported": {"v2", "v3"}}, "1 writes are reported as lost, and are there: v2"),
        ({"reported": set(), "reported_count": 0}, "1 writes are lost, and 0 reported as lost: v3"),
        ({"reported": set(), "memory_gone": True}, "1 lost, and the published upper bound is 0"),
    ],
)
def test_every_disagreement_is_named(changes: dict[str, object], complaint: str) -> None:
    assert account(**changes).complaints() == [complaint]


def test_a_killed_leader_reports_nothing_and_its_successor_a_bound() -> None:
    assert account(reported=set(), memory_gone=True, upper_bound=1.0).complaints() == []


def test_a_round_that_wrote_nothing_shows_nothing() -> None:
    assert complaints(Case("quorum", "isolate"), [account(), Account()]) == [
        "quorum, isolate: a round without an acknowledged write"
    ]


def test_the_table_has_a_row_a_case() -> None:
    killed = account(memory_gone=True, reported=set(), upper_bound=2500.0)
    cases = {Case("primary", "isolate"): [account(), account()], Case("primary", "kill -9"): [killed]}
    rows = table(cases).splitlines()
    assert rows[2] == "| `primary` | isolate | 6 | 2 | 1 | 5 | 6 | equal |"
    assert rows[3] == "| `primary` | kill -9 | 3 | 1 | 1 | 5 | 3 | gone with the leader; upper bound 2,500 |"
    assert "DIFFERS" in table({Case("primary", "isolate"): [account(reported_count=0)]})
