"""The clients of a miniature cluster, which between them ask everything that the checkers judge."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeAlias

ACTIVE_MS = 3000.0
"""How long they ask."""
CLIENTS = 10

Answer: TypeAlias = dict[str, Any]
"""The fields of the event that completes an operation."""
Then: TypeAlias = Callable[[Answer], None]


class Clients:
    """To be mixed into something that asks and waits."""

    random: random.Random
    now_ms: float
    _steps: int

    def _ask(self, name: str, key: str, value: Any, then: Then, level: str = "", **asked: Any) -> None:
        raise NotImplementedError

    def _later(self, after_ms: float, action: Callable[[], None]) -> None:
        raise NotImplementedError

    def _between(self, limits: tuple[float, float]) -> float:
        return self.random.uniform(*limits)

    def _nothing(self, _answer: Answer) -> None:
        """Nobody waits for it."""

    def _client(self, kind: int) -> None:
        """Ask, wait for the answer, and ask again."""
        if self.now_ms > ACTIVE_MS:
            return

        def again(_answer: Answer) -> None:
            self._later(self._between((1.0, 40.0)), lambda: self._client(kind))

        [self._count, self._count, self._insert, self._insert, self._register, self._register, self._mortal,
         self._batch, self._govern, self._spend][kind](again)  # fmt: skip

    def _count(self, again: Then) -> None:
        key = self.random.choice(("p:c", "q:c"))
        if self.random.random() < 0.3:
            return self._ask("read", key, None, again, level="linearizable" if key == "q:c" else "latest")
        self._try(key, f"{key}-{self._steps}", 3, again)

    def _try(self, key: str, idempotency: str, times: int, again: Then) -> None:
        def retry(answer: Answer) -> None:
            if times > 1 and (answer["kind"] == "info" or self.random.random() < 0.2):
                return self._try(key, idempotency, times - 1, again)
            again(answer)

        self._ask("incr", key, 1, retry, idempotencyKey=idempotency)

    def _insert(self, again: Then) -> None:
        key = f"{self.random.choice('pq')}:s{self._steps}"

        def read(_answer: Answer) -> None:
            self._ask("read", key, None, again, level="linearizable")

        self._ask("write", key, self._steps, read)

    def _register(self, again: Then) -> None:
        """Writes, deletes, and replica reads that must come up to the answer."""
        key = f"q:r{self.random.randrange(2)}"
        chance = self.random.random()
        if chance < 0.15:
            return self._ask("delete", key, None, again)
        if chance < 0.3:
            return self._ask("read", key, None, again, level="linearizable")

        def read(answer: Answer) -> None:
            asked = {"minVersion": answer["version"]} if answer.get("version") and self.random.random() < 0.6 else {}
            asked |= {"maxStalenessMs": 150} if self.random.random() < 0.3 else {}
            self._ask("read", key, None, again, readPreference="replica", **asked)

        self._ask("write", key, self._steps, read)

    def _mortal(self, again: Then) -> None:
        key = f"q:t{self._steps}"

        def read(_answer: Answer) -> None:
            for after_ms in (50.0, 400.0, 1050.0, 1500.0):
                self._later(after_ms, lambda: self._ask("read", key, None, self._nothing, level="linearizable"))
            again({})

        self._ask("write", key, 1, read, ttlSeconds=1)

    def _batch(self, again: Then) -> None:
        keys = [f"q:b{number}" for number in self.random.sample(range(4), 2)]

        def read(_answer: Answer) -> None:
            self._ask("read-many", "", keys, again, level="linearizable")

        self._ask("write-many", "", [[key, f"{key}-{self._steps}"] for key in keys], read)

    def _spend(self, again: Then) -> None:
        """Several writes at once, each to a key of its own."""
        for number in range(4):
            self._ask("write", f"p:w{self._steps}-{number}", number, again if number == 0 else self._nothing)

    def _govern(self, again: Then) -> None:
        """Change the policy of `n`, then use it."""
        key = f"n:k{self.random.randrange(3)}"

        def use(_answer: Answer) -> None:
            self._ask("write", key, self._steps, lambda _a: self._ask("read", key, None, again, level="linearizable"))

        if self.random.random() < 0.25:
            return self._ask("delete-namespace", "n", None, use)
        ack = self.random.choice(("primary", "quorum"))
        self._ask("set-namespace", "n", {"ack": ack, "lossWindow": {"ms": None, "writes": None, "bytes": None}}, use)
