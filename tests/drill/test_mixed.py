"""Every kind of write, and the verdict on a store that loses one: the drill's own alarm is tried here.

The store executes the very requests that the writers send. A *plant* tells it which of them to acknowledge without
executing them, or to execute and call refused, or to execute twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from jepsen_like.client import CONFLICT, Answer
from jepsen_like.ledger import Found, Ledger, Outcome
from jepsen_like.load import NAMESPACE, Load, Target
from jepsen_like.mixed import ROUND, mixed_targets
from raftcache.commands.types import Version
from raftcache.routing.slots import even_ranges, slot_of

BODY: dict[str, Any] = {
    "shards": [{"id": f"s{number}", "slots": [list(part)]} for number, part in enumerate(even_ranges(4))]
}
ATTEMPTS = 5 * ROUND
SET, SWAP, REMOVE, COUNT = "set", "compare-and-set", "removal", "increment"
KINDS = (SET, SWAP, REMOVE, COUNT)
Plant = Callable[[str, int], str]
"""What is done wrong with the nth request of a kind: "lose", "deny" or "repeat"; "" for nothing."""


class Store:
    """One node's worth of raftcache, as far as the writers use it."""

    def __init__(self, plant: Plant = lambda kind, number: "") -> None:
        self.items: dict[str, Found] = {}
        self.requests: list[str] = []
        self._plant, self._seq = plant, 0

    async def write(self, method: bytes, path: str, document: Any) -> Answer:
        kind, key = _kind_of(path, document)
        self.requests.append(kind)
        wrong = self._plant(kind, self.requests.count(kind))
        before = dict(self.items)
        answer = self._execute(kind, key, document)
        if wrong == "lose":
            self.items = before
        elif wrong == "repeat":
            self._execute(SET if kind == SWAP else kind, key, document)
        return Answer(Outcome.REFUSED, code="no_leader") if wrong == "deny" else answer

    def _execute(self, kind: str, key: str, document: Any) -> Answer:
        self._seq += 1
        version, present = Version("s", 1, self._seq), self.items.get(key)
        if kind == REMOVE:
            self.items.pop(key, None)
            return _acknowledged(version if present else None, existed=present is not None)
        if kind == COUNT:
            count = 1 + (present.value if present else 0)
            self.items[key] = Found(count, version)
            return _acknowledged(version, counted=count)
        if kind == SWAP and (present is None or str(present.version) != document["ifVersion"]):
            return Answer(Outcome.REFUSED, present.version if present else None, CONFLICT)
        self.items[key] = Found(document["value"], version)
        return _acknowledged(version)


def _kind_of(path: str, document: Any) -> tuple[str, str]:
    if path.endswith("/incr"):
        return COUNT, document["key"]
    if path.endswith("/batch/delete"):
        return REMOVE, document["keys"][0]
    return SWAP if "ifVersion" in document else SET, unquote(path.rsplit("/", 1)[1])


def _acknowledged(version: Version | None, **more: Any) -> Answer:
    return Answer(Outcome.ACKNOWLEDGED, version, durability="quorum", **more)


def targets_of(ledger: Ledger) -> list[Target]:
    return mixed_targets(ledger, NAMESPACE, "quorum", BODY, writers=1)


def played(store: Store, attempts: int = ATTEMPTS) -> Load:
    """One writer's attempts at the store."""
    ledger = Ledger()
    target = targets_of(ledger)[0]
    load = Load([target], [], ledger)

    async def play() -> None:
        for value in range(1, attempts + 1):
            await load.attempt(store, target, value)

    asyncio.run(play())
    return load


def kinds_of_violation(load: Load, store: Store) -> set[str]:
    return {violation.kind for violation in load.ledger.check({"n0": store.items})}


def test_a_store_that_keeps_its_word_passes_and_sees_every_kind_of_write() -> None:
    store = Store()
    load = played(store)
    assert kinds_of_violation(load, store) == set()
    assert load.ledger.counts() == {"acknowledged": ATTEMPTS, "refused": 0, "unknown": 0}
    assert not load.unexpected
    assert set(store.requests) == set(KINDS) and min(Counter(store.requests).values()) >= ATTEMPTS // ROUND - 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_write_of_any_kind_is_missed_at_the_end(kind: str) -> None:
    assert wrong_at_the_end(kind, "lose") & {"lost", "repeated"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_was_lost_on_the_way_is_missed_too(kind: str) -> None:
    """Not so where a plain write follows on the same register: that covers what it lost."""
    store = Store(lambda each, number: "lose" if (each, number) == (kind, 3) else "")
    assert kinds_of_violation(played(store), store)


@pytest.mark.parametrize("kind", [SET, SWAP, COUNT])
def test_a_write_that_was_executed_twice_is_found(kind: str) -> None:
    assert wrong_at_the_end(kind, "repeat") == {"repeated"}


@pytest.mark.parametrize(
    ("kind", "verdict"), [(SET, "refused-write"), (SWAP, "refused-write"), (COUNT, "repeated"), (REMOVE, "lost")]
)
def test_a_write_that_was_refused_and_executed_is_found(kind: str, verdict: str) -> None:
    assert wrong_at_the_end(kind, "deny") == {verdict}


def wrong_at_the_end(kind: str, wrong: str) -> set[str]:
    """The violations where the very last request is one of `kind`, and that is treated wrongly."""
    usual = Store()
    played(usual)
    attempts = ATTEMPTS - usual.requests[::-1].index(kind)
    last = usual.requests[:attempts].count(kind)
    store = Store(lambda each, number: wrong if (each, number) == (kind, last) else "")
    return kinds_of_violation(played(store, attempts), store)


def test_the_ledger_told_of_a_write_that_never_went_out_sounds_the_alarm() -> None:
    store = Store()
    load = played(store)
    key, value = "{w0}never", 1
    load.ledger.begin(key, value)
    load.ledger.acknowledged(key, value, Version("s", 1, 10_000))
    assert kinds_of_violation(load, store) == {"lost"}


def test_a_level_below_the_one_that_was_asked_for_is_unexpected() -> None:
    class Weak(Store):
        async def write(self, method: bytes, path: str, document: Any) -> Answer:
            return (await super().write(method, path, document))._replace(durability="primary")

    assert list(played(Weak(), 3).unexpected.values()) == [3]


def test_keys_stay_in_their_shard_and_no_two_writers_share_one() -> None:
    seen: set[str] = set()
    for target in targets_of(Ledger()):
        ((first, last),) = next(shard["slots"] for shard in BODY["shards"] if shard["id"] == target.group)
        keys = {target.write(value).key for value in range(1, ATTEMPTS)}
        assert all(first <= slot_of(f"{NAMESPACE}:{key}".encode()) <= last for key in keys)
        assert not keys & seen
        seen |= keys
