"""The histories that Jepsen recorded of etcd, against the verdicts that are known."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jepsen_like.checkers.linearizability import Linearizability
from jepsen_like.checking import Judgement
from jepsen_like.etcd_log import decode_etcd_log

DATA = Path(__file__).parent / "data"
VERDICTS = dict(line.split("\t") for line in (DATA / "verdicts.tsv").read_text().splitlines())
WORDS = {"linearizable": Judgement.PASS, "not linearizable": Judgement.FAIL}
CONFIGURATIONS = 1000
"""Many times what any of them takes: a second for all of them together."""


def judged(data: bytes) -> Judgement:
    return Linearizability(lambda: 0.0, configurations=CONFIGURATIONS).check(decode_etcd_log(data)).judgement


def test_every_recorded_history_has_a_verdict() -> None:
    assert sorted(VERDICTS) == sorted(path.name for path in DATA.glob("*.log"))
    assert len(VERDICTS) == 25 and set(VERDICTS.values()) == set(WORDS)


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_is_the_known_one(name: str) -> None:
    assert judged((DATA / name).read_bytes()) is WORDS[VERDICTS[name]]


@pytest.mark.parametrize("name", ["etcd_000.log", "etcd_002.log"])
def test_the_form_of_the_lines_does_not_matter(name: str) -> None:
    lines = (DATA / name).read_text().splitlines()
    rng = random.Random(1)
    for place in sorted(rng.sample(range(len(lines)), 40), reverse=True):
        lines.insert(
            place, rng.choice(["", "  ", "INFO  jepsen.core - Worker 3 starting", ":nemesis :info :start nil"])
        )
    spaced = "\r\n".join(line.replace("\t", rng.choice([" ", "  ", "\t\t"])) for line in lines)
    assert judged(spaced.encode()) is WORDS[VERDICTS[name]]


def test_the_explanation_ends_where_no_answer_is_right() -> None:
    """In `etcd_004.log`, process 4 reads 2 after process 7 has read the 4 of a write that was never answered."""
    history = decode_etcd_log((DATA / "etcd_004.log").read_bytes())
    found = Linearizability(lambda: 0.0).check(history)
    longest = found.figures["longest"][""]
    assert longest[-2:] == [22, 30] and len(longest) == len(set(longest)) == 30
    assert found.complaints[0].operations == [31]
    assert "#22 process 2 write 4 (unknown); #30 process 7 read -> 4" in found.complaints[0].text
    assert found.complaints[0].text.endswith("an answer is wrong: #31 process 4 read -> 2")
