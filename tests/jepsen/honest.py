"""A cluster in miniature that keeps its promises, and can be made to break one.

One shard, whose leader executes at once, commits now and then, and is replaced now and then: what was not committed
then is undone, the answers that were waiting are of unknown outcome, and what was answered at `primary` is lost. It is
written for its histories, which no checker may complain of; with one of `PLANTS` some checker must.

Time is a number, and everything that is to happen stands in a heap.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from jepsen_like.history import NEMESIS, Event, Header, History
from tests.jepsen.honest_clients import ACTIVE_MS, CLIENTS, Clients, Then

PLANTS = (
    "ack-before-quorum", "no-undo", "read-without-proof", "ignore-min-version", "understated-age", "retry-counts-twice",
    "window-too-wide", "stale-receipts", "silent-report", "lives-too-long", "lives-too-short", "policy-ignored",
    "keys-come-back", "batch-swapped",
)  # fmt: skip

SHARE_WRITES, WINDOW_MS = 3, 60
NAMESPACES = {
    "p": {"ack": "primary", "lossWindow": {"ms": WINDOW_MS, "writes": SHARE_WRITES, "bytes": None}},
    "q": {"ack": "quorum", "allowReplicaReads": True},
}
COMMIT_MS, REIGN_MS, DELAY_MS = (5.0, 90.0), (150.0, 400.0), (0.5, 12.0)

Complete = Callable[..., None]


class Entry(NamedTuple):
    """One effect, executed at `at_ms`."""

    term: int
    seq: int
    key: str
    value: Any
    at_ms: float
    expires_ms: float
    life: int
    level: str
    idempotency: str | None

    @property
    def version(self) -> str:
        return f"va.{self.term}.{self.seq}"


class Waiting(NamedTuple):
    """An answer that leaves when everything up to `seq` is committed."""

    seq: int
    answer: Callable[[], None]
    lost: Callable[[], None]


class Honest(Clients):
    """One run."""

    def __init__(self, seed: int, plant: str = "") -> None:
        self.random, self.plant = random.Random(seed), plant
        self.now_ms = 0.0
        self.events: list[Event] = []
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._steps = self._processes = 0
        self.term, self.seq = 1, 1
        self.log: list[Entry] = []
        self.open: list[Entry] = []
        self.lost: list[Entry] = []
        self.undone: list[Entry] = []
        self.commits: list[tuple[float, int]] = [(0.0, 0)]
        self.waiting: list[Waiting] = []
        self.acks = {"p": "primary", "q": "quorum", "n": ""}
        self.lives = dict.fromkeys(self.acks, 0)
        self.given: list[tuple[str, str]] = []

    # -- the run ---------------------------------------------------------------------------------

    def run(self) -> History:
        for number in range(CLIENTS):
            self._later(number, lambda kind=number: self._client(kind))
        self._later(self._between(COMMIT_MS), self._commit_some)
        self._later(self._between(REIGN_MS), self._depose)
        self._drain()
        self._commit(len(self.open))
        self._note(Event(kind="invoke", process=NEMESIS, name="final", time_ms=self.now_ms))
        for key, version in list(self.given):
            self._ask("receipt", key, version, self._nothing)
        for key in sorted({event.key for event in self.events if ":" in event.key}):
            self._ask("read", key, None, self._nothing, level="linearizable")
        for name in ("p", "q", "n"):
            self._ask("lost-writes", "", name, self._nothing)
        self._drain()
        options = {"namespaces": NAMESPACES, "shards": ["a"], "clockErrorMs": 0, "clockDriftPercent": 0}
        return History(Header(workload="honest", options=options), self.events)

    def _drain(self) -> None:
        while self._heap:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()

    def _later(self, after_ms: float, action: Callable[[], None]) -> None:
        self._steps += 1
        heapq.heappush(self._heap, (self.now_ms + after_ms, self._steps, action))

    def _note(self, event: Event) -> None:
        self.events.append(event)

    # -- leadership ------------------------------------------------------------------------------

    def _commit_some(self) -> None:
        self._commit(len(self.open))
        if self.now_ms < ACTIVE_MS:
            self._later(self._between(COMMIT_MS), self._commit_some)

    def _commit(self, count: int) -> None:
        self.log += self.open[:count]
        del self.open[:count]
        self.commits.append((self.now_ms, len(self.log)))
        reached = self.log[-1].seq if self.log and self.log[-1].term == self.term else 0
        done = [each for each in self.waiting if each.seq <= reached]
        self.waiting = [each for each in self.waiting if each.seq > reached]
        for each in done:
            each.answer()

    def _depose(self) -> None:
        """What had reached others commits, though nobody is told; the rest is undone."""
        waiting, self.waiting = self.waiting, []
        self._commit(self.random.randrange(len(self.open) + 1))
        self.lost += [each for each in self.open if each.level == "primary"]
        self.undone = self.open if self.plant == "no-undo" else []
        self.open = []
        self.term, self.seq = self.term + 1, 1
        for each in waiting:
            each.lost()
        if self.now_ms < ACTIVE_MS:
            self._later(self._between(REIGN_MS), self._depose)

    # -- asking ----------------------------------------------------------------------------------

    def _ask(
        self,
        name: str,
        key: str,
        value: Any,
        then: Then,
        level: str = "",
        **asked: Any,
    ) -> None:
        self._processes += 1
        process = self._processes
        event = Event(kind="invoke", process=process, name=name, time_ms=self.now_ms, key=key, value=value)
        event.level, event.details = level, asked
        self._note(event)

        def complete(kind: str, **told: Any) -> None:
            def arrive() -> None:
                answer = {"kind": kind, **told}
                self._note(Event(process=process, name=name, time_ms=self.now_ms, key=key, **answer))  # type: ignore[arg-type]
                then(answer)

            self._later(self._between(DELAY_MS), arrive)

        self._later(self._between(DELAY_MS), lambda: self._execute(event, complete))

    def _execute(self, event: Event, complete: Complete) -> None:
        if self.now_ms < ACTIVE_MS and self.random.random() < 0.02:
            return complete("fail", error="no_leader")
        if ":" in event.key and not self.acks[self._space(event.key)]:
            return complete("fail", error="unknown_namespace")
        getattr(self, "_do_" + event.name.replace("-", "_"))(event, complete)

    # -- state -----------------------------------------------------------------------------------

    def _space(self, key: str) -> str:
        return key.partition(":")[0]

    def _find(self, entries: list[Entry], key: str) -> Entry | None:
        found = next((each for each in reversed(entries) if each.key == key), None)
        if found is None or found.value is None:
            return None
        if found.life != self.lives[self._space(key)] and self.plant != "keys-come-back":
            return None
        margin_ms = {"lives-too-long": 900.0, "lives-too-short": -900.0}.get(self.plant, 0.0)
        return found if found.expires_ms + margin_ms > self.now_ms else None

    def _live(self) -> list[Entry]:
        return self.log + self.undone + self.open

    def _put(self, event: Event, key: str, value: Any, expires_ms: float) -> Entry:
        self.seq += 1
        space, idempotency = self._space(key), event.details.get("idempotencyKey")
        level = self._level(space)
        entry = Entry(self.term, self.seq, key, value, self.now_ms, expires_ms, self.lives[space], level, idempotency)
        self.open.append(entry)
        self.given.append((key, entry.version))
        return entry

    def _level(self, space: str) -> str:
        """`primary` while the window has room."""
        if self.acks[space] != "primary" and not (self.plant == "policy-ignored" and space == "n"):
            return "quorum"
        acked = [each for each in self.open if each.level == "primary" and each.key.startswith(space + ":")]
        full = len(acked) >= SHARE_WRITES or any(self.now_ms - each.at_ms > WINDOW_MS for each in acked)
        return "quorum" if full and self.plant != "window-too-wide" and space == "p" else "primary"

    def _settle(self, entry: Entry, complete: Complete, value: Any = None) -> None:
        """Answer a write, at its level."""
        told = {"value": value, "version": entry.version, "level": entry.level}
        if entry.level == "primary" or self.plant == "ack-before-quorum":
            return complete("ok", **told)
        self._when_committed(
            entry.seq, lambda: complete("ok", **told), lambda: complete("info", error="outcome_unknown")
        )

    def _when_committed(self, seq: int, answer: Callable[[], None], lost: Callable[[], None]) -> None:
        self.waiting.append(Waiting(seq, answer, lost))

    def _reveal(self, key: str, complete: Complete, **told: Any) -> None:
        """Answer what shows the state of a key, when that is committed."""
        newest = next((each for each in reversed(self.open) if each.key == key), None)
        if newest is None:
            return complete("ok", **told)
        self._when_committed(newest.seq, lambda: complete("ok", **told), lambda: complete("fail", error="not_leader"))

    # -- commands --------------------------------------------------------------------------------

    def _do_write(self, event: Event, complete: Complete) -> None:
        ttl = event.details.get("ttlSeconds")
        expires_ms = self.now_ms + ttl * 1000 if ttl is not None else float("inf")
        self._settle(self._put(event, event.key, event.value, expires_ms), complete)

    def _do_delete(self, event: Event, complete: Complete) -> None:
        if self._find(self._live(), event.key) is not None:
            return self._settle(self._put(event, event.key, None, float("inf")), complete, True)
        self._reveal(event.key, complete, value=False, level="quorum")

    def _do_incr(self, event: Event, complete: Complete) -> None:
        live, record = self._live(), event.details.get("idempotencyKey")
        first = next((each for each in live if record is not None and each.idempotency == record), None)
        if first is not None and self.plant != "retry-counts-twice":
            if first in self.log:
                return complete("ok", value=first.value, version=first.version, level="quorum")
            return self._settle(first, complete, first.value)
        found = self._find(live, event.key)
        entry = self._put(event, event.key, (found.value if found is not None else 0) + event.value, float("inf"))
        self._settle(entry, complete, entry.value)

    def _do_read(self, event: Event, complete: Complete) -> None:
        if event.details.get("readPreference") == "replica":
            return self._replica_read(event, complete)
        stale = self.plant == "read-without-proof" and event.level == "linearizable" and self.now_ms < ACTIVE_MS
        state = self.log[: self._committed_at(self.now_ms - 150)] if stale else self._live()
        told = self._shown(self._find(state, event.key), event.level)
        if event.level == "latest" or stale:
            return complete("ok", **told)
        self._reveal(event.key, complete, **told)

    def _shown(self, found: Entry | None, level: str) -> dict[str, Any]:
        if found is None:
            return {"value": None, "level": level}
        left_ms = found.expires_ms - self.now_ms
        details = {"ttlSeconds": max(1, int(-(-left_ms // 1000)))} if left_ms < float("inf") else {}
        return {"value": found.value, "version": found.version, "level": level, "details": details}

    def _committed_at(self, at_ms: float) -> int:
        return max(count for time_ms, count in self.commits if time_ms <= max(0.0, at_ms))

    def _replica_read(self, event: Event, complete: Complete) -> None:
        age_ms = self.random.randrange(0, 200)
        state = self.log[: self._committed_at(self.now_ms - age_ms)]
        least, limit_ms = event.details.get("minVersion"), event.details.get("maxStalenessMs")
        if least is not None and self.plant != "ignore-min-version" and not any(e.version == least for e in state):
            return complete("fail", error="too_stale")
        if limit_ms is not None and age_ms > limit_ms:
            return complete("fail", error="too_stale")
        told = self._shown(self._find(state, event.key), "replica")
        details = told.pop("details", {}) | {"stalenessMs": age_ms // 3 if self.plant == "understated-age" else age_ms}
        if told["value"] is None and state:
            details["newestVersion"] = state[-1].version
        complete("ok", details=details, **told)

    def _do_write_many(self, event: Event, complete: Complete) -> None:
        entries = [self._put(event, key, value, float("inf")) for key, value in event.value]
        answers = [each.version for each in entries]
        if self.plant == "batch-swapped":
            answers.reverse()
        self._when_committed(
            entries[-1].seq,
            lambda: complete("ok", value=answers, level="quorum"),
            lambda: complete("info", error="outcome_unknown"),
        )

    def _do_read_many(self, event: Event, complete: Complete) -> None:
        found = [self._find(self.log, key) for key in event.value]
        if any(each.key in event.value for each in self.open):
            return complete("fail", error="no_leader")
        shown = [[each.value, each.version] if each is not None else [None, ""] for each in found]
        complete("ok", value=shown, level="linearizable")

    def _do_receipt(self, event: Event, complete: Complete) -> None:
        _, term, seq = event.value.split(".")
        known = self.log if self.plant != "stale-receipts" else self.log + self.lost
        if any((each.term, each.seq) == (int(term), int(seq)) for each in known):
            fate = "committed"
        else:
            fate = "lost" if int(term) < self.term else "pending"
        complete("ok", value=fate, details={"durable": False})

    def _do_lost_writes(self, event: Event, complete: Complete) -> None:
        rows = [each.version for each in self.lost if each.key.startswith(event.value + ":")]
        rows = [] if self.plant == "silent-report" else rows
        complete("ok", value=rows, details={"total": len(rows), "truncated": False, "unreachable": []})

    def _do_set_namespace(self, event: Event, complete: Complete) -> None:
        self.acks[event.key] = event.value["ack"]
        complete("ok")

    def _do_delete_namespace(self, event: Event, complete: Complete) -> None:
        self.acks[event.key] = ""
        self.lives[event.key] += self.plant != "keys-come-back"
        complete("ok")
