"""The command line of the drill: defaults, limits, and that every scenario has its name in the help."""

from __future__ import annotations

import pytest

from jepsen_like.failover import CRASH_ROUNDS, EPILOG, KEYS, KEYS_IN_ALL, ROUNDS, parse
from jepsen_like.scenarios import SCENARIOS


def test_crash_alone_has_more_rounds() -> None:
    assert parse(["crash"]).rounds == CRASH_ROUNDS == 200
    assert [parse([name]).rounds for name in ("shard", "all")] == [ROUNDS, ROUNDS]
    assert parse(["crash", "--rounds", "3"]).rounds == 3


def test_all_together_take_fewer_keys() -> None:
    assert (parse(["empty-disk"]).keys, parse([]).keys) == (KEYS, KEYS_IN_ALL)
    assert parse(["all", "--keys", "7"]).keys == 7


def test_a_seed_is_kept_and_made_where_none_is_given() -> None:
    assert parse(["crash", "--seed", "7"]).seed == 7
    assert isinstance(parse(["crash"]).seed, int)


@pytest.mark.parametrize(
    "words", ["--rounds 0", "--rounds 1001", "--seed -1", "--keys 0", "--ack primary", "nothing", "--seed 4294967296"]
)
def test_what_is_out_of_bounds_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse(words.split())
    assert refusal.value.code == 2 and words.split()[-1] in capsys.readouterr().err


def test_the_help_names_every_scenario() -> None:
    assert all(f"\n  {name} " in EPILOG for name in SCENARIOS)
