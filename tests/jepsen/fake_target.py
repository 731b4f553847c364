"""A cluster that is no cluster: one copy of everything behind a log, on a clock that stands until it is run.

It keeps every promise, whatever happens to it, unless it is told to break a certain one (`bugs`). What can happen: its
leader is isolated, so that nothing commits; another takes over, so that what had not committed is undone; and requests
and answers get lost on their way.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec

from jepsen_like.asking import Completion, Request
from jepsen_like.history import CONDITION

SHARD = "s0"
COMMIT_S = 0.002
OVERHEAD_BYTES = 40
LEVELS = ("primary", "quorum", "durable")

Done = Callable[[Completion], None]


class Entry(msgspec.Struct, frozen=True):
    value: Any
    version: str
    expires_ms: float
    life: int


class Effect(msgspec.Struct, kw_only=True):
    """A place in the log. `answer` is called when it commits, `undone` when it never will."""

    seq: int
    namespace: str = ""
    key: str = ""
    before: Entry | None = None
    after: Entry | None = None
    version: str = ""
    size: int = 0
    at_ms: float = 0.0
    acked: bool = False
    idempotency: str = ""
    answer: Callable[[], None] = lambda: None
    undone: Callable[[], None] = lambda: None


class FakeTarget:
    """See `asking.Target`."""

    def __init__(self, seed: int = 1, bugs: tuple[str, ...] = ()) -> None:
        self.bugs, self.random = set(bugs), Random(seed)
        self.isolated = self.silent = False
        self.loss = 0.0
        """How likely it is that a request or an answer gets lost."""
        self.term, self.seq, self.life = 1, 0, 0
        self.policies: dict[str, tuple[int, dict[str, Any]]] = {}
        self.data: dict[str, Entry] = {}
        self.open: list[Effect] = []
        self.committed: dict[str, list[tuple[float, Effect]]] = {}
        self.log: list[tuple[float, str]] = []
        self.fates: dict[str, str] = {}
        self.asked_for: set[str] = set()
        self.lost: list[tuple[str, str]] = []
        self.replies: dict[str, Completion] = {}
        self.tags: dict[str, Any] = {}
        self.asked: list[Request] = []
        self.in_flight = self.timers = 0
        """What a client has under way, and the timers that it has set."""
        self._now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._made = itertools.count()

    # -- the clock -------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        return ["n1", "n2", "n3"]

    def now_ms(self) -> float:
        return self._now_s * 1000

    def wall_ms(self) -> int:
        return 0

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self.timers -= 1
            action()

        self.timers += 1
        self._at(seconds, run)

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        assert seconds >= 0
        heapq.heappush(self._heap, (self._now_s + seconds, next(self._made), action))

    def run(self, until: Callable[[], bool] = lambda: False, limit_s: float = 1_000.0) -> None:
        """Until nothing is left to do, or `until` says so."""
        while self._heap and not until():
            self._now_s, _, action = heapq.heappop(self._heap)
            assert self._now_s < limit_s, "it never ends"
            action()

    # -- what happens to it ----------------------------------------------------------------------

    def fail_over(self) -> None:
        """Another leader: what had not committed is undone."""
        self.isolated = False
        self.term, self.seq = self.term + 1, 0
        undone, self.open = self.open, []
        if "lose-acked" in self.bugs:
            undone = [*self._forgotten(), *undone]
        for effect in reversed(undone):
            self._undo(effect)

    def _forgotten(self) -> list[Effect]:
        """The newest committed one, which is undone all the same."""
        newest = max((log[-1] for log in self.committed.values() if log), key=lambda at: at[0], default=None)
        return [newest[1]] if newest is not None and self.data.get(newest[1].key) is newest[1].after else []

    def _undo(self, effect: Effect) -> None:
        if effect.key:
            if effect.before is None:
                self.data.pop(effect.key, None)
            else:
                self.data[effect.key] = effect.before
        self.replies.pop(effect.idempotency, None)
        if self.fates.get(effect.version) == "pending":
            self.fates[effect.version] = "committed" if "wrong-receipts" in self.bugs else "lost"
        if effect.acked:
            self.lost.append((effect.namespace, effect.version))
        effect.undone()

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, node: str, request: Request, timeout_s: float, done: Done) -> None:
        assert node in self.nodes()
        self.asked.append(request)
        self.in_flight += 1
        waiting: list[Done] = [done]

        def finish(told: Completion) -> None:
            if waiting:
                self.in_flight -= 1
                waiting.pop()(told)

        def answer(told: Completion) -> None:
            if not self._gets_lost():
                self._at(self._way_s(), partial(finish, told))

        def time_over() -> None:
            finish(Completion(kind="info", error="outcome_unknown"))

        self._at(timeout_s, time_over)
        if not self._gets_lost():
            self._at(self._way_s(), lambda: _HANDLERS[request.name](self, request, answer))

    def _way_s(self) -> float:
        return self.random.uniform(0.0002, 0.003)

    def _gets_lost(self) -> bool:
        return self.silent or self.random.random() < self.loss

    # -- policies --------------------------------------------------------------------------------

    def set_namespace(self, request: Request, answer: Done) -> None:
        life, _ = self.policies.get(request.key, (0, {}))
        if not life:
            self.life += 1
        if "old-policy" not in self.bugs or not life:
            self.policies[request.key] = life or self.life, request.value
        answer(Completion(kind="ok"))

    def delete_namespace(self, request: Request, answer: Done) -> None:
        if request.key not in self.policies:
            return answer(Completion(kind="fail", error="unknown_namespace"))
        if "survive-delete" not in self.bugs:
            self.life += 1
        del self.policies[request.key]
        answer(Completion(kind="ok"))

    def invalidate(self, request: Request, answer: Done) -> None:
        if request.key not in self.policies:
            return answer(Completion(kind="fail", error="unknown_namespace"))
        if "survive-drop" not in self.bugs:
            for key in [key for key in self.data if key.partition(":")[0] == request.key]:
                if request.value is None or request.value in self.tags.get(key, ()):
                    del self.data[key]
        answer(Completion(kind="ok"))

    def _make_room(self, name: str, key: str, quota: int) -> None:
        there = [each for each in self.data if each.partition(":")[0] == name and each != key]
        for each in there[: max(0, len(there) + 1 - quota)]:
            del self.data[each]

    def _policy(self, key: str) -> tuple[str, int, dict[str, Any]] | None:
        name = key.partition(":")[0]
        found = self.policies.get(name)
        if found is None:
            return None
        life = 1 if "survive-delete" in self.bugs else found[0]
        return name, life, found[1]

    # -- writes ----------------------------------------------------------------------------------

    def write(self, request: Request, answer: Done) -> None:
        self._single(request.key, request, request.value, answer)

    def _single(self, key: str, request: Request, asked: Any, answer: Done) -> None:
        """One key's write, with what may keep it from being executed."""
        found = self._policy(key)
        if found is None:
            return answer(Completion(kind="fail", error="unknown_namespace"))
        name, life, policy = found
        token = request.details.get("idempotencyKey", "")
        if token in self.replies and "double-incr" not in self.bugs:
            first = self.replies[token]
            return self._at_commit(lambda: answer(msgspec.structs.replace(first, level="quorum")), answer)
        if isinstance(asked, str) and len(asked) > policy.get("maxItemBytes", 1 << 20):
            return answer(Completion(kind="fail", error="value_too_large"))
        ack = max(policy["ack"], request.level or "primary", key=LEVELS.index)
        size = len(key) + OVERHEAD_BYTES + len(msgspec.json.encode(asked))
        exceeded = ack == "primary" and not self._has_room(name, policy, size)
        then = policy.get("onExceeded", "quorum") if exceeded else ""
        if then == "reject":
            return answer(Completion(kind="fail", error="loss_window_full"))
        if then == "wait":
            return self._at(0.01, lambda: self._single(key, request, asked, answer))
        if policy.get("quotaItems") is not None and "quota-unheeded" not in self.bugs:
            self._make_room(name, key, policy["quotaItems"])
        self.tags[key] = request.details.get("tags", ())
        self._execute(key, request, asked, (name, life, "quorum" if exceeded else ack, size), answer)

    def _has_room(self, name: str, policy: dict[str, Any], size: int) -> bool:
        window = {"ms": 1000, "writes": 10_000, "bytes": 16 << 20} | policy.get("lossWindow", {})
        mine = [effect for effect in self.open if effect.namespace == name and effect.acked]
        if "no-window" in self.bugs or not mine:
            return True
        age_ms = self.now_ms() - mine[0].at_ms
        total = sum(effect.size for effect in mine) + size
        return len(mine) < window["writes"] and total <= window["bytes"] and age_ms < window["ms"]

    def _execute(self, key: str, request: Request, asked: Any, how: tuple[str, int, str, int], answer: Done) -> None:
        name, life, ack, size = how
        before = self._live(key, life)
        value, told = _outcome(request, asked, before)
        if told is not None and ack == "primary":
            return answer(msgspec.structs.replace(told, level=ack))
        if told is not None:
            return self._at_commit(lambda: answer(told), answer)
        self.seq += 1
        version = f"v{SHARD}.{self.term}.{self.seq}"
        after = None if value is None else Entry(value, version, self._expiry(request, before), life)
        effect = Effect(seq=self.seq, namespace=name, key=key, before=self.data.get(key), after=after, version=version)
        effect.size, effect.at_ms = size, self.now_ms()
        effect.idempotency = request.details.get("idempotencyKey", "")
        shown = {"incr": value, "delete": True, "expire": True}.get(request.name)
        completion = Completion(kind="ok", value=shown, version=version, level=ack)
        if effect.idempotency:
            self.replies[effect.idempotency] = completion
        if after is None:
            self.data.pop(key, None)
        else:
            self.data[key] = after
        self._append(effect, completion, answer)

    def _append(self, effect: Effect, completion: Completion, answer: Done) -> None:
        self.fates[effect.version] = "pending"
        if completion.level == "primary" or "ack-early" in self.bugs:
            effect.acked = completion.level == "primary"
            answer(completion)
        else:
            effect.answer = lambda: answer(completion)
            effect.undone = lambda: answer(Completion(kind="info", error="outcome_unknown"))
        self._log(effect)

    def _expiry(self, request: Request, before: Entry | None) -> float:
        seconds = request.value if request.name == "expire" else request.details.get("ttlSeconds")
        if seconds is None or "immortal" in self.bugs:
            return before.expires_ms if request.name == "incr" and before is not None else float("inf")
        return self.now_ms() + seconds * 1000

    def _log(self, effect: Effect) -> None:
        self.open.append(effect)
        self._at(COMMIT_S, self._commit)

    def _commit(self) -> None:
        """All that is open, unless nobody hears of it."""
        if self.isolated:
            return self._at(COMMIT_S, self._commit) if self.open else None
        committed, self.open = self.open, []
        for effect in committed:
            if effect.version:
                self.fates[effect.version] = "committed"
                self.committed.setdefault(effect.key, []).append((self.now_ms(), effect))
                self.log.append((self.now_ms(), effect.version))
            effect.answer()

    def _at_commit(self, then: Callable[[], None], answer: Done) -> None:
        """When all that stands in the log by now is committed."""
        lost = partial(answer, Completion(kind="fail", error="not_leader"))
        self._log(Effect(seq=self.seq, answer=then, undone=lost))

    def write_many(self, request: Request, answer: Done) -> None:
        results: dict[int, Completion] = {}

        def told(place: int, completion: Completion) -> None:
            results[place] = completion
            if len(results) == len(request.value):
                ended = [results[number] for number in range(len(results))]
                unknown = any(each.kind == "info" for each in ended)
                shown = [each.version if each.kind == "ok" else f"error {each.error}" for each in ended]
                levels = {each.level for each in ended if each.kind == "ok"}
                level = levels.pop() if len(levels) == 1 else ""
                answer(Completion(kind="info" if unknown else "ok", value=shown, level=level))

        single = msgspec.structs.replace(request, name="write")
        for place, (key, value) in enumerate(request.value):
            self._single(key, single, value, partial(told, place))

    # -- reads -----------------------------------------------------------------------------------

    def _live(self, key: str, life: int) -> Entry | None:
        entry = self.data.get(key)
        return entry if entry is not None and entry.life == life and entry.expires_ms > self.now_ms() else None

    def read(self, request: Request, answer: Done) -> None:
        found = self._policy(request.key)
        if found is None:
            return answer(Completion(kind="fail", error="unknown_namespace"))
        if request.details.get("readPreference") == "replica":
            return self._replica_read(request, found[1], answer)
        default = "latest" if found[2]["ack"] == "primary" else "linearizable"
        level = request.level or found[2].get("readLevel", default)
        told = self._told(self._seen(request.key, found[1]), level, f"v{SHARD}.{self.term}.{self.seq}")
        if level == "latest":
            answer(told)
        else:
            self._at_commit(lambda: answer(told), answer)

    def _seen(self, key: str, life: int) -> Entry | None:
        """What stands there; with `stale-reads` sometimes what stood there before."""
        log = self.committed.get(key, [])
        if "stale-reads" in self.bugs and log and self.random.random() < 0.1:
            return log[-1][1].before
        return self._live(key, life)

    def _replica_read(self, request: Request, life: int, answer: Done) -> None:
        lag_ms = min(self.random.uniform(0, 600), request.details.get("maxStalenessMs", 600) - 20)
        least = request.details.get("minVersion", "")
        fate = self.fates.get(least, "committed")
        if "ignore-min-version" not in self.bugs and least:
            if fate == "lost":
                return answer(Completion(kind="fail", error="version_lost"))
            if fate == "pending":
                return self._at_commit(lambda: self._replica_read(request, life, answer), answer)
            lag_ms = 0.0
        entry = self._committed_at(request.key, self.now_ms() - lag_ms, life)
        newest = next((version for when, version in reversed(self.log) if when <= self.now_ms() - lag_ms), "")
        told = self._told(entry, "replica", newest)
        shown_ms = 0 if "hidden-staleness" in self.bugs else int(lag_ms) + 20
        answer(msgspec.structs.replace(told, details=told.details | {"stalenessMs": shown_ms}))

    def _told(self, entry: Entry | None, level: str, newest: str) -> Completion:
        if entry is None:
            return Completion(kind="ok", level=level, details={"newestVersion": newest} if newest else {})
        mortal = entry.expires_ms < float("inf")
        details = {"ttlSeconds": math.ceil((entry.expires_ms - self.now_ms()) / 1000)} if mortal else {}
        return Completion(kind="ok", value=entry.value, version=entry.version, level=level, details=details)

    def _committed_at(self, key: str, at_ms: float, life: int) -> Entry | None:
        entry = next((each.after for when, each in reversed(self.committed.get(key, [])) if when <= at_ms), None)
        return entry if entry is not None and entry.life == life and entry.expires_ms > at_ms else None

    def read_many(self, request: Request, answer: Done) -> None:
        found = self._policy(request.value[0])
        if found is None:
            return answer(Completion(kind="fail", error="unknown_namespace"))
        entries = [self._seen(key, found[1]) for key in request.value]
        if "swap-batch" in self.bugs:
            entries.reverse()
        shown = [[None, ""] if entry is None else [entry.value, entry.version] for entry in entries]
        level = request.level or ("latest" if found[2]["ack"] == "primary" else "linearizable")
        self._at_commit(lambda: answer(Completion(kind="ok", value=shown, level=level)), answer)

    # -- what became of it -----------------------------------------------------------------------

    def receipt(self, request: Request, answer: Done) -> None:
        version = request.value
        if version not in self.fates:
            return answer(Completion(kind="fail", error="unknown_version"))
        durable = version in self.asked_for and self.fates[version] == "committed"
        self.asked_for.add(version)
        answer(Completion(kind="ok", value=self.fates[version], details={"durable": durable}))

    def lost_writes(self, request: Request, answer: Done) -> None:
        versions = [version for name, version in self.lost if name == request.value]
        details = {"total": len(versions), "truncated": False, "unreachable": []}
        answer(Completion(kind="ok", value=versions, details=details))


def _outcome(request: Request, asked: Any, before: Entry | None) -> tuple[Any, Completion | None]:
    """What the key holds afterwards; or the answer, where nothing is written."""
    if request.name == "cas":
        current = "" if before is None else before.version
        if current != request.details.get("ifVersion", ""):
            return None, Completion(kind="fail", error=CONDITION, level="quorum", details={"current": current})
        return asked[1], None
    if request.name in ("delete", "expire") and before is None:
        return None, Completion(kind="ok", value=False, level="quorum")
    if request.name == "incr":
        return asked + (before.value if before is not None else 0), None
    if request.name == "expire":
        assert before is not None
        return before.value, None
    return (None if request.name == "delete" else asked), None


_HANDLERS: dict[str, Callable[[FakeTarget, Request, Done], None]] = {
    "read": FakeTarget.read,
    "read-many": FakeTarget.read_many,
    "receipt": FakeTarget.receipt,
    "lost-writes": FakeTarget.lost_writes,
    "set-namespace": FakeTarget.set_namespace,
    "delete-namespace": FakeTarget.delete_namespace,
    "invalidate": FakeTarget.invalidate,
    "write-many": FakeTarget.write_many,
    **dict.fromkeys(("write", "cas", "incr", "delete", "expire"), FakeTarget.write),
}
