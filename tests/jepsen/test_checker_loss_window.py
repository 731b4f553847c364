"""Loss windows: what may be lost, and what is one too many."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checkers.loss_window import LossWindows
from jepsen_like.checking import Verdict
from tests.jepsen.story import Story, fails, is_open, passes

WINDOW = {"ms": 100, "writes": 5, "bytes": 200}
"""Of two shards: the first may lose three writes, the second two; each a hundred bytes, which is two small writes."""


def check(story: Story) -> Verdict:
    return LossWindows().check(story.history())


def spent(window: dict[str, Any] = WINDOW, **options: Any) -> Story:
    policy = {"ack": "primary", "lossWindow": window}
    return Story("primary", **({"namespaces": {"p": policy}, "shards": ["a", "b"]} | options))


def lose(story: Story, count: int, shard: str = "a", term: int = 1, every_ms: float = 1.0, value: Any = 1) -> Story:
    """So many writes, one after the other, whose receipts say lost."""
    for number in range(1, count + 1):
        key, version, at_ms = f"p:{shard}{term}{number}", f"v{shard}.{term}.{number}", number * every_ms
        story.write(key, value, (at_ms, at_ms + 0.5), version, "primary")
        story.receipt(key, version, "lost", (1000, 1010))
    return story


WRITES = {"ms": None, "writes": 5, "bytes": None}


@pytest.mark.parametrize(("shard", "share"), [("a", 3), ("b", 2)])
def test_a_leadership_may_lose_its_share_of_writes(shard: str, share: int) -> None:
    assert passes(check(lose(spent(WRITES), share, shard)))
    assert fails(check(lose(spent(WRITES), share + 1, shard)), f"{share + 1} writes acknowledged at primary are lost")


def test_every_leadership_may() -> None:
    story = lose(lose(lose(spent(WRITES), 3), 3, term=2), 2, shard="b")
    assert passes(check(story))
    assert check(story).figures["lost"] == 8
    assert check(story).figures["largest_writes"] == 3
    assert check(story).figures["leaderships"] == {"p va.1": 3, "p va.2": 3, "p vb.1": 2}


def test_the_share_of_bytes_counts_key_value_and_overhead() -> None:
    """`p:a11` has five bytes, and each write forty of its own."""
    window = {"ms": None, "writes": None, "bytes": 2 * 2 * (5 + 40 + 10)}
    assert passes(check(lose(spent(window), 2, value="x" * 8)))
    assert fails(check(lose(spent(window), 2, value="x" * 9)), "112 bytes acknowledged at primary are lost, the window")


def test_keys_of_default_have_no_prefix() -> None:
    policy = {"ack": "primary", "lossWindow": {"bytes": 2 * 42}}
    story = Story("primary", namespaces={"default": policy}, shards=["a", "b"])
    story.write("default:k", 1, (0, 1), "va.1.1", "primary").receipt("default:k", "va.1.1", "lost", (5, 6))
    assert passes(check(story))


def test_what_is_lost_lies_within_the_time() -> None:
    window = {"ms": 100, "writes": None, "bytes": None}
    assert passes(check(lose(spent(window), 3, every_ms=50)))
    assert fails(check(lose(spent(window), 4, every_ms=50)), "a span of 149.5 ms acknowledged at primary are lost")
    assert passes(check(lose(spent(window, clockDriftPercent=35), 4, every_ms=50)))


def test_a_span_is_taken_from_the_earliest_answer_to_the_latest_question() -> None:
    window = {"ms": 100, "writes": None, "bytes": None}
    slow = spent(window).write("p:1", 1, (0, 100), "va.1.1", "primary").write("p:2", 1, (180, 900), "va.1.2", "primary")
    for number in (1, 2):
        slow.receipt(f"p:{number}", f"va.1.{number}", "lost", (1000, 1010))
    assert passes(check(slow))


def test_a_replay_was_executed_when_it_was_asked_for_first() -> None:
    window = {"ms": 100, "writes": None, "bytes": None}
    story = spent(window).lost_its_answer("write", "p:2", 1, (0, 5), idempotencyKey="x")
    story.write("p:1", 1, (0, 3), "va.1.1", "primary").write(
        "p:2", 1, (300, 310), "va.1.2", "primary", idempotencyKey="x"
    )
    for number in (1, 2):
        story.receipt(f"p:{number}", f"va.1.{number}", "lost", (1000, 1010))
    assert passes(check(story))


def test_a_bound_that_is_lifted_holds_nobody() -> None:
    assert passes(check(lose(spent({"ms": None, "writes": None, "bytes": None}), 50, every_ms=100)))


def test_only_what_was_acknowledged_counts() -> None:
    story = lose(spent(WRITES), 3).lost_its_answer("write", "p:x", 1, (0, 5))
    assert passes(check(story.receipt("p:x", "va.1.9", "lost", (1000, 1010))))


def test_what_nobody_told_of_is_counted() -> None:
    story = (
        lose(spent(WRITES), 3).write("p:x", 1, (0, 5), "va.1.8", "primary").write("p:y", 1, (0, 5), "va.1.9", "primary")
    )
    figures = check(story.receipt("p:x", "va.1.8", "committed", (1000, 1010))).figures
    assert (figures["acknowledged"], figures["unsettled"]) == (5, 1)


@pytest.mark.parametrize("proof", ["receipt", "report", "read"])
def test_a_loss_is_known_in_three_ways(proof: str) -> None:
    story = lose(spent(WRITES), 3).write("p:x", 1, (50, 60), "va.1.9", "primary")
    if proof == "receipt":
        story.receipt("p:x", "va.1.9", "lost", (1000, 1010))
    elif proof == "report":
        story.reported("p", ["va.1.9"], (1000, 1010))
    else:
        story.read("p:x", None, (1000, 1010))
    assert fails(check(story), "4 writes acknowledged at primary are lost")


def test_an_older_version_shown_later_is_a_loss() -> None:
    story = lose(spent(WRITES), 3).write("p:x", 1, (40, 45), "va.1.8", "quorum")
    story.write("p:x", 2, (50, 60), "va.1.9", "primary")
    assert passes(check(story.read("p:x", 1, (55, 65), "va.1.8")))
    assert fails(check(story.read("p:x", 1, (70, 75), "va.1.8")), "4 writes acknowledged at primary are lost")


@pytest.mark.parametrize("taken", ["delete", "expire", "ttl", "drop", "latest"])
def test_what_may_be_gone_for_another_reason_is_not_lost(taken: str) -> None:
    story = lose(spent(WRITES), 3)
    asked = {"ttlSeconds": 1} if taken == "ttl" else {}
    story.write("p:x", 1, (50, 60), "va.1.9", "primary", **asked)
    if taken in ("delete", "expire"):
        story.lost_its_answer(taken, "p:x", 1, (61, 62))
    elif taken == "drop":
        story.dropped("p", (61, 62))
    story.read("p:x", None, (1000, 1010), level="latest" if taken == "latest" else "linearizable")
    assert passes(check(story))
    assert check(story).figures["unsettled"] == 1


def test_what_was_removed_before_is_lost_when_it_is_gone() -> None:
    story = lose(spent(WRITES), 3).did("delete", "p:x", at=(40, 45), answer=True, version="va.1.7", level="quorum")
    story.write("p:x", 1, (50, 60), "va.1.9", "primary").refused("delete", "p:x", None, (61, 62))
    assert fails(check(story.read("p:x", None, (70, 75))), "4 writes acknowledged at primary are lost")


def test_above_primary_nothing_is_lost() -> None:
    story = lose(spent(WRITES), 1).write("p:x", 1, (50, 60), "va.1.9", "quorum")
    assert fails(check(story.receipt("p:x", "va.1.9", "lost", (1000, 1010))), "acknowledged at quorum, and is lost")
    assert check(story).figures["lost"] == 1
    missed = lose(spent(WRITES), 1).write("p:x", 1, (50, 60), "va.1.9", "quorum").read("p:x", None, (70, 80))
    assert fails(check(missed), "acknowledged at quorum, and a linearizable read misses it")


def test_a_replay_above_primary_makes_it_safe() -> None:
    story = lose(spent(WRITES), 1).write("p:x", 1, (50, 60), "va.1.9", "primary", idempotencyKey="x")
    story.write("p:x", 1, (70, 80), "va.1.9", "quorum", idempotencyKey="x")
    assert fails(check(story.receipt("p:x", "va.1.9", "lost", (1000, 1010))), "and is lost")


def test_the_widest_window_of_the_run_counts() -> None:
    wider = lose(spent(WRITES), 4).policy("p", (0, 1), ack="primary", lossWindow={"writes": 8, "bytes": None})
    assert passes(check(wider))
    refused = lose(spent(WRITES), 4).policy("p", (0, 1), kind="fail", ack="primary", lossWindow={"writes": 8})
    assert fails(check(refused), "4 writes")


def test_a_majority_that_forgets_may_lose_anything() -> None:
    assert is_open(check(lose(spent(WRITES), 9).fault("power", (500, 600), forgets=["a"])))
    assert fails(check(lose(spent(WRITES), 9).fault("power", (500, 600), forgets=["b"])), "9 writes")


def test_what_cannot_be_judged_is_no_pass() -> None:
    assert is_open(check(lose(spent(WRITES, shards=[]), 9)))
    assert is_open(check(lose(spent(WRITES, namespaces={}), 9)))
    both = lose(spent(WRITES, shards=["b"]), 9).write("p:x", 1, (50, 60), "va.1.9", "quorum")
    assert fails(check(both.receipt("p:x", "va.1.9", "lost", (70, 80))), "is lost")
    assert is_open(check(spent().write("p:x", 1, (0, 1), "va.1.1", "primary")))
    assert is_open(check(spent().write("p:x", 1, (0, 1), "va.1.1", "quorum")))
