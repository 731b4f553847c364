"""The register: what a key of the cache is to a linearizability checker.

Its state is a value and, where the history knows it, the version under which it stands. Where there are no versions, as
in the logs of etcd, the value alone counts: `nil` is no value.

A version belongs to one effect for ever, so it is worth more than a value: a read that carries one says which write it
saw. There are three sorts:

    owned    a completed write carries it: the state has it from that write on, and never again afterwards
    found    no completed write carries it, but an answer does: it is that of a write of unknown outcome. Such a write
             has no version until a found one is *pinned* to it, by the first answer that carries it; and each found
             version can be pinned once
    unseen   no answer but the write's own carries it: all of these are the same to everybody

A value without a version may have any found one until it is pinned, so nothing contradicts it by a version before that.
That may hide a broken promise where answers of writes lack their versions, and never makes one up.

In the same way all values that nobody ever read or expected are one value, `OTHER`.

Values are compared as JSON text, so that 1, "1" and true are three values, and any value is hashable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from jepsen_like.checkers.acts import Label

_text = msgspec.json.encode

ABSENT = b"null"
ANYTHING = b"*"
"""In what is wanted: whatever value. No JSON text is this, or `OTHER`."""
OTHER = b"?"
VALUE, VERSION = "value", "version"
UNSEEN = "-"
"""A version that nobody will ask for."""


def value_of(value: Any) -> bytes:
    """A value as the model compares it. None is no value."""
    return _text(value)


class Want(NamedTuple):
    """What must stand there: this value under this version, where "" is any; or, with `differs`, anything else."""

    value: bytes
    version: str = ""
    differs: bool = False


PRESENT = Want(ABSENT, differs=True)
NEVER = Want(ANYTHING, differs=True)


class Put(NamedTuple):
    """What is set. The version is "" where it is not known."""

    value: bytes
    version: str = ""


class Deed(NamedTuple):
    """One operation: a condition or an observation, and an effect."""

    wants: Want | None = None
    puts: Put | None = None


class State(NamedTuple):
    """What stands there, and a set of bits of the found versions that are pinned."""

    value: bytes = ABSENT
    version: str = ""
    pinned: int = 0


class Register:
    """A model (`acts.Model`), made for the deeds of one key: `deeds` are theirs in the same order, simplified."""

    initial = State()

    def __init__(self, deeds: Sequence[tuple[Deed, bool]]) -> None:
        """`deeds`: each with whether its outcome is known. What `plain` and `deeds` have of them afterwards means the
        same to the model; in `deeds` those are equal that nobody can tell apart."""
        self._owned = _owned([deed for deed, known in deeds if known])
        self._some_untold = any(deed.puts and not deed.puts.version and deed.puts.value != ABSENT for deed, _ in deeds)
        self._found_values = self._values_of_found([deed for deed, known in deeds if known])
        self.plain = [deed._replace(wants=self._named(deed.wants)) for deed, _ in deeds]
        found = {deed.wants.version for deed in self.plain if deed.wants is not None} - self._owned.keys() - {""}
        self._bits = {version: 1 << place for place, version in enumerate(sorted(found))}
        self.deeds = list(map(_Simplifier(deed.wants for deed in self.plain if deed.wants is not None), self.plain))
        self._index_open({deed for deed, (_, known) in zip(self.deeds, deeds, strict=True) if not known})

    def _values_of_found(self, deeds: Iterable[Deed]) -> dict[str, bytes]:
        wants = [deed.wants for deed in deeds if deed.wants is not None and not deed.wants.differs]
        return {want.version: want.value for want in reversed(wants) if want.value != ANYTHING}

    def _named(self, want: Want | None) -> Want | None:
        """With the value of its version filled in.

        A version of which nobody ever saw the value can be that of any write that was not told its own. It is taken
        to say no more than that something is there: that may hide a broken promise, and never makes one up.
        """
        if want is None or want.differs or want.value != ANYTHING:
            return want
        value = self._owned.get(want.version) or self._found_values.get(want.version)
        if value is not None:
            return want._replace(value=value)
        return PRESENT if self._some_untold else NEVER

    def _index_open(self, deeds: set[Deed]) -> None:
        useful = sorted((deed for deed in deeds if deed.puts is not None), key=repr)
        self._open = useful
        self._open_by_value: dict[bytes, list[Deed]] = {}
        for deed in useful:
            assert deed.puts is not None
            self._open_by_value.setdefault(deed.puts.value, []).append(deed)

    # -- what the search asks --------------------------------------------------------------------

    def step(self, state: State, deed: Deed) -> State | None:
        """See `acts.Model`."""
        wants, puts = deed
        then: State | None = state if wants is None else self._meet(state, wants)
        if then is None or puts is None:
            return then
        return State(puts.value, puts.version, then.pinned)

    def _meet(self, state: State, want: Want) -> State | None:
        if want.differs:
            same = want.value in (ANYTHING, state.value) and want.version in ("", state.version)
            return None if same else state
        if want.value != state.value:
            return None
        if want.version in ("", state.version):
            return state
        return self._pin(state, want.version)

    def _pin(self, state: State, version: str) -> State | None:
        bit = self._bits.get(version)
        if bit is None or state.version or state.pinned & bit:
            return None
        return State(state.value, version, state.pinned | bit)

    def changes(self, deed: Deed) -> bool:
        """See `acts.Model`."""
        return deed.puts is not None

    def free(self, deed: Deed) -> bool:
        """See `acts.Model`."""
        return deed.wants is None

    def exact(self, deed: Deed) -> bool:
        """See `acts.Model`."""
        return deed.wants is not None and not deed.wants.differs

    def enabling(self, deed: Deed) -> Sequence[Deed]:
        """See `acts.Model`. No open write ends under a version that a completed one owns."""
        if deed.wants is None:
            return ()
        if deed.wants.differs:
            return self._open
        return () if deed.wants.version in self._owned else self._open_by_value.get(deed.wants.value, ())

    def labels(self, state: State) -> Sequence[Label]:
        """See `acts.Model`."""
        return _labels(state.value, state.version)

    def needs(self, deed: Deed) -> Label | None:
        """See `acts.Model`."""
        if deed.wants is None or deed.wants.differs:
            return None
        return Label(VERSION, deed.wants.version) if deed.wants.version else Label(VALUE, deed.wants.value)

    def gives(self, deed: Deed) -> Sequence[Label]:
        """See `acts.Model`. A found version is given by nobody: it does not come back."""
        return () if deed.puts is None else _labels(*deed.puts)


def _labels(value: bytes, version: str) -> Sequence[Label]:
    return (Label(VALUE, value), Label(VERSION, version)) if version else (Label(VALUE, value),)


def _owned(deeds: Iterable[Deed]) -> dict[str, bytes]:
    return {deed.puts.version: deed.puts.value for deed in deeds if deed.puts is not None and deed.puts.version}


class _Simplifier:
    """Makes deeds equal that nobody can tell apart."""

    def __init__(self, wants: Iterable[Want]) -> None:
        wanted = list(wants)
        self._values = {want.value for want in wanted} | {ABSENT}
        self._versions = {want.version for want in wanted}

    def __call__(self, deed: Deed) -> Deed:
        if deed.puts is None:
            return deed
        if self._versions <= {""} and deed.wants == Want(deed.puts.value):
            return Deed(deed.wants)
        value, version = deed.puts
        value = value if value in self._values else OTHER
        return Deed(deed.wants, Put(value, version if version in self._versions or not version else UNSEEN))
