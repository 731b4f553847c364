"""The verdict of the crash drill: what was promised must be there, what was not may be lost but never made up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from jepsen_like import crash
from jepsen_like.cluster import RealCluster
from jepsen_like.crash import UNPROMISED, Crash
from jepsen_like.ledger import Found, Ledger
from jepsen_like.load import NAMESPACE, Load
from jepsen_like.verdict import Result, Round
from raftcache.commands.types import Version

ADDRESSES = {"n0": "127.0.0.1:1", "n1": "127.0.0.1:2"}
WRITES = 30


class Cluster:
    """One that is ready and has nodes; nobody asks it for more."""

    def wait_ready(self) -> None:
        """It is."""

    def http(self) -> dict[str, str]:
        return ADDRESSES


def found(number: int) -> Found:
    return Found(number, Version("a1", 1, number))


def ledger(prefix: str) -> Ledger:
    """So many keys, each acknowledged once; and one whose write was refused."""
    book = Ledger()
    for number in range(1, WRITES + 1):
        book.begin(f"{prefix}{number}", number)
        book.acknowledged(f"{prefix}{number}", number, found(number).version)
    book.begin(f"{prefix}refused", 99)
    book.refused(f"{prefix}refused", 99)
    return book


Stored = dict[str, dict[str, Found]]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    """What the cluster shows, by namespace: all that was acknowledged."""
    kept = {
        name: {f"{prefix}{number}": found(number) for number in range(1, WRITES + 1)}
        for name, prefix in ((NAMESPACE, "p"), (UNPROMISED, "u"))
    }

    async def read_all(address: str, namespace: str, keys: Sequence[str]) -> dict[str, Found]:
        return {key: kept[namespace][key] for key in keys if key in kept[namespace]}

    monkeypatch.setattr(crash, "read_all", read_all)
    return kept


@pytest.fixture
def drill() -> Crash:
    loads = [Load([], [], ledger(prefix)) for prefix in ("p", "u")]
    return Crash(cast(RealCluster, Cluster()), loads[0], loads[1], ["a1"], [Round(("n0",), "node", 500.0)])


def verdict(drill: Crash) -> tuple[int, list[str]]:
    """How many unpromised keys were lost, and the complaints."""

    async def judged() -> tuple[int, Result]:
        violations = await drill.judge(list(ADDRESSES))
        lost, wrong = await drill.judge_unpromised("n0")
        return lost, crash.result_of(drill, violations + wrong, {})

    lost, result = asyncio.run(judged())
    return lost, result.complaints()


def test_what_is_all_there_passes(drill: Crash, stored: Stored) -> None:
    assert verdict(drill) == (0, [])


def test_the_ledger_told_of_a_write_that_never_went_out_fails_the_drill(drill: Crash, stored: Stored) -> None:
    drill.promised.ledger.begin("never", 1)
    drill.promised.ledger.acknowledged("never", 1, Version("a1", 1, 1000))
    assert verdict(drill) == (0, ["1 times lost"])


def lose(items: dict[str, Found], prefix: str) -> None:
    del items[f"{prefix}7"]


def go_back(items: dict[str, Found], prefix: str) -> None:
    items[f"{prefix}7"] = Found(7, Version("a1", 1, 3))


def bring_back(items: dict[str, Found], prefix: str) -> None:
    items[f"{prefix}refused"] = Found(99, Version("a1", 1, 99))


def make_up(items: dict[str, Found], prefix: str) -> None:
    items[f"{prefix}7"] = Found(1234, Version("a1", 1, 99))


Change = Callable[[dict[str, Found], str], Any]


@pytest.mark.parametrize(
    ("change", "kind"),
    [(lose, "lost"), (go_back, "repeated"), (bring_back, "refused-write"), (make_up, "foreign")],
)
def test_a_broken_promise_fails_the_drill(drill: Crash, stored: Stored, change: Change, kind: str) -> None:
    change(stored[NAMESPACE], "p")
    assert verdict(drill) == (0, [f"1 times {kind}"])


def test_what_was_not_promised_may_be_lost(drill: Crash, stored: Stored) -> None:
    lose(stored[UNPROMISED], "u")
    assert verdict(drill) == (1, [])


@pytest.mark.parametrize(("change", "kind"), [(bring_back, "refused-write"), (make_up, "foreign")])
def test_what_was_not_promised_may_not_be_made_up(drill: Crash, stored: Stored, change: Change, kind: str) -> None:
    change(stored[UNPROMISED], "u")
    assert verdict(drill) == (0, [f"1 times {kind}"])


def test_hardly_a_write_fails_the_drill(drill: Crash, stored: Stored) -> None:
    drill.rounds *= 2
    assert verdict(drill) == (0, [f"only {WRITES} writes were acknowledged, wanted 40"])
