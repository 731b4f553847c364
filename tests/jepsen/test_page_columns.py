"""What the script is given: nothing of an operation is lost on the way, and little is stored twice."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.checking import Complaint, Verdict, verdict
from jepsen_like.history import NEMESIS, Header, History, Operation
from jepsen_like.page.columns import CHARACTERS_SHOWN, answer, clipped, named, pack, shown, unpack

from .made_up import Maker, event


def packed(history: History, *verdicts: Verdict) -> Any:
    return unpack(pack(history, history.operations(), verdicts))


HISTORY = History(
    Header(),
    [
        event("invoke", 0, "write", 1.5, key="a:k", value=7, level="quorum", details={"ttlSeconds": 3}),
        event("invoke", NEMESIS, "kill", 1.7, details={"node": "n1"}),
        event("invoke", 4, "read", 2.0, key="a:k", level="replica"),
        event("ok", 0, "write", 2.25, key="a:k", version="v1", level="quorum"),
        event("ok", 4, "read", 2.001, value=None, level="linearizable", details={"stalenessMs": 12}),
        event("info", NEMESIS, "kill", 3.0),
        event("invoke", NEMESIS, "pause", 4.0),
        event("invoke", 0, "cas", 5.0, key="a:k", value=[7, 8]),
        event("info", 0, "cas", 9.0, error="outcome_unknown"),
        event("invoke", 4, "read", 6.0, key="a:k"),
    ],
)


def column(name: str) -> list[str]:
    texts = packed(HISTORY)["operations"][name]
    return [texts["words"][place] for place in texts["at"]]


def test_times_are_microseconds_the_questions_as_differences() -> None:
    document = packed(HISTORY)
    assert document["duration"] == 9000
    assert document["operations"]["began"] == [1500, 500, 3000, 1000]
    assert document["operations"]["took"] == [750, 1, 4000, -1]


def test_an_outcome_is_a_number_and_an_open_operation_has_that_of_the_unknown() -> None:
    assert packed(HISTORY)["operations"]["outcome"] == [0, 0, 2, 2]


def test_texts_are_those_of_the_operations() -> None:
    assert column("name") == ["write", "read", "cas", "read"]
    assert column("key") == ["a:k"] * 4
    assert column("asked") == ["7", "", "[7,8]", ""]
    assert column("answer") == ["", "null", "", ""]
    assert column("version") == ["v1", "", "", ""]
    assert column("level") == ["quorum", "replica asked, linearizable reached", "", ""]
    assert column("error") == ["", "", "outcome_unknown", "(never answered)"]
    assert column("details") == ["asked ttlSeconds 3", "told stalenessMs 12", "", ""]


def test_a_text_is_stored_once() -> None:
    assert packed(HISTORY)["operations"]["key"] == {"words": ["a:k"], "at": [0, 0, 0, 0]}


def test_lanes_have_their_processes() -> None:
    document = packed(HISTORY)
    assert document["lanes"] == ["0", "4"]
    assert document["operations"]["lane"] == [0, 1, 0, 1]
    assert document["operations"]["process"] == [0, 4, 0, 4]


def test_a_lane_of_several_processes_says_so() -> None:
    made = Maker(seconds=30).make()
    assert len({each.process for each in made.events}) > 41
    assert all(" +" in label for label in packed(made)["lanes"])


def test_a_fault_whose_end_is_not_on_record_has_none() -> None:
    assert packed(HISTORY)["faults"] == [
        {"name": "kill", "began": 1700, "ended": 3000, "details": "node n1"},
        {"name": "pause", "began": 4000, "ended": None, "details": ""},
    ]


def test_what_is_complained_about_is_listed_once_and_only_where_it_exists() -> None:
    complaints = [Complaint("one", [2, 0]), Complaint("other", [2, 99, -1])]
    assert packed(HISTORY, verdict("a", "", complaints[:1]), verdict("b", "", complaints))["offending"] == [0, 2]


def test_long_texts_are_clipped() -> None:
    assert clipped("x" * CHARACTERS_SHOWN) == "x" * CHARACTERS_SHOWN
    assert clipped("x" * (CHARACTERS_SHOWN + 1)) == "x" * (CHARACTERS_SHOWN - 1) + "…"
    asked = event("invoke", 0, "write", 0.0, key="k" * 999, value="v" * 999, details={"d": "d" * 999})
    long = History(Header(), [asked])
    texts = (packed(long)["operations"][name]["words"] for name in ("key", "asked", "details"))
    assert all(len(word) == CHARACTERS_SHOWN for words in texts for word in words)


@pytest.mark.parametrize(("value", "text"), [(None, ""), (7, "7"), ("7", '"7"'), ([1, None], "[1,null]")])
def test_a_number_and_its_text_are_told_apart(value: Any, text: str) -> None:
    assert shown(value) == text


def test_details_are_words() -> None:
    assert named({"node": "n1", "ms": 3, "way": ["n1", "n2"]}) == 'node n1, ms 3, way ["n1","n2"]'


def answered(name: str, kind: Any, value: Any) -> Operation:
    (found,) = History(Header(), [event("invoke", 0, name, 0.0), event(kind, 0, name, 1.0, value=value)]).operations()
    return found


def test_a_read_of_nothing_has_an_answer_and_a_write_has_none() -> None:
    assert answer(answered("read", "ok", None)) == "null"
    assert answer(answered("write", "ok", None)) == ""
    assert answer(answered("incr", "ok", 0)) == "0"
    assert answer(answered("read", "fail", 3)) == ""


def test_an_operation_takes_few_bytes() -> None:
    made = Maker(seconds=20).make()
    operations = made.operations()
    assert len(operations) > 5000
    assert len(pack(made, operations, [])) / len(operations) < 25
