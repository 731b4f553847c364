"""`raftcache replay`: the trace, the client, and the whole command against a cache over HTTP."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.fake_server import FakeCache
from raftcache.cli.keepalive import BODY_LIMIT_BYTES, HEAD_LIMIT_BYTES, ProtocolError, Response, ResponseReader
from raftcache.cli.main import main
from raftcache.cli.output import Failed
from raftcache.cli.replaying import content, percentile
from raftcache.cli.trace import Request, read_trace
from raftcache.commands.types import VALUE_LIMIT_BYTES

TRACE = Path(__file__).parents[1] / "data" / "cloudphysics-io.csv.gz"
HEADER = "version,time,op,size,lbn\n"
FIELDS = ["requests", "hits", "hit_ratio", "errors", "requests_per_second", "p50_ms", "p99_ms"]


def test_the_whole_trace_is_what_it_is_known_to_be() -> None:
    requests = list(read_trace(TRACE))
    assert len(requests) == 113_872
    assert len({request.key for request in requests}) == 48_974
    assert requests[0] == Request(b"42932745", 512)
    assert max(request.size_bytes for request in requests) == 69_632


def test_a_limit_and_the_progress_of_reading() -> None:
    seen: list[float] = []
    assert len(list(read_trace(TRACE, 5000, seen.append))) == 5000
    assert seen and seen == sorted(seen)
    assert 0.0 < seen[-1] <= 1.0
    assert list(read_trace(TRACE, 0)) == []


def test_plain_files_and_the_cap_on_sizes(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(HEADER + "1,0,2a,0,a\n1,0,2a,1048577,b\n")
    assert list(read_trace(trace)) == [Request(b"a", 0), Request(b"b", VALUE_LIMIT_BYTES)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "line 1 must be"),
        (b"time,size\n", "line 1 must be 'version,time,op,size,lbn', got b'time,size'"),
        (HEADER.encode() + b"1,0,2a,1,a\n1,0,2a,x,a\n", "line 3 is not"),
        (HEADER.encode() + b"1,0,2a,1\n", "line 2 is not"),
        (HEADER.encode() + b"1,0,2a,-1,a\n", "line 2 is not"),
    ],
)
def test_a_bad_trace_is_named_with_its_line(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_bytes(data)
    with pytest.raises(Failed) as failed:
        list(read_trace(tmp_path / "trace.csv"))
    assert "trace.csv" in str(failed.value) and said in str(failed.value)


def test_torn_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "torn.gz").write_bytes(gzip.compress(HEADER.encode() + b"1,0,2a,1,a\n" * 100)[:-10])
    for name in ("torn.gz", "absent.csv"):
        with pytest.raises(Failed, match="cannot be read"):
            list(read_trace(tmp_path / name))


def test_values_are_made_from_their_keys() -> None:
    assert content(b"a", 1000) == content(b"a", 1000)
    assert content(b"a", 1000) != content(b"b", 1000)
    assert content(b"a", 1000)[:77] == content(b"a", 77)
    assert [len(content(b"a", size)) for size in (0, 1, 63, 64, 65, 69_632)] == [0, 1, 63, 64, 65, 69_632]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.99, 1.0]))
@settings(max_examples=100, deadline=None)
def test_a_percentile_is_the_smallest_that_covers_its_part(values: list[float], fraction: float) -> None:
    ordered = sorted(values)
    rank = math.ceil(round(fraction * len(ordered), 9))
    assert percentile(ordered, fraction) == ordered[rank - 1]
    assert percentile([], fraction) == 0.0


ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: x\r\ncontent-length: 5\r\n\r\nhello"


def told(response: Response | None) -> Response:
    """All but the head."""
    assert response is not None
    return response._replace(head=b"")


def test_an_answer_read_byte_by_byte_and_whole() -> None:
    assert told(ResponseReader().receive_data(ANSWER)) == Response(201, b"hello", False)
    reader = ResponseReader()
    for _ in range(2):
        got = [reader.receive_data(ANSWER[i : i + 1]) for i in range(len(ANSWER))]
        assert got[:-1] == [None] * (len(ANSWER) - 1)
        assert told(got[-1]) == Response(201, b"hello", False)


def test_headers_are_found_by_their_names() -> None:
    response = ResponseReader().receive_data(b"HTTP/1.1 200 OK\r\nX-Ab:  c d\r\nab: e\r\nContent-Length: 4\r\n\r\na: b")
    assert response is not None
    assert [response.header(name) for name in ("Ab", "x-ab", "content-length", "a", "b")] == ["e", "c d", "4", "", ""]


def test_answers_without_a_body_and_last_answers() -> None:
    assert told(ResponseReader().receive_data(b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n")) == Response(204, b"", False)
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert told(ResponseReader().receive_data(last)) == Response(200, b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEAD_LIMIT_BYTES // 6),
        ANSWER + b"x",
    ],
)
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ResponseReader().receive_data(data)


def replay(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, float], str]:
    """Exit code, the one JSON line on stdout, and what stood on stderr."""
    code = main(["replay", *arguments, "-o", "json"])
    out, err = capsys.readouterr()
    assert out.endswith("\n") and out.count("\n") == 1
    return code, json.loads(out), err


def test_a_slice_of_the_real_trace(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    slice_ = list(read_trace(TRACE, 1500))
    first_sizes = {request.key: request.size_bytes for request in reversed(slice_)}
    code, figures, err = replay(capsys, str(TRACE), "--url", cache.url, "--limit", "1500", "--concurrency", "8")
    assert (code, figures["errors"], figures["requests"]) == (0, 0, 1500)
    assert list(figures) == FIELDS
    assert figures["hits"] == 1500 - len(first_sizes)
    assert figures["hit_ratio"] == pytest.approx(1 - len(first_sizes) / 1500)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert "1,500 requests" in err
    stored = {key: len(value) for (namespace, key), value in cache.values.items() if namespace == "replay"}
    assert stored == first_sizes, "one value for each key, of the size that its first request had"


def test_requests_of_one_key_keep_their_order(
    cache: FakeCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"k{number % 7}" for number in range(140)]
    (tmp_path / "t.csv").write_text(HEADER + "".join(f"1,0,2a,10,{key}\n" for key in keys))
    replay(capsys, str(tmp_path / "t.csv"), "--url", cache.url)
    for key in set(keys):
        methods = [method for method, path, _ in cache.log if path.endswith(f"/{key}")]
        assert methods == ["GET", "PUT"] + ["GET"] * 19


def test_the_namespace_is_made_once_and_an_existing_one_is_left_alone(
    cache: FakeCache, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        replay(capsys, str(TRACE), "--url", cache.url, "--limit", "1")
    replay(capsys, str(TRACE), "--url", cache.url, "--limit", "1", "--namespace", "safe")
    assert [path for method, path, _ in cache.log if method == "PUT" and "/v1/namespaces" in path] == [
        "/v1/namespaces/replay"
    ]


def test_values_are_read_back(cache: FakeCache, capsys: pytest.CaptureFixture[str]) -> None:
    code, figures, _ = replay(capsys, str(TRACE), "--url", cache.url, "--limit", "300", "--verify")
    assert code == 0
    assert figures["verified"] == len(cache.values)


def test_failures_are_counted_and_the_first_is_shown(
    cache: FakeCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(HEADER + "1,0,2a,10,good\n1,0,2a,10,refused\n1,0,2a,10,good\n")
    code, figures, err = replay(capsys, str(tmp_path / "t.csv"), "--url", cache.url)
    assert (code, figures["requests"], figures["hits"], figures["errors"]) == (1, 3, 1, 1)
    assert "set of b'refused' was answered 503" in err


def test_a_value_of_another_key_is_an_error(
    cache: FakeCache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(HEADER + "1,0,2a,10,a\n")
    cache.broken[b"a"] = content(b"b", 10)
    code, figures, err = replay(capsys, str(tmp_path / "t.csv"), "--url", cache.url)
    assert (code, figures["hits"], figures["errors"]) == (1, 0, 1)
    assert "not its own" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.csv"], "absent.csv: cannot be read"),
        ([str(TRACE), "--concurrency", "0"], "--concurrency must be from 1 to 1024, got 0"),
        ([str(TRACE), "--limit", "-1"], "--limit must not be negative, got -1"),
    ],
)
def test_what_cannot_be_played(
    arguments: list[str], said: str, cache: FakeCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *arguments, "--url", cache.url]) == 1
    assert f"raftcache: {said}" in capsys.readouterr().err
