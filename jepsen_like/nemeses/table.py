"""All nemeses on real processes, by name."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jepsen_like.nemeses import links
from jepsen_like.nemeses.api import Make
from jepsen_like.nemeses.files import EmptyDisk, FlipLog, FlipSnapshot, TornLog
from jepsen_like.nemeses.links import Links, Where
from jepsen_like.nemeses.majority import MAJORITY_HEALED, MajorityHealed
from jepsen_like.nemeses.plan import ANY, FOLLOWER, HOLD_S, LEADER, METADATA_LEADER, Spec
from jepsen_like.nemeses.processes import Kill, KillAll, Pause, RollingRestart
from jepsen_like.proxy.toxics import CUT, Toxics

ALL_TARGETS = (LEADER, FOLLOWER, ANY, METADATA_LEADER)

Kind = Literal["processes", "links", "files", "liveness"]


class Entry(NamedTuple):
    """A nemesis: `make` gives a fresh one, `targets` are those that the seed may choose from unless one is named."""

    summary: str
    kind: Kind
    make: Make
    targets: tuple[str, ...] = ALL_TARGETS
    hold_s: tuple[float, float] = HOLD_S


def _links(
    name: str, where: Where, summary: str, toxics: Toxics = CUT, targets: tuple[str, ...] = ALL_TARGETS
) -> tuple[str, Entry]:
    return name, Entry(summary, "links", lambda: Links(name, where, toxics), targets)


NEMESES: dict[str, Entry] = dict(
    [
        ("kill", Entry("kill -9 one node, which the supervisor starts again", "processes", Kill)),
        ("kill-all", Entry("kill -9 the whole cluster at one moment", "processes", KillAll, (ANY,))),
        ("pause", Entry("stop one node in its tracks (SIGSTOP)", "processes", Pause)),
        ("rolling-restart", Entry("restart the nodes in turn, in good order", "processes", RollingRestart, (ANY,))),
        _links("partition-one", links.at_one, "cut one node from its peers"),
        _links("partition-leader", links.at_one, "cut a leader from its peers", targets=(LEADER, METADATA_LEADER)),
        _links("partition-halves", links.in_halves, "cut the smaller half from the larger"),
        _links("partition-ring", links.in_a_ring, "each node hears another majority", targets=(ANY,)),
        _links("partition-one-way", links.one_way_at_one, "one node hears nothing from its peers, or is not heard"),
        _links(
            "partition-leader-from-clients",
            links.from_all_clients,
            "cut a leader from the clients, not from its peers",
            targets=(LEADER, METADATA_LEADER),
        ),
        _links("slow", links.at_one, "one node's links with its peers are slow", links.SLOW),
        _links("throttled", links.at_one, "one node's links with its peers carry 64 KB a second", links.THROTTLED),
        _links("lossy", links.at_one, "one node's links stall and break, as TCP does over a lossy wire", links.LOSSY),
        _links("reset", links.at_one_and_its_clients, "reset one node's connections again and again", links.RESETTING),
        _links("sliced", links.at_one_and_its_clients, "what one node sends and gets comes in shreds", links.SLICED),
        ("empty-disk", Entry("one node's folder is removed", "files", EmptyDisk)),
        ("flip-log", Entry("one byte of a log of one node is flipped", "files", FlipLog)),
        ("torn-log", Entry("a log of one node ends in half a record", "files", TornLog)),
        ("flip-snapshot", Entry("one byte of a snapshot of one node is flipped", "files", FlipSnapshot)),
        (
            MAJORITY_HEALED,
            Entry("heal all but a minority, which stays broken", "liveness", MajorityHealed, (ANY,), (8.0, 15.0)),
        ),
    ]
)


def parse_nemeses(text: str) -> list[Spec]:
    """`kill,pause:leader`: names, each with a target or without. Raises ValueError that says what there is."""
    return [_parse(word.strip()) for word in text.split(",") if word.strip()]


def _parse(word: str) -> Spec:
    name, _, target = word.partition(":")
    entry = NEMESES.get(name)
    if entry is None:
        raise ValueError(f"no nemesis {name!r}; there are {', '.join(NEMESES)}")
    if target and target not in ALL_TARGETS:
        raise ValueError(f"{word}: no target {target!r}; there are {', '.join(ALL_TARGETS)}")
    return Spec(name, (target,) if target else entry.targets, entry.hold_s)
