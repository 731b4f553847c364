"""Histories that look like those of a run: clients on a register, leaders that die, partitions, and what comes of it.

They are made up, not measured: enough to look at the page and to fill it. A write is answered by the leader, and while
there is none, operations fail, or wait until it is back, or are given up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from jepsen_like.checking import Complaint, Judgement, Verdict, verdict
from jepsen_like.history import CONDITION, NEMESIS, Event, Header, History, Kind

TIMEOUT_MS = 1000.0
ELECTION_MS = 450.0
FAULTS = (("kill-leader", 900.0), ("partition-leader", 2500.0), ("pause", 600.0))


def event(kind: Kind, process: int, name: str, time_ms: float, **fields: Any) -> Event:
    """An event, in as few words as can be."""
    return Event(kind=kind, process=process, name=name, time_ms=time_ms, **fields)


@dataclass(slots=True)
class Maker:
    """A run with so many operations a second, of so many clients; `faults_each_ms` apart, 0 for none."""

    seed: int = 7
    seconds: float = 60.0
    clients: int = 10
    pause_ms: float = 20.0
    faults_each_ms: float = 6000.0
    events: list[Event] = field(default_factory=list)
    strikes: list[tuple[float, float, str]] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    processes: int = 0

    def make(self) -> History:
        """The whole history, its events by time."""
        draw = random.Random(self.seed)
        self._break(draw)
        self.processes = self.clients
        clients = [(draw.random() * self.pause_ms, process) for process in range(self.clients)]
        while clients:
            clients.sort(reverse=True)
            next_ms, process = clients.pop()
            if next_ms < self.seconds * 1000:
                clients.append(self._operation(draw, next_ms, process))
        self.events.sort(key=lambda each: each.time_ms)
        return History(self._header(), self.events)

    def _header(self) -> Header:
        return Header(
            workload="register",
            nemeses=sorted({name for _, _, name in self.strikes}),
            target="processes",
            seed=self.seed,
            seconds=self.seconds,
            ack="quorum",
            started_at="2026-03-14 09:26:53 UTC",
            versions={"raftcache": "0.1.0", "python": "3.11.9", "pysyncobj": "0.3.17"},
            options={"nodes": 3, "clients": self.clients, "keys": 8},
        )

    def _break(self, draw: random.Random) -> None:
        next_ms = self.faults_each_ms / 2
        while self.faults_each_ms and next_ms < self.seconds * 1000 - self.faults_each_ms / 2:
            name, most_ms = draw.choice(FAULTS)
            lasts_ms, node = most_ms * (0.5 + draw.random() / 2), f"n{draw.randrange(3)}"
            self.strikes.append((next_ms, next_ms + lasts_ms, name))
            self.events.append(event("invoke", NEMESIS, name, next_ms, details={"node": node}))
            self.events.append(event("info", NEMESIS, name, next_ms + lasts_ms))
            next_ms += self.faults_each_ms * (0.7 + 0.6 * draw.random())

    def _without_leader(self, now_ms: float) -> float:
        """For how long there will be no leader yet; 0 where there is one."""
        left = [begin + ELECTION_MS - now_ms for begin, _, _ in self.strikes if begin <= now_ms < begin + ELECTION_MS]
        return max(left, default=0.0)

    def _cut_off(self, now_ms: float) -> bool:
        return any(begin <= now_ms <= end and "partition" in name for begin, end, name in self.strikes)

    def _operation(self, draw: random.Random, now_ms: float, process: int) -> tuple[float, int]:
        """One more, and when which process goes on."""
        name, key = draw.choices(("read", "write", "cas"), (5, 3, 2))[0], f"bank:k{draw.randrange(8)}"
        before = self.values.get(key, 0)
        value = {"read": None, "write": before + 1, "cas": [before, before + 1]}[name]
        self.events.append(event("invoke", process, name, now_ms, key=key, value=value, level="quorum"))
        waits_ms, took_ms = self._without_leader(now_ms), draw.lognormvariate(0.6, 0.5) + 0.3
        chance = draw.random()
        if (waits_ms and chance < 0.25) or (self._cut_off(now_ms) and chance < 0.06):
            self._end(process, name, key, "info", now_ms + TIMEOUT_MS, error="outcome_unknown")
            self.processes += 1
            return now_ms + TIMEOUT_MS, self.processes - 1
        if waits_ms and chance < 0.75:
            self._end(process, name, key, "fail", now_ms + took_ms, error=draw.choice(("not_leader", "unavailable")))
            return now_ms + took_ms + self.pause_ms * 4, process
        ended_ms = now_ms + waits_ms + took_ms
        if name == "cas" and chance > 0.85:
            self._end(process, name, key, "fail", ended_ms, error=CONDITION, details={"current": f"a1.4.{before}"})
        else:
            self.values[key] = before + (name != "read")
            answer = before if name == "read" else None
            version = f"a1.4.{len(self.events)}"
            self._end(process, name, key, "ok", ended_ms, value=answer, version=version, level="quorum")
        return ended_ms + self.pause_ms * draw.uniform(0.5, 1.5), process

    def _end(self, process: int, name: str, key: str, kind: Kind, time_ms: float, **fields: Any) -> None:
        self.events.append(event(kind, process, name, time_ms, key=key, **fields))


def stale_read(history: History) -> Verdict:
    """What a checker would say had a read in the middle of the run not seen the write before it."""
    operations = history.operations()
    reads = [each for each in operations[len(operations) // 2 :] if each.invoked.name == "read" and each.told("x", 1)]
    read = next(each for each in reads if each.completed is not None and each.completed.kind == "ok")
    key, earlier = read.invoked.key, operations[: read.number]
    writes = [each for each in earlier if each.invoked.key == key and each.invoked.name == "write"]
    write = [each for each in writes if each.ended_ms < read.began_ms][-1]
    assert read.completed is not None
    read.completed.value = int(write.invoked.value) - 1
    text = f"{key}: a read returned {read.completed.value} after the write of {write.invoked.value} was acknowledged"
    complaints = [Complaint(text, [write.number, read.number])]
    summary = "1 of 8 keys is not linearizable"
    return verdict("linearizability", summary, complaints, keys=8, states=48213, seconds=1.9)


def passing(history: History) -> list[Verdict]:
    """The verdicts of a good run."""
    return [
        verdict("linearizability", "8 keys, all linearizable", [], keys=8, states=51877, seconds=2.1),
        verdict("availability", "longest gap 497 ms", [], longest_gap_ms=497.2, ok_per_second=371.4),
        verdict("liveness", "served again 0.6 s after the last fault", [], served_after_ms=612),
    ]


def unknown() -> Verdict:
    """Of a checker that gave up."""
    return Verdict(
        checker="linearizability",
        judgement=Judgement.UNKNOWN,
        summary="out of budget after 60 s: 7 of 8 keys are linearizable, bank:k5 is not decided",
        figures={"keys": 8, "undecided": 1, "states": 4_200_000},
    )
