"""How the logs of Jepsen's etcd test are read."""

from __future__ import annotations

import pytest

from jepsen_like.etcd_log import decode_etcd_log, is_etcd_log
from jepsen_like.history import CONDITION, Outcome

LOG = """\
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:invoke\t:write\t3
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - 1\t:ok\t:write\t3
INFO  jepsen.util - 0\t:invoke\t:cas\t[3 -4]
INFO  jepsen.util - 0\t:ok\t:cas\t[3 -4]
INFO  jepsen.util - 1\t:invoke\t:cas\t[3 5]
INFO  jepsen.util - 1\t:fail\t:cas\t[3 5]
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:ok\t:read\t-4
INFO  jepsen.util - 1\t:invoke\t:write\t7
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 6\t:invoke\t:read\tnil
"""


def test_a_log_is_a_history() -> None:
    operations = decode_etcd_log(LOG.encode()).operations()
    found = [(each.invoked.process, each.invoked.name, each.invoked.value, each.outcome) for each in operations]
    assert found == [
        (0, "read", None, Outcome.OK),
        (1, "write", 3, Outcome.OK),
        (0, "cas", [3, -4], Outcome.OK),
        (1, "cas", [3, 5], Outcome.FAIL),
        (0, "read", None, Outcome.FAIL),
        (0, "read", None, Outcome.OK),
        (1, "write", 7, Outcome.UNKNOWN),
        (6, "read", None, Outcome.UNKNOWN),
    ]
    assert [each.completed.value for each in operations if each.completed and each.invoked.name == "read"][::2] == [
        None,
        -4,
    ]
    assert [each.completed.error for each in operations if each.completed] == [
        "", "", "", CONDITION, ":timed-out", "", ":timed-out"
    ]  # fmt: skip
    times = [event.time_ms for event in decode_etcd_log(LOG.encode()).events]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    "changed",
    [
        LOG.replace("\n", "\r\n"),
        LOG.replace("\t", "  "),
        LOG.replace("INFO  ", "2014-06-01 12:00:00,123 INFO  ").replace("\n", "  \n"),
        LOG.replace("INFO  jepsen.util -", "INFO [2018-02-02 15:02:22] jepsen worker 1 - jepsen.util"),
        "\n\n" + LOG.replace("\n", "\n\n") + "INFO  jepsen.core - 3 workers done\n",
        LOG + "INFO  jepsen.util - :nemesis\t:info\t:start\tnil\nno log line, \u2028 and \x85 in it\n",
        LOG.rstrip("\n"),
    ],
    ids=["CRLF", "spaces", "times in front", "newer form", "blank lines", "other lines", "no last line end"],
)
def test_the_same_history_comes_in_other_forms(changed: str) -> None:
    assert decode_etcd_log(changed.encode()) == decode_etcd_log(LOG.encode())


def test_bytes_that_are_no_text_stand_in_lines_that_do_not_matter() -> None:
    assert decode_etcd_log(b"\xff\xfe\n" + LOG.encode()) == decode_etcd_log(LOG.encode())


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0\t:invoke\t:reed\tnil", "not an event"),
        ("0\t:invoke\t:read", "not an event"),
        ("0\tinvoke\t:read\tnil", "not an event"),
        ("0", "not an event"),
        ("zero\t:invoke\t:read\tnil", "not an event"),
        ("0\t:invoke\t:write\tthree", "not an argument of :write"),
        ("0\t:invoke\t:cas\t[3]", "not an argument of :cas"),
        ("0\t:invoke\t:write\t[3 4]", "not an argument of :write"),
        ("6\t:invoke\t:read\tnil", "process 6 asks before it was answered"),
        ("0\t:ok\t:read\t3", "process 0 is answered, and had asked nothing"),
        ("6\t:ok\t:write\t3", "process 6 asked :read and is answered :write"),
        ("6\t:ok\t:read\t:timed-out", "not an argument of :read"),
    ],
)
def test_a_line_that_is_no_event_is_named(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"^line 16: {complaint}"):
        decode_etcd_log(f"{LOG}INFO  jepsen.util - {line}\n\n".encode())


@pytest.mark.parametrize("answer", [":ok\t:cas\t[1 3]", ":fail\t:cas\t[2 2]"])
def test_an_answer_to_another_question_is_named(answer: str) -> None:
    log = f"INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t{answer}\n"
    with pytest.raises(ValueError, match="line 2: process 0 is answered with another argument"):
        decode_etcd_log(log.encode())


def test_a_cas_that_failed_without_its_argument_shows_nothing() -> None:
    log = "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t:fail\t:cas\t:timed-out\n"
    (operation,) = decode_etcd_log(log.encode()).operations()
    assert operation.completed is not None and operation.completed.error == ":timed-out"


def test_a_log_is_told_by_its_events() -> None:
    assert is_etcd_log(LOG.encode())
    assert not is_etcd_log(b"")
    assert not is_etcd_log(b"INFO  jepsen.core - 0\t:invoke\t:read\tnil\n{}\n")
