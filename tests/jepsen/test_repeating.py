"""The command that a run prints makes the same run again: parsed, it is the same plan."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jepsen_like.cli import run, simulate
from jepsen_like.cli.arguments import ACKS, FSYNCS
from jepsen_like.cli.main import parser
from jepsen_like.history import Header
from jepsen_like.nemeses.table import NEMESES
from jepsen_like.real_plan import RealPlan, header_of
from jepsen_like.repeating import OPTION_FLAGS, PROGRAM, REAL_FLAGS, SIM_FLAGS, replay_command, sim_arguments
from jepsen_like.simulated.faults import FAULTS
from jepsen_like.simulated.run import Plan, draw
from jepsen_like.workloads.registry import WORKLOADS, make
from jepsen_like.workloads.shapes import shapes
from jepsen_like.workloads.workload import Options

bounds = st.none() | st.integers(1, 10_000)
options = st.fixed_dictionaries(
    {},
    optional={
        "ack": st.sampled_from(ACKS),
        "seconds": st.sampled_from([1.0, 2.5, 60.0]),
        "processes": st.integers(1, 200),
        "rate": st.sampled_from([0.5, 5.0, 20.0]),
        "keys": st.integers(0, 100),
        "window": st.fixed_dictionaries({"ms": bounds, "writes": bounds, "bytes": bounds}),
        "shape": st.sampled_from(sorted(shapes())),
        "sticky": st.booleans(),
        "liveness_bound_s": st.sampled_from([2.0, 10.0]),
        "timeout_s": st.sampled_from([0.5, 4.0]),
    },
)
seeds = st.integers(0, 2**32 - 1)


def parsed(command: str) -> argparse.Namespace:
    assert command.startswith(PROGRAM + " ")
    return parser().parse_args(shlex.split(command.removeprefix(PROGRAM)))


def test_every_field_has_its_flag() -> None:
    """A field without one would make a command untrue in silence."""
    assert set(OPTION_FLAGS) == set(Options.__struct_fields__)
    assert set(SIM_FLAGS) == set(Plan.__struct_fields__) - {"workload", "seed", "options", "faults"}
    assert set(REAL_FLAGS) == set(RealPlan.__struct_fields__) - {"workload", "seed", "options", "faults"}


@given(
    seed=seeds,
    changes=options,
    faults=st.lists(st.sampled_from(sorted(NEMESES)), unique=True, max_size=4).map(tuple),
    shape=st.fixed_dictionaries(
        {}, optional={"nodes": st.integers(1, 9), "shards": st.integers(1, 64), "memory": st.booleans()}
    ),
)
def test_a_run_on_processes(seed: int, changes: dict[str, Any], faults: tuple[str, ...], shape: dict[str, Any]) -> None:
    asked = RealPlan(workload="register", seed=seed, options=Options(**changes), faults=faults, **shape)
    header = header_of(asked, make(asked.workload, asked.options), ["a", "b"], "now")
    stored = msgspec.json.decode(msgspec.json.encode(header), type=Header)
    assert run.plan_of(parsed(replay_command(stored))) == asked


@given(
    name=st.sampled_from(sorted(WORKLOADS)),
    seed=seeds,
    changes=options,
    faults=st.none() | st.lists(st.sampled_from(sorted(FAULTS)), unique=True, max_size=4).map(tuple),
    shape=st.fixed_dictionaries(
        {},
        optional={
            "nodes": st.integers(3, 9),
            "shards": st.integers(1, 64),
            "slow_network": st.booleans(),
            "majority_healed": st.booleans(),
            "fsync": st.sampled_from(FSYNCS),
        },
    ),
)
def test_a_simulated_run(
    name: str, seed: int, changes: dict[str, Any], faults: tuple[str, ...] | None, shape: dict[str, Any]
) -> None:
    drawn = draw(name, seed)
    plan = replace(drawn, options=replace(drawn.options, **changes), **shape)
    plan = plan if faults is None else replace(plan, faults=faults)
    options = {"plan": msgspec.to_builtins(plan)}
    header = Header(workload=name, target="simulation", seed=seed, plant="no-undo", options=options)
    args = parsed(replay_command(header))
    assert (args.plant, simulate.plan_of(args, args.workload, args.seed)) == ("no-undo", plan)


def test_what_the_seed_draws_is_not_repeated() -> None:
    assert sim_arguments(draw("register", 7)) == ["replay", "7", "--workload", "register"]


@pytest.mark.parametrize(
    ("header", "command"),
    [
        (
            Header(workload="set", target="processes", seconds=1.5),
            "run --workload set --nemesis none --ack quorum --seconds 1.5 --seed 0",
        ),
        (
            Header(target="processes", workload="set", seed=4, seconds=9, ack="primary", nemeses=["kill", "slow"]),
            "run --workload set --nemesis kill,slow --ack primary --seconds 9 --seed 4",
        ),
        (
            Header(workload="counter", target="simulation", seed=9, plant="no-undo", nemeses=["kill"], ack="primary"),
            "replay 9 --workload counter --plant no-undo",
        ),
    ],
)
def test_a_header_without_its_plan_tells_what_it_can(header: Header, command: str) -> None:
    assert replay_command(header) == f"python -m jepsen_like {command}"


def test_a_command_is_quoted_for_a_shell() -> None:
    command = replay_command(Header(workload="$(rm -rf x)", target="simulation"))
    assert shlex.split(command)[6] == "$(rm -rf x)"
