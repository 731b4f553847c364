"""What writers were told, and whether the cluster still agrees with it. Pure.

Every key has one writer, which writes one value at a time and never the same number twice. So each value that is ever
found names the attempt that brought it, and there are four ways for an attempt to end:

    acknowledged   with a version: from now on this value is there, or a later one
    refused        by a definite error: it had no effect and never will
    unknown        a time-out, a lost connection, `outcome_unknown`: it may take effect once, now or later
    unanswered     as unknown, since the drill ended first

A key must hold the newest acknowledged value under the very version that was acknowledged, or the value of an attempt
of unknown outcome under a newer version. Anything else is a violation, and says which:

    lost           acknowledged, and gone, or an older state is back
    refused-write  a value that was refused is there after all
    repeated       the acknowledged value stands under another version: the write was executed twice
    foreign        a value that nobody wrote
    reordered      versions of one key went back from one acknowledgement to the next
    same-version   two acknowledgements carry one version
    disagreement   two nodes show different states of a key at rest
    misjudged      a condition that held was answered as one that did not

Three kinds of attempts beside plain writes:

*Removals.* The last thing that happens to a key, and only where its value was acknowledged. An acknowledged removal
makes "nothing there" the newest state; one of unknown outcome makes it an allowed one.

*Compare-and-set*, on the newest acknowledged version. Nobody else writes the key, so a refusal is a read: the version
that it names must be newer than the expected one and come from an attempt of unknown outcome.

*Increments*, all by one. An attempt brings no value of its own, so a counter is judged by bounds: it rises from one
acknowledgement to the next, never falls below the newest acknowledged count, and never exceeds the attempts that were
acknowledged or of unknown outcome.

Policies of namespaces have no versions. There the value of an unknown attempt counts only if that attempt came after
the newest acknowledged one: without versions an older one cannot be told from a loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from raftcache.commands.types import Version

VIOLATIONS_SHOWN = 20
"""Of each kind; a broken cluster would break the report as well."""


class Outcome(Enum):
    """How an attempt ended."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Found(NamedTuple):
    """What a read brought. `version` is None where the thing read has none."""

    value: int
    version: Version | None


class Violation(NamedTuple):
    """A broken promise; `text` is for people."""

    kind: str
    key: str
    text: str


@dataclass(slots=True)
class _History:
    """`newest` of an acknowledged removal holds the removal's number. `counts`: the key is a counter."""

    counts: bool = False
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    removals: set[int] = field(default_factory=set)
    newest: Found | None = None


class Ledger:
    """All attempts on all keys. A key's attempts must come with growing values."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._histories: dict[str, _History] = {}
        self._owners: dict[Version, str] = {}
        self._counted: Counter[Outcome] = Counter()

    # -- while the writers write -----------------------------------------------------------------

    def begin(self, key: str, value: int, *, removes: bool = False, counts: bool = False) -> None:
        """An attempt is about to be sent. Raises ValueError where the value is not greater than all before it.

        `removes`: it removes the key, whose value must be `certain` (ValueError otherwise).
        `counts`: it adds one to the counter `key`, and `value` only numbers the attempt.
        """
        history = self._histories.setdefault(key, _History(counts))
        if history.outcomes and value <= next(reversed(history.outcomes)):
            raise ValueError(f"{key}: {value} is not greater than the value before it")
        if removes:
            if not self.certain(key):
                raise ValueError(f"{key}: only what is certain may be removed")
            history.removals.add(value)
        history.outcomes[value] = Outcome.UNKNOWN
        self._counted[Outcome.UNKNOWN] += 1

    def newest(self, key: str) -> Found | None:
        """The newest acknowledged value; None where there is none, or where it was removed."""
        history = self._histories.get(key)
        if history is None or history.newest is None or history.newest.value in history.removals:
            return None
        return history.newest

    def certain(self, key: str) -> bool:
        """Whether the last attempt brought a value and was acknowledged: so that stands there, and nothing else can."""
        newest = self.newest(key)
        return newest is not None and next(reversed(self._histories[key].outcomes)) == newest.value

    def acknowledged(self, key: str, value: int, version: Version | None, count: int | None = None) -> None:
        """The attempt was acknowledged; `count` is what a counter stood at afterwards."""
        history = self._histories[key]
        self._end(history, value, Outcome.ACKNOWLEDGED)
        if version is not None:
            self._check_version(key, history.newest, version)
        found = Found(value if count is None else count, version)
        if count is not None:
            self._check_count(key, history, found)
        history.newest = found

    def missed(self, key: str) -> None:
        """A removal was acknowledged, and said that nothing was there: but the value was certain."""
        self._report("lost", key, "acknowledged, and not there any more when it was removed")

    def refused(self, key: str, value: int) -> None:
        """The attempt was answered by a definite error, or could not be sent."""
        self._end(self._histories[key], value, Outcome.REFUSED)

    def conflicted(self, key: str, value: int, current: Version | None) -> None:
        """A compare-and-set on the newest acknowledged version was refused: another one stands there."""
        history = self._histories[key]
        self._end(history, value, Outcome.REFUSED)
        expected = history.newest.version if history.newest is not None else None
        if current == expected:
            self._report("misjudged", key, f"{expected} was expected and stood there, and yet the write was refused")
        elif current is None or expected is None or not _newer(current, expected):
            self._report("lost", key, f"acknowledged as {expected}; a compare-and-set found {current}")
        elif Outcome.UNKNOWN not in history.outcomes.values():
            self._report("foreign", key, f"acknowledged as {expected}; nobody wrote {current}")

    def _end(self, history: _History, value: int, outcome: Outcome) -> None:
        self._counted[history.outcomes[value]] -= 1
        self._counted[outcome] += 1
        history.outcomes[value] = outcome

    def _check_version(self, key: str, before: Found | None, version: Version) -> None:
        owner = self._owners.setdefault(version, key)
        if owner != key or (before is not None and before.version == version):
            self._report("same-version", key, f"{version} was acknowledged before, for {owner}")
        elif before is not None and before.version is not None and not _newer(version, before.version):
            self._report("reordered", key, f"{version} was acknowledged after {before.version}")

    def _check_count(self, key: str, history: _History, found: Found) -> None:
        most, before = _most(history), history.newest
        if found.value > most:
            self._report("repeated", key, f"{_text(found)} was acknowledged, after {most} attempts at most")
        elif before is not None and found.value <= before.value:
            self._report("lost", key, f"{_text(found)} was acknowledged after {_text(before)}")

    # -- afterwards ------------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        """Every key that was attempted."""
        return list(self._histories)

    def counts(self) -> dict[str, int]:
        """How many attempts ended in which way."""
        return {outcome.value: self._counted[outcome] for outcome in Outcome}

    def check(self, reads: Mapping[str, Mapping[str, Found]]) -> list[Violation]:
        """Every violation, those seen on the way first. `reads` is what each node shows, by node and key, at rest."""
        first, shown = next(iter(reads.items()))
        for key, history in self._histories.items():
            for node, found in reads.items():
                if found.get(key) != shown.get(key):
                    text = f"{first} shows {_text(shown.get(key))}, {node} shows {_text(found.get(key))}"
                    self._report("disagreement", key, text)
            self._check_key(key, history, shown.get(key))
        return self.violations

    def _check_key(self, key: str, history: _History, found: Found | None) -> None:
        kind = (_verdict_of_counter if history.counts else _verdict)(history, found)
        if kind is not None:
            outcomes = ", ".join(f"{value}: {outcome.value}" for value, outcome in _last(history))
            newest = f"acknowledged {_text(history.newest)}" if history.newest is not None else "never acknowledged"
            self._report(kind, key, f"{newest}; found {_text(found)}; its last attempts: {outcomes}")

    def _report(self, kind: str, key: str, text: str) -> None:
        self.violations.append(Violation(kind, key, text))


def _verdict(history: _History, found: Found | None) -> str | None:
    """The kind of violation, or None where what was found is allowed."""
    newest = history.newest
    if found is None:
        return None if newest is None or _may_be_removed(history, newest) else "lost"
    outcome = history.outcomes.get(found.value)
    if outcome is None or found.value in history.removals:
        return "foreign"
    if outcome is Outcome.REFUSED:
        return "refused-write"
    if newest is None:
        return None
    if found.value == newest.value:
        return None if found.version == newest.version else "repeated"
    if outcome is Outcome.UNKNOWN and _supersedes(found, newest):
        return None
    return "lost"


def _may_be_removed(history: _History, newest: Found) -> bool:
    """Whether a removal was acknowledged, or came after the newest acknowledged value and may have taken effect."""
    return newest.value in history.removals or any(
        history.outcomes[value] is Outcome.UNKNOWN for value in history.removals
    )


def _verdict_of_counter(history: _History, found: Found | None) -> str | None:
    newest = history.newest
    if found is None:
        return None if newest is None else "lost"
    if found.value > _most(history):
        return "repeated"
    if newest is None or found == newest or (found.value > newest.value and _supersedes(found, newest)):
        return None
    return "lost"


def _most(history: _History) -> int:
    """The highest count that the attempts so far can have brought about."""
    return sum(outcome is not Outcome.REFUSED for outcome in history.outcomes.values())


def _supersedes(found: Found, newest: Found) -> bool:
    """Whether `found`, of unknown outcome, may stand where `newest` was acknowledged."""
    if found.version is None or newest.version is None:
        return found.value > newest.value
    return _newer(found.version, newest.version)


def _newer(version: Version, than: Version) -> bool:
    """Order within a shard. A key never leaves its shard during a drill."""
    return version.shard == than.shard and (version.term, version.seq) > (than.term, than.seq)


def _text(found: Found | None) -> str:
    if found is None:
        return "nothing"
    return str(found.value) if found.version is None else f"{found.value} as {found.version}"


def _last(history: _History, count: int = 5) -> list[tuple[int, Outcome]]:
    return list(history.outcomes.items())[-count:]


def shown_violations(violations: list[Violation]) -> Iterator[Violation]:
    """At most `VIOLATIONS_SHOWN` of each kind."""
    seen: Counter[str] = Counter()
    for violation in violations:
        seen[violation.kind] += 1
        if seen[violation.kind] <= VIOLATIONS_SHOWN:
            yield violation
