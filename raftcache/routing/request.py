"""One command on its way to the leader of one shard, until it is answered.

An *attempt* sends the command to one node: here, where this node serves the shard; else to the leader that the
table names; else to the shard's replicas in turn. A leader that has not heard yet of the namespace which the command
names is asked again after a pause. A replica read goes to this node's replica whether or not that leads,
else to any node that holds one, so that the readers spread; from one that is too old, it goes on as above. A *round*
ends when none is left to try; then the request is parked, until a timer, a newer map or another leader wakes it. What
may be sent again is `retry.may_retry`.

A write with an idempotency key may be sent again after an attempt of unknown outcome. From then on the request is *in
doubt*, and whatever it is refused with ends as `outcome_unknown`. A write whose client gave it none is sent to other
nodes under a *minted* key (`session`), with a number for each of its items; this node's replica mints one where the
write has to wait, and only there. What is in doubt keeps its numbers until it is answered, wherever it goes.

Exactly one of these holds: the request is parked, or one attempt is out, or it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from raftcache.clock import Handle
from raftcache.commands.types import Failure, Minted, MintedKey, Reply, failure_of
from raftcache.errors import NoLeader, NotFollowing, OutcomeUnknown, TooStale, WrongShard
from raftcache.routing.retry import (
    any_replica_serves,
    cleared_of_doubt,
    is_read,
    is_repeatable,
    may_retry,
    takes_minted_key,
)

if TYPE_CHECKING:
    from raftcache.routing.dispatcher import Dispatcher
    from raftcache.routing.map import ShardMap

_TELLING: Final = frozenset({TooStale.code, NotFollowing.code})
"""Failures that say more than that nobody answered, where the deadline finds them to be the last."""


class Request:
    """A single-key command; subclasses route other things.

    `done` never goes back to false, and `_reply` is called exactly when it turns true.
    """

    __slots__ = (
        "_attempt", "_dispatcher", "_in_doubt", "_last_word", "_numbered_at", "_numbers", "_reply", "_sent_node",
        "_sent_term", "_tried",
        "command", "deadline", "done", "epoch", "key", "out", "rounds", "seen_leader", "shard_id", "timer",
    )  # fmt: skip

    def __init__(
        self,
        dispatcher: Dispatcher,
        command: Any,
        key: bytes,
        deadline: float,
        reply: Callable[[Reply], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._reply = reply
        self._tried: dict[str, int] | None = None
        self._attempt = 0
        self._in_doubt = False
        self._numbers: tuple[int, ...] = ()
        self._numbered_at = ""
        self._sent_node, self._sent_term = "", 0
        self._last_word: Failure | None = None
        self.command = command
        self.key = key
        self.deadline = deadline
        self.done = False
        self.out = False
        self.epoch = -1
        self.rounds = 0
        self.shard_id: str | None = None
        self.seen_leader: object = None
        self.timer: Handle | None = None

    def attempt(self) -> None:
        """Send to this node or to another, or park where there is nobody to send to.

        Not after the deadline: a process that was paused finds its old requests due when it goes on, and a write
        sent then would undo what its client has done since it gave up.
        """
        dispatcher = self._dispatcher
        if self._attempt and self._is_late():
            return self.expire()
        routes = dispatcher.map
        self._attempt += 1
        self.epoch = routes.epoch
        self.shard_id = shard_id = self._shard_by(routes)
        if shard_id is None:
            dispatcher.view.refresh()
            return self._park()
        if dispatcher.joining.is_asking and self._has_to_stand_in_line(shard_id):
            return
        replica = dispatcher.local(shard_id)
        if (
            replica is None
            or not (replica.serving or any_replica_serves(self.command))
            or self._was_tried(dispatcher.node_id, 0)
        ):
            return self._attempt_elsewhere(shard_id)
        self.out = True
        self._sent_node = dispatcher.node_id
        if self._numbers:
            replica.submit(self._minted(), self.on_reply, self.deadline)
        else:
            replica.submit(self.command, self.on_reply, self.deadline, self.mint)
        if not self.done:
            dispatcher.track(self)

    def _has_to_stand_in_line(self, shard_id: str) -> bool:
        """Whether older writes of this front end come first at the shard (`joining`); then it is in their line."""
        joining = self._dispatcher.joining
        if not joining.stands_before(shard_id) or is_read(self.command):
            return False
        self._dispatcher.track(self)
        joining.line_up(shard_id, self.wake)
        return True

    def _is_late(self) -> bool:
        return self._dispatcher.now() >= self.deadline

    def is_sent_here(self, shard_id: str | None) -> None:
        """The first attempt is out, to the shard's replica on this node."""
        self._attempt, self.out = 1, True
        self.epoch, self.shard_id = self._dispatcher.map.epoch, shard_id
        self._sent_node = self._dispatcher.node_id

    def _shard_by(self, routes: ShardMap) -> str | None:
        """The shard that is to be asked."""
        return routes.shard_of(self.key)

    def on_reply(self, reply: Reply) -> None:
        """The answer of the attempt that is out. One that comes after the deadline was answered for, is dropped."""
        if self.done:
            return
        if type(reply) is Failure:
            if may_retry(reply, self._is_repeatable()):
                return self._failed(reply)
            if self._in_doubt:
                reply = cleared_of_doubt(reply)
        self.finish(reply)

    def finish(self, reply: Reply) -> None:
        """Answer the caller."""
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        self._dispatcher.forget(self)
        if self._numbers:
            self._leave_numbers()
        self._reply(reply)

    def expire(self) -> None:
        """The deadline has come. Only a write of which an attempt is still out, or in doubt, may have had an effect."""
        if self._in_doubt or (self.out and not is_read(self.command)):
            error = OutcomeUnknown("no answer within the deadline: the write may or may not take effect")
            return self.finish(failure_of(error))
        if self._last_word is not None:
            return self.finish(self._last_word)
        where = f"shard {self.shard_id}" if self.shard_id is not None else "the key's slot"
        self.finish(failure_of(NoLeader(f"no leader of {where} answered within the deadline: not executed")))

    def leader_changed(self) -> None:
        """Another leader is known. What waits for an older one, which may hang, and may be repeated, is asked there.

        A replica on this node cannot hang: it answers when it loses its leadership.
        """
        leader = self._dispatcher.view.leaders.get(self.shard_id or "")
        if leader is None or self.done or not self.out or not self._is_repeatable():
            return
        if self._sent_node == self._dispatcher.node_id:
            return
        if leader.term > self._sent_term and leader.node != self._sent_node:
            self._in_doubt |= not is_read(self.command)
            self._dispatcher.retries["leader_changed"] += 1
            self._note_tried()
            self.attempt()

    def wake(self) -> None:
        """Begin the next round."""
        if self.done:
            return
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._dispatcher.unpark(self)
        self.attempt()

    def _attempt_elsewhere(self, shard_id: str) -> None:
        dispatcher = self._dispatcher
        leader = dispatcher.view.leaders.get(shard_id)
        self._sent_term = leader.term if leader is not None else 0
        node = self._next_node(shard_id)
        if node is None:
            return self._park()
        self.out = True
        self._sent_node = node
        dispatcher.track(self)
        this = self._attempt
        command = self._minted() if takes_minted_key(self.command) else self.command
        dispatcher.remote(node, shard_id, self.epoch, command, self.deadline, lambda reply: self._answered(this, reply))

    # Minted keys.

    def mint(self, place: int, has_room: Callable[[bytes], bool]) -> MintedKey | None:
        """The key of the write, or of its item at `place`, for the shard that it is at; None where it has no numbers
        and there is no room for the session."""
        if not self._numbers and not has_room(self._dispatcher.session.id):
            return None
        return self._key(place)

    def _key(self, place: int) -> MintedKey:
        shard_id = self.shard_id
        assert shard_id is not None
        self._hold_numbers(shard_id)
        return self._dispatcher.session.key(shard_id, self._numbers[place])

    def _minted(self) -> Minted:
        """The command under its minted key."""
        key = self._key(0)
        return Minted(self.command, key.session, key.floor, self._numbers, self._in_doubt)

    def _hold_numbers(self, shard_id: str) -> None:
        """Have a number for each item, at this shard. Those of another shard are good here only for what is in doubt:
        this one's floor may be higher."""
        if self._numbers and self._numbered_at == shard_id:
            return
        session, numbers = self._dispatcher.session, self._numbers
        self._leave_numbers()
        if self._in_doubt and numbers:
            for number in numbers:
                session.hold(shard_id, number)
        else:
            numbers = tuple([session.take(shard_id) for _ in range(self._items())])
        self._numbers, self._numbered_at = numbers, shard_id

    def _leave_numbers(self) -> None:
        for number in self._numbers:
            self._dispatcher.session.settle(self._numbered_at, number)
        self._numbers = ()

    def _items(self) -> int:
        """How many numbers the command takes."""
        return 1

    def _is_repeatable(self) -> bool:
        """Whether executing the command, as it was sent, twice is the same as once."""
        return bool(self._numbers) or is_repeatable(self.command)

    def _answered(self, attempt: int, reply: Reply) -> None:
        """Drops what an attempt says that was given up for another: only what may be repeated is given up."""
        if attempt == self._attempt:
            self.on_reply(reply)

    def _next_node(self, shard_id: str) -> str | None:
        """The known leader, else the next replica not tried in this round; never this node, which does not serve."""
        dispatcher = self._dispatcher
        if self._tried is None and any_replica_serves(self.command):
            holders = [node for node in dispatcher.map.nodes_of(shard_id) if node != dispatcher.node_id]
            if holders:
                return dispatcher.chance.choice(holders)
        leader = dispatcher.view.leaders.get(shard_id)
        if leader is not None and leader.node != dispatcher.node_id and not self._was_tried(leader.node, leader.term):
            return leader.node
        for node in dispatcher.map.nodes_of(shard_id):
            if node != dispatcher.node_id and not self._was_tried(node, 0):
                return node
        return None

    def _was_tried(self, node: str, term: int) -> bool:
        """Whether this round tried the node, knowing no older term than `term`."""
        return self._tried is not None and self._tried.get(node, -1) >= term

    def _note_tried(self) -> None:
        self._tried = self._tried or {}
        self._tried[self._sent_node] = self._sent_term

    def _failed(self, failure: Failure) -> None:
        """A failure that may be tried again: heed its hint, and go on."""
        self.out = False
        self._dispatcher.retries[failure.code] += 1
        self._in_doubt |= failure.code == OutcomeUnknown.code and not is_read(self.command)
        self._note_tried()
        self._last_word = failure if failure.code in _TELLING else None
        self._dispatcher.heed(self.shard_id or "", failure)
        if failure.code == NotFollowing.code and not any_replica_serves(self.command):
            return self._park()
        if failure.code != WrongShard.code:
            return self.attempt()
        self._tried = None
        self._dispatcher.view.refresh()
        if self._dispatcher.map.epoch > self.epoch:
            self.attempt()
        else:
            self._park()

    def _park(self) -> None:
        self.out = False
        self._tried = None
        self.rounds += 1
        self.seen_leader = self._dispatcher.view.leaders.get(self.shard_id or "")
        self._dispatcher.park(self)


class SlotRequest(Request):
    """A question to whoever owns the slot that it names."""

    __slots__ = ()

    def _shard_by(self, routes: ShardMap) -> str | None:
        """The shard of the slot, not of a key."""
        return routes.shard_of_slot(self.command.slot)
