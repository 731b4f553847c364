"""The page: what it says, what it links, that it needs nothing else, and that no history can do harm in it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from jepsen_like.checking import Complaint, Judgement, Verdict, verdict
from jepsen_like.history import NEMESIS, Header, History
from jepsen_like.page.columns import unpack
from jepsen_like.page.markup import VOID, Html, element, together
from jepsen_like.page.page import page, write_page
from jepsen_like.page.sections import OPERATIONS_LISTED, OPERATIONS_MARKED, ROWS

from .made_up import Maker, event, passing, stale_read, unknown

EVILS = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "' onmouseover='alert(1)",
    "<!--",
    "]]><svg onload=alert(1)>",
    "$data ${script} $$",
)


class Document(HTMLParser):
    """Elements with their attributes, and the texts below each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self._open: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for place in self._open:
            self.texts[place] = self.texts.get(place, "") + data

    def structure(self) -> list[tuple[str, tuple[str, ...]]]:
        """Without what attributes and texts say."""
        return [(tag, tuple(sorted(attributes))) for tag, attributes in self.elements]

    def said(self, tag: str, **wanted: str) -> list[str]:
        """The texts of elements with these attributes."""
        return [
            self.texts.get(place, "")
            for place, (name, attributes) in enumerate(self.elements)
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


def with_text(text: str) -> tuple[History, list[Verdict]]:
    """A run all of whose texts are this one."""
    events = [
        event("invoke", NEMESIS, text, 0.5, details={text: text}),
        event("invoke", 0, text, 1.0, key=text, value={text: [text]}, level=text, details={text: text}),
        event("ok", 0, text, 2.0, key=text, value=text, version=text, level=text, details={text: text}),
        event("invoke", 0, text, 3.0, key=text, value=text),
        event("fail", 0, text, 4.0, error=text),
        event("invoke", 0, text, 5.0, key=text),
        event("info", 0, text, 6.0, error=text),
    ]
    header = Header(
        workload=text, nemeses=[text], target=text, ack=text, plant=text, started_at=text, versions={text: text},
        options={text: text},
    )  # fmt: skip
    judged = verdict(text, text, [Complaint(text, [0, 1, 2]), Complaint(text)], **{text: text, "b": {text: text}})
    return History(header, events), [judged, Verdict(checker=text, judgement=Judgement.UNKNOWN, summary=text)]


@pytest.mark.parametrize("evil", EVILS)
def test_no_text_of_a_history_becomes_markup(evil: str) -> None:
    tame, wild = (Document(page(*with_text(text), text)) for text in ("tame", evil))
    assert wild.structure() == tame.structure()
    for tag, attributes in wild.elements:
        assert evil not in attributes.values() or tag == "svg"
    assert evil in wild.said("h1")[0] + wild.said("p", class_="why")[0]
    assert wild.said("code", id="replay") == [evil]


@pytest.mark.parametrize("evil", EVILS)
def test_what_is_drawn_reaches_the_script_as_it_was(evil: str) -> None:
    (data,) = Document(page(*with_text(evil))).said("script", id="data")
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
    operations = unpack(data)["operations"]
    assert operations["name"]["words"] == operations["key"]["words"] == [evil]
    assert evil in operations["error"]["words"]


FAILED = Maker(seconds=20).make()
FAILED_VERDICTS = [*passing(FAILED)[1:], stale_read(FAILED)]
FAILED_PAGE = page(FAILED, FAILED_VERDICTS)
FAILED_DOCUMENT = Document(FAILED_PAGE)


def test_the_page_asks_for_nothing() -> None:
    assert not re.search(r"https?://|url\(|@import|\ssrc=|<link|<iframe|XMLHttpRequest|fetch\(|WebSocket", FAILED_PAGE)


def test_the_policy_allows_the_script_and_no_other() -> None:
    (policy,) = (each["content"] for tag, each in FAILED_DOCUMENT.elements if each.get("http-equiv"))
    assert policy is not None and "default-src 'none'" in policy
    script = [text for text in FAILED_DOCUMENT.said("script") if '"use strict"' in text]
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy and len(script) == 1


@pytest.mark.parametrize(
    ("verdicts", "word", "why"),
    [
        (passing(FAILED), "Pass", "3 checkers found nothing wrong"),
        (FAILED_VERDICTS, "Fail", "linearizability: 1 of 8 keys is not linearizable"),
        ([*passing(FAILED)[1:], unknown()], "Unknown", f"linearizability: {unknown().summary}"),
        ([unknown(), stale_read(FAILED)], "Fail", "linearizability: 1 of 8 keys is not linearizable"),
        ([unknown(), unknown()], "Unknown", f"linearizability: {unknown().summary} (and linearizability)"),
        ([], "Unknown", "no checker judged this run"),
    ],
)
def test_the_verdict_stands_on_top_with_the_reason(verdicts: list[Verdict], word: str, why: str) -> None:
    document = Document(page(FAILED, verdicts))
    assert document.said("h1") == [word]
    assert document.said("p", class_="why") == [why]
    banner = next(each for each in document.elements if each[0] == "header")
    assert banner[1]["class"] == f"verdict {word.lower()}"
    assert f"<title>{word.upper()}: register under" in page(FAILED, verdicts)


def test_every_checker_is_there_the_worst_first() -> None:
    judged = [*passing(FAILED)[1:], unknown(), verdict("z", "last of the alphabet", [Complaint("wrong")])]
    articles = Document(page(FAILED, judged)).said("article")
    begins = ("zfail", "linearizabilityunknown", "availabilitypass", "livenesspass")
    assert [text.startswith(begin) for text, begin in zip(articles, begins, strict=True)] == [True] * 4


def test_a_complaint_links_to_its_operations() -> None:
    (complaint,) = FAILED_VERDICTS[-1].complaints
    links = {each["data-operations"] for tag, each in FAILED_DOCUMENT.elements if tag == "a"}
    one, other = complaint.operations
    assert links == {f"{one} {other}", f"{one}", f"{other}"}
    assert complaint.text in FAILED_DOCUMENT.said("a")
    (data,) = FAILED_DOCUMENT.said("script", id="data")
    assert unpack(data)["offending"] == sorted(complaint.operations)


def test_a_complaint_about_many_operations_lists_some_and_says_how_many_more() -> None:
    judged = verdict("set", "lost", [Complaint("lost", list(range(1000)))])
    document = Document(page(FAILED, [judged]))
    links = [each["data-operations"] or "" for tag, each in document.elements if tag == "a"]
    assert [len(link.split()) for link in links] == [OPERATIONS_MARKED] + [1] * OPERATIONS_LISTED
    assert f"and {1000 - OPERATIONS_LISTED} operations more" in document.said("li")


def test_complaints_that_a_verdict_left_out_are_counted() -> None:
    judged = verdict("set", "lost", [Complaint(f"no {number}") for number in range(23)])
    assert "and 3 complaints more" in Document(page(FAILED, [judged])).said("p")


def test_an_operation_that_does_not_exist_is_no_link() -> None:
    document = Document(page(FAILED, [verdict("odd", "", [Complaint("of nothing", [10**9])])]))
    assert "of nothing" in document.said("li") and document.said("a") == []


def test_the_run_and_its_replay_are_there() -> None:
    assert FAILED_DOCUMENT.said("code", id="replay") == [
        "python -m jepsen_like run --workload register --nemesis kill-leader,partition-leader --ack quorum --seconds 20"
        " --seed 7"
    ]
    told = dict(zip(FAILED_DOCUMENT.said("dt"), FAILED_DOCUMENT.said("dd"), strict=True))
    assert told["seed"] == "7" and told["ack level"] == "quorum" and told["versions"].startswith("raftcache 0.1.0")
    assert "planted bug" not in told


def test_errors_and_faults_are_tables() -> None:
    rows = FAILED_DOCUMENT.said("th", scope="row")
    assert {"condition_failed", "outcome_unknown", "kill-leader", "read", "all"} <= set(rows)


def test_a_table_of_very_many_faults_ends_and_says_so() -> None:
    strikes = [event(kind, NEMESIS, "kill", float(number)) for number in range(ROWS + 7) for kind in ("invoke", "info")]
    document = Document(page(History(Header(), strikes), []))
    assert document.said("th", scope="row").count("kill") == ROWS
    assert "and 7 more" in document.said("p")


def test_the_file_is_the_page(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", FAILED, FAILED_VERDICTS)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == FAILED_PAGE


def test_an_empty_run_has_a_page() -> None:
    document = Document(page(History(Header(), []), []))
    assert "No operation failed, and none is open." in document.said("p")
    assert "Nothing was broken on purpose." in document.said("p")


def test_a_history_that_is_not_well_formed_is_refused() -> None:
    with pytest.raises(ValueError, match="asked nothing"):
        page(History(Header(), [event("ok", 0, "read", 1.0)]), [])


def test_every_part_of_the_page_is_in_the_package() -> None:
    names = {each.name for each in files("jepsen_like.page").iterdir()}
    assert {"page.html", "page.css", "main.js"} <= names
    ends = [name for name in names if name.endswith((".js", ".css"))]
    texts = [(files("jepsen_like.page") / name).read_text() for name in ends]
    assert all(text.strip() in FAILED_PAGE for text in texts)
    assert not any("</" in text for text in texts)


def test_an_element_escapes_texts_and_attributes_but_no_markup() -> None:
    assert element("p", "a<b", element("b", "&"), title='"') == '<p title="&quot;">a&lt;b<b>&amp;</b></p>'
    assert element("td", class_="figure", data_x=1, id=None) == '<td class="figure" data-x="1"></td>'
    assert element("br") == "<br>"
    assert together("<", Html("<i></i>")) == "&lt;<i></i>"
