"""Mutated inputs: no crash, no hang, whole replies. `scripts/fuzz-resp` sends a million."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from mutations import Fuzz, stream
from resp_bytes import cut, parse_all

from raftcache.frontends.resp import strings

INPUTS = 5000


def test_mutated_inputs_break_nothing_and_leave_nothing() -> None:
    problems: list[tuple[bytes, str]] = []
    fuzz = Fuzz(7, lambda data, what: problems.append((data, what)))
    for _ in range(3000):
        fuzz.once()
    tracemalloc.start()
    for _ in range(INPUTS):
        fuzz.once()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problems == []
    assert fuzz.commands > INPUTS / 2, "most inputs get some answer"
    assert left < 2 << 20 and fuzz.front.clients == {} and fuzz.front.room.used_bytes == 0


def test_commands_that_take_turns_are_taken_to_their_end() -> None:
    """Found by a million inputs: RANDOMKEY of a keyspace that seems empty goes on in a later turn of the loop."""
    problems: list[tuple[bytes, str]] = []
    fuzz = Fuzz(7, lambda data, what: problems.append((data, what)))
    fuzz.feed(b"RANDOMKEY \r\n0 a v7c1f.3.1\n$536870912\r\n")
    fuzz.feed(b"RANDOMKEY\r\n")
    assert (problems, fuzz.commands) == ([], 4)


def test_mutated_inputs_are_parsed_alike_however_they_are_cut() -> None:
    chance = random.Random(8)
    for _ in range(INPUTS // 5):
        data = stream(chance)
        whole = parse_all([data])
        assert parse_all(cut(data, chance.choices(range(len(data) + 1), k=4))) == whole
        assert parse_all(cut(data, range(len(data)))) == whole


def test_the_fuzzer_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings, "OK", b"+O")
    problems: list[tuple[bytes, str]] = []
    fuzz = Fuzz(7, lambda data, what: problems.append((data, what)))
    for _ in range(3000):
        fuzz.once()
    assert {what for _, what in problems} >= {"a reply is not whole"}
