"""Plain writes of one client that wait for the same batch, and are answered together.

A client that sends many writes at once is answered at once, too: when the batch commits in which they were executed. So
those of one batch share a waiter there and a place among the client's replies, and cost little more than writes that
nobody waits for. What may still become of them, where the leader is deposed meanwhile, is a matter for whoever took
them in (`routing.joining`): it knows the version of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from raftcache.commands.types import Reply, Version

JOINT_LIMIT: Final = 256
"""Writes that share one place."""
JOINT_SPAN_S: Final = 0.1
"""The longest between the first and the last of them, for they have one deadline."""

Replies = list[Reply]


@final
class JointWrites:
    """Writes that share a place, in the order executed. It is the waiter in their batch: called once, with what is
    true of each of them, be it a failure.

    `answered` is set by who routes, and gets that call. `tell` is set by who asks, and gets the replies, one for each;
    None where each is committed. `deadline_s`: when it must have been told, at about that. `began_s`: when the first
    was executed.
    """

    __slots__ = ("answered", "batch", "began_s", "deadline_s", "done", "items", "tell")

    def __init__(self, batch: object, began_s: float) -> None:
        self.batch: object = batch
        self.began_s = began_s
        self.items: list[tuple[bytes, bytes, Version]] = []
        """Key, value and version of each."""
        self.answered: Callable[[JointWrites, Reply], None] | None = None
        self.tell: Callable[[Replies | None], None] | None = None
        self.deadline_s = 0.0
        self.done = False

    def takes(self, batch: object, now_s: float) -> bool:
        """Whether a write of that batch may join now. One that came much later would have less time than it is due."""
        fits = self.batch is batch and now_s - self.began_s <= JOINT_SPAN_S and len(self.items) < JOINT_LIMIT
        return fits and not self.done

    def finish(self, replies: Replies | None) -> None:
        """Tell, once, and let go of everything: whoever asked may keep this as its newest for as long as it is there,
        and a batch holds the writes of everybody."""
        if self.done:
            return
        self.done, self.batch = True, None
        tell, self.tell, self.answered = self.tell, None, None
        if tell is not None:
            tell(replies)
        self.items = []

    def __call__(self, reply: Reply) -> None:
        if self.done:
            return
        assert self.answered is not None, "nobody takes the answer"
        self.answered(self, reply)


class Joint:
    """What one client's writes are joined by. `newest` may take another write in; None: the next one needs a place of
    its own, for other replies were asked for since. `timeout_s`: how long they may wait, changes of leaders included.
    """

    __slots__ = ("newest", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.newest: JointWrites | None = None
