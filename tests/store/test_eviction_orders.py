"""Every eviction order against the same written down in the obvious way, and its accounts against a recount."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any as Anything

import eviction_models as models
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache.store.eviction.evictor import VICTIMS_PER_CALL, Admission, Eviction, Evictor

MODELS: dict[str, tuple[Eviction, Admission, type[models.Model]]] = {
    "lru": (Eviction.LRU, Admission.ALL, models.Lru),
    "lfu": (Eviction.LFU, Admission.ALL, models.Lfu),
    "lrm": (Eviction.LRM, Admission.ALL, models.Lrm),
    "ttl": (Eviction.TTL, Admission.ALL, models.Ttl),
    "random": (Eviction.RANDOM, Admission.ALL, models.Any),
    "s3fifo": (Eviction.S3FIFO, Admission.ALL, models.S3Fifo),
    "none": (Eviction.NONE, Admission.ALL, models.Nothing),
    "none, tinylfu": (Eviction.NONE, Admission.TINYLFU, models.Nothing),
    "lru, tinylfu": (Eviction.LRU, Admission.TINYLFU, models.TinyLru),
}
EVERY = [(eviction, admission) for eviction in Eviction for admission in Admission]

KEYS = st.integers(0, 23).map(lambda number: b"k%d" % number)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), KEYS, st.integers(0, 40), st.sampled_from([0, 0, 5, 9, 70_000, 900_000])),
        st.tuples(st.just("read"), KEYS, st.sampled_from([1, 1, 2, 40])),
        st.tuples(st.just("remove"), KEYS, st.booleans()),
        st.tuples(st.just("evict"), st.integers(0, 60), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 60_000, 400_000, 50_000_000])),
    ),
    max_size=80,
)


def check_accounts(evictor: Evictor, model: models.Model) -> None:
    assert len(evictor) == len(model.kept)
    assert evictor.used_bytes == sum(kept.size for kept in model.kept.values())


def check_usage(evictor: Evictor, model: models.Model, now_ms: int) -> None:
    for key in model.kept:
        assert evictor.frequency(key, now_ms) == model.frequency(key, now_ms)
        assert evictor.idle_s(key, now_ms) == model.idle_s(key, now_ms)
    assert evictor.frequency(b"none", now_ms) is evictor.idle_s(b"none", now_ms) is None


def check_victims(evictor: Evictor, model: models.Model, over_bytes: int, over_items: int, now_ms: int) -> None:
    for key in evictor.victims(over_bytes, over_items, now_ms):
        assert over_bytes > 0 or over_items > 0, "more was taken than was over"
        assert key in model.best(over_bytes <= 0, now_ms)
        over_bytes, over_items = over_bytes - model.kept[key].size, over_items - 1
        model.take(key)
    assert (over_bytes <= 0 and over_items <= 0) or not model.best(over_bytes <= 0, now_ms)


class Pair:
    """An evictor and its model, told the same and compared after every step."""

    def __init__(self, name: str, seed: int) -> None:
        eviction, admission, kind = MODELS[name]
        self.evictor = Evictor(eviction, admission, random.Random(seed).random)
        self.model = kind(random.Random(seed).random)
        self.now_ms = 1_000_000

    def step(self, what: str, *arguments: Anything) -> None:
        if what == "wait":
            self.now_ms += arguments[0]
        elif what == "evict":
            check_victims(self.evictor, self.model, *arguments, self.now_ms)
        elif what == "remove":
            assert self.evictor.remove(*arguments) == self.model.remove(*arguments)
        else:
            for one in (self.evictor, self.model):
                self._use(one, what, *arguments)
        check_accounts(self.evictor, self.model)
        check_usage(self.evictor, self.model, self.now_ms)

    def _use(self, one: Evictor | models.Model, what: str, key: bytes, *arguments: Anything) -> None:
        if what == "write":
            size, ttl_ms = arguments
            one.write(key, size, self.now_ms + ttl_ms if ttl_ms else 0, self.now_ms)
        else:
            one.read(key, self.now_ms, *arguments)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=60)
@given(steps=STEPS, seed=st.integers(0, 99))
def test_an_order_equals_its_model(name: str, steps: list[Anything], seed: int) -> None:
    pair = Pair(name, seed)
    for step in steps:
        pair.step(*step)
    assert all(key in pair.evictor for key in pair.model.kept)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_an_order_equals_its_model_when_it_is_full_for_long(name: str, seed: int) -> None:
    """Mostly reads and writes of few keys, with as many evicted as come: what short runs hardly ever reach."""
    rng, pair = random.Random(seed), Pair(name, seed)
    for _ in range(1500):
        key = b"k%d" % min(rng.randrange(120), rng.randrange(120))
        chance = rng.random()
        if chance < 0.5:
            pair.step("read", key, 1)
        elif chance < 0.95:
            pair.step("write", key, rng.randrange(1, 9), rng.choice([0, rng.randrange(1, 10**6)]))
        elif chance < 0.98:
            pair.step("remove", key, rng.random() < 0.5)
        else:
            pair.step("wait", rng.choice([10, 60_000, 300_000]))
        by_items = seed % 2 == 0
        over = (0, len(pair.evictor) - 40) if by_items else (pair.evictor.used_bytes - 200, 0)
        pair.step("evict", *over)


@pytest.mark.parametrize(("eviction", "admission"), EVERY)
def test_accounts_are_exact_after_long_churn(eviction: Eviction, admission: Admission) -> None:
    rng = random.Random(5)
    evictor, sizes = Evictor(eviction, admission, rng.random), dict[bytes, int]()
    for now_ms in range(0, 400_000, 100):
        key = b"k%d" % min(rng.randrange(900), rng.randrange(900))
        evictor.read(key, now_ms)
        if rng.random() < 0.1:
            assert evictor.remove(key) == (sizes.pop(key, None) is not None)
        else:
            sizes[key] = rng.randrange(1, 500)
            evictor.write(key, sizes[key], now_ms + rng.randrange(9999), now_ms)
        for victim in evictor.victims(evictor.used_bytes - 40_000, len(evictor) - 200, now_ms):
            del sizes[victim]
        assert (len(evictor), evictor.used_bytes) == (len(sizes), sum(sizes.values()))
    assert all(key in evictor for key in sizes)
    assert eviction is Eviction.NONE or (len(sizes) <= 200 and evictor.used_bytes <= 40_000)


@pytest.mark.parametrize(("eviction", "admission"), EVERY)
def test_everything_can_be_evicted_a_bounded_number_at_a_time(eviction: Eviction, admission: Admission) -> None:
    evictor = Evictor(eviction, admission, random.Random(1).random)
    for number in range(1000):
        evictor.write(b"%d" % number, 10, number % 3 * 1000, number)
        evictor.read(b"%d" % (number // 2), number, 9)
    gone: list[bytes] = []
    while taken := evictor.victims(1 << 40, 0, 5000):
        assert len(taken) <= VICTIMS_PER_CALL
        gone += taken
    if eviction is Eviction.NONE:
        assert not gone
    else:
        assert sorted(gone) == sorted(b"%d" % number for number in range(1000))
        assert (len(evictor), evictor.used_bytes) == (0, 0)


def test_lfu_finds_a_newcomer_below_what_it_has_taken_from() -> None:
    evictor = Evictor(Eviction.LFU, Admission.ALL, lambda: 0.0)
    for key in (b"a", b"b"):
        evictor.write(key, 1, 0, 0)
        evictor.read(key, 0, times=3)
    assert evictor.victims(0, 1, 0) == [b"a"]
    evictor.write(b"c", 1, 0, 0)
    assert evictor.victims(0, 1, 0) == [b"c"]


def test_the_time_of_a_use_survives_a_clock_that_is_set_back_and_the_year_2106() -> None:
    evictor = Evictor(Eviction.LRU, Admission.ALL, lambda: 0.0)
    evictor.write(b"a", 1, 0, 10_000)
    assert (evictor.idle_s(b"a", 9000), evictor.idle_s(b"a", 10_999), evictor.idle_s(b"a", 11_000)) == (0, 0, 1)
    end_ms = (1 << 32) * 1000
    evictor.read(b"a", end_ms - 2000)
    assert evictor.idle_s(b"a", end_ms + 5000) == 7
    evictor.read(b"a", end_ms + 6000)
    assert evictor.idle_s(b"a", end_ms + 9000) == 3


def test_random_takes_each_key_about_as_often() -> None:
    rng, gone = random.Random(3), Counter[bytes]()
    for _ in range(3000):
        evictor = Evictor(Eviction.RANDOM, Admission.ALL, rng.random)
        for number in range(6):
            evictor.write(b"%d" % number, 1, 0, 0)
        evictor.remove(b"3")
        gone.update(evictor.victims(0, 1, 0))
    assert set(gone) == {b"0", b"1", b"2", b"4", b"5"}
    assert all(480 < count < 720 for count in gone.values())


VICTIMS_OF_ALL = """
import random
from raftcache.store.eviction.evictor import Admission, Eviction, Evictor
for eviction in Eviction:
    for admission in Admission:
        evictor = Evictor(eviction, admission, random.Random(2).random)
        for number in range(3000):
            evictor.read(b"%d" % (number * number % 997), number)
            evictor.write(b"%d" % (number % 701), 1, number % 5 * 1000, number)
            print(evictor.victims(0, len(evictor) - 90, number))
"""


def test_nothing_is_decided_by_the_seed_of_hashes() -> None:
    """Replicas, and runs that are repeated, are other processes than this one."""
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", VICTIMS_OF_ALL], env=environment, check=True, capture_output=True)
        outputs.append(done.stdout)
    assert outputs[0] and outputs[0] == outputs[1]
