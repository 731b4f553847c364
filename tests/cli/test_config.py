"""Configuration files: what is read, what is refused, and that writing is the inverse of reading."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftcache import toml
from raftcache.config import (
    BootstrapConfig,
    ConfigError,
    DialConfig,
    FrontendConfig,
    NodeConfig,
    PeerConfig,
    dump_config,
    load_config,
    parse_address,
    parse_config,
)

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = """
node_id = "n0"
cluster_id = "c"
data_dir = "data"
http = "127.0.0.1:1"
rpc = "127.0.0.1:2"
peer = "[::1]:3"
"""


@pytest.mark.parametrize(("name", "kind"), [("node", NodeConfig), ("frontend", FrontendConfig)])
def test_the_examples_are_valid_and_mention_every_field(name: str, kind: type[NodeConfig]) -> None:
    config = load_config(kind, CONFIGS / f"{name}.toml")
    document = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    assert set(document) == {field.name for field in msgspec.structs.fields(kind)}
    assert config.problems() == []


def test_the_example_mentions_every_field_of_its_tables() -> None:
    document = tomllib.loads((CONFIGS / "node.toml").read_text())
    assert set(document["bootstrap"]) == {field.name for field in msgspec.structs.fields(BootstrapConfig)}
    assert set(document["peers"]["n1"]) == {field.name for field in msgspec.structs.fields(PeerConfig)}
    assert set(document["dial"]["n1"]) == {field.name for field in msgspec.structs.fields(DialConfig)}


def test_the_example_shows_the_defaults() -> None:
    """What the comments call the default is what the code takes."""
    example, bare = load_config(NodeConfig, CONFIGS / "node.toml"), parse_config(NodeConfig, MINIMAL)
    given_there = {"node_id", "cluster_id", "data_dir", "http", "rpc", "peer", "metadata_nodes", "bootstrap", "peers"}
    given_there.add("dial")
    assert set(example.dial.values()) == {DialConfig()}, "what it shows of them is their default"
    for field in msgspec.structs.fields(NodeConfig):
        if field.name not in given_there:
            assert getattr(example, field.name) == getattr(bare, field.name), field.name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("colour = 1", ["unknown field `colour`"]),
        ("tick_ms = 0", ["tick_ms", ">= 1", "got 0"]),
        ("tick_ms = 'soon'", ["tick_ms", "int", "'soon'"]),
        ("heartbeat_ms = 200", ["election_min_ms = 400", "601"]),
        ("election_max_ms = 400", ["election_max_ms = 400", "over election_min_ms", "401"]),
        ("fallback_ms = 399", ["fallback_ms = 399", "400"]),
        ("snapshot_log_bytes = 4194304", ["snapshot_log_bytes = 4194304", "log_tail_bytes"]),
        ("memory_limit_bytes = 4095", ["memory_limit_bytes", "4096", "4095"]),
        ("metadata_nodes = ['n9']", ["metadata_nodes", "'n9'", "[peers]"]),
        ("cluster_secret = 'a'\ncluster_secret_file = 'b'", ["cluster_secret and cluster_secret_file"]),
        ("[peers.n1]\nhttp = 'a:1'\nrpc = 'a:2'", ["missing required field `peer`"]),
        ("[peers.n1]\nhttp = 'a:1'\nrpc = 'a'\npeer = 'a:3'", ["peers.n1.rpc", "host:port", "'a'"]),
        ("[bootstrap]\nmembers = []", ["unknown field `members`"]),
        ("tick_ms = ", ["not TOML"]),
    ],
)
def test_mistakes_are_refused_with_field_limit_and_value(line: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(NodeConfig, MINIMAL + line)
    assert [part for part in said if part not in refused.value.message] == []


def test_a_front_end_needs_a_node() -> None:
    with pytest.raises(ConfigError, match="nodes"):
        parse_config(FrontendConfig, 'cluster_id = "c"\nhttp = "h:1"\nnodes = []')


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(MINIMAL + 'cluster_secret_file = "../secret"')
    config = load_config(NodeConfig, tmp_path / "node.toml")
    assert config.data_dir == str(tmp_path / "data")
    assert config.cluster_secret_file == str(tmp_path / "../secret")


def test_no_data_dir_stays_none(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(MINIMAL.replace('"data"', '""'))
    assert load_config(NodeConfig, tmp_path / "node.toml").data_dir == ""


def test_a_message_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load_config(NodeConfig, tmp_path / "absent.toml")
    (tmp_path / "node.toml").write_text("x")
    with pytest.raises(ConfigError, match=r"node\.toml: not TOML"):
        load_config(NodeConfig, tmp_path / "node.toml")


def test_secrets(tmp_path: Path) -> None:
    config = parse_config(NodeConfig, MINIMAL)
    assert config.secret() == b""
    assert msgspec.structs.replace(config, cluster_secret="0123456789abcdef").secret() == b"0123456789abcdef"
    with pytest.raises(ConfigError, match="cluster_secret has 5 bytes; it must have at least 16"):
        msgspec.structs.replace(config, cluster_secret="short").secret()
    (tmp_path / "secret").write_text("from the file, and long enough\n")
    by_file = msgspec.structs.replace(config, cluster_secret_file=str(tmp_path / "secret"))
    assert by_file.secret() == b"from the file, and long enough"
    with pytest.raises(ConfigError, match="absent"):
        msgspec.structs.replace(config, cluster_secret_file=str(tmp_path / "absent")).secret()


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:-1", "host:65536", "host:1x", "::1:80", "host:١"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        parse_address(text)


def test_good_addresses() -> None:
    assert parse_address("127.0.0.1:7100") == ("127.0.0.1", 7100)
    assert parse_address("[::1]:0") == ("::1", 0)


names = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
peers = st.builds(PeerConfig, http=st.just("a:1"), rpc=st.just("b:2"), peer=st.just("c:3"), incarnation=texts)


@given(st.dictionaries(names, peers, max_size=4), texts, texts, st.lists(texts, max_size=3))
@settings(max_examples=60, deadline=None)
def test_writing_is_the_inverse_of_reading(
    others: dict[str, PeerConfig], data_dir: str, secret: str, members: list[str]
) -> None:
    config = msgspec.structs.replace(
        parse_config(NodeConfig, MINIMAL),
        peers=others,
        data_dir=data_dir,
        cluster_secret=secret,
        bootstrap=BootstrapConfig(metadata_members=tuple(members)),
    )
    assert parse_config(NodeConfig, dump_config(config)) == config


plain = st.one_of(st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False), texts)
tables = st.recursive(
    st.dictionaries(texts, st.one_of(plain, st.lists(plain, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_any_document_survives(document: dict[str, object]) -> None:
    assert tomllib.loads(toml.dumps(document)) == document


def test_what_toml_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml.dumps({"a": None})


def test_a_node_may_dial_another_elsewhere_than_where_that_listens() -> None:
    config = parse_config(NodeConfig, MINIMAL + '[dial.n1]\npeer = "127.0.0.1:9"\n[dial.n2]\nrpc = "127.0.0.1:8"\n')
    assert [config.peer_address(node, "a:1") for node in ("n1", "n2", "n3")] == ["127.0.0.1:9", "a:1", "a:1"]
    assert config.rpc_overrides() == {"n2": "127.0.0.1:8"}
    assert parse_config(NodeConfig, dump_config(config)) == config


def test_an_address_to_dial_is_an_address() -> None:
    with pytest.raises(ConfigError, match=r"dial\.n1\.rpc: not host:port"):
        parse_config(NodeConfig, MINIMAL + '[dial.n1]\nrpc = "nowhere"\n')
