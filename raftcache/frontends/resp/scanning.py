"""SCAN, KEYS, DBSIZE, RANDOMKEY, and FLUSHDB: commands about all keys, of all namespaces, over all shards.

Shards are gone through in the order of their lowest slots, and each page by page. A cursor is the slot from which the
next shard is looked for, and the page there: `(page << 14 | slot) + 1`, so that 0 is left for beginning and end. It
says nothing about this process, so any may go on with it, and nothing is kept for scans that nobody ends.

A key that is there from the first call to the last is told of, and none twice, as long as no slot moves. COUNT is how
many keys are looked at, at least, where there are so many: a page is told of as a whole, and one call asks one shard.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from raftcache.commands.types import SCAN_LIMIT, SCAN_PAGES, SLOT_LIMIT, Failure, Reply, Scan, Scanned
from raftcache.errors import RaftcacheError
from raftcache.frontends.resp.encoding import OK, array_head, bulk, integer, null
from raftcache.frontends.resp.failures import line_of
from raftcache.frontends.resp.glob import matcher
from raftcache.frontends.resp.replying import error_bytes
from raftcache.frontends.resp.spec import SYNTAX, Args, Refused, wrong_arity
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import REQUEST_TIMEOUT_S, Client, Front

SLOT_BITS = 14
COUNT_DEFAULT = 10
KEYS_LIMIT = 100_000
KEYS_LIMIT_BYTES = 16 << 20
"""What KEYS answers at most. Who has more should use SCAN."""
COUNT_TIMEOUT_S = 0.25
"""How long INFO waits for what shards count. Clients send it to learn whether there is anybody, and mostly could do
without the figure."""
FLUSH_TIMEOUT_S = 10.0
"""Shards confirm an invalidation about a second after an election."""
INVALID_CURSOR = "ERR invalid cursor"

T = TypeVar("T")

Done = Callable[[bytes], None]
Unanswered = Callable[[Failure], None]
Counts = Callable[[int, int], None]
"""`counts(keys, expiring)`."""
Page = Callable[[Scanned, int | None], None]
"""`page(found, cursor)`: keys, and where to go on, None for nowhere."""


def cursor_of(slot: int, page: int) -> int:
    """The cursor that goes on at the first shard from `slot`, at `page` there."""
    return (page << SLOT_BITS | slot) + 1


def place_of(cursor: int) -> tuple[int, int]:
    """The slot and the page of a cursor; 0 is the beginning. Raises Refused."""
    if not 0 <= cursor < cursor_of(0, SCAN_PAGES):
        raise Refused(INVALID_CURSOR)
    return (cursor - 1 & SLOT_LIMIT, cursor - 1 >> SLOT_BITS) if cursor else (0, 0)


def first_slots(document: dict[str, Any]) -> list[int]:
    """Of `GET /v1/cluster`: the lowest slot of each shard, in order."""
    return sorted(min(first for first, _ in shard["slots"]) for shard in document["shards"] if shard["slots"])


class Walk:
    """Asks shards for keys: on a cluster port those that this node leads, for clients ask every node there. `failed`
    gets what was not answered."""

    def __init__(self, front: Front, failed: Unanswered, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._front, self._failed, self._timeout_s = front, failed, timeout_s
        topology = front.topology
        own = topology.own_slots() if topology is not None else None
        self.slots = first_slots(front.backend.cluster()) if own is None else own

    def step(self, cursor: int, count: int, then: Page) -> None:
        """Some keys from `cursor` on."""
        slot, page = place_of(cursor)
        own = next((first for first in self.slots if first >= slot), None)
        if own is None:
            return then(Scanned((), None, 0), None)
        page = page if own == slot else 0
        deadline = self._front.runtime.now() + self._timeout_s
        self._front.backend.execute(Scan(own, page, count), deadline, partial(self._answered, own, then))

    def _answered(self, slot: int, then: Page, reply: Reply) -> None:
        if not isinstance(reply, Scanned):
            assert isinstance(reply, Failure), "a scan is answered by Scanned or a Failure"
            return self._failed(reply)
        if reply.next_page is not None:
            return then(reply, cursor_of(slot, reply.next_page))
        later = next((first for first in self.slots if first > slot), None)
        then(reply, None if later is None else cursor_of(later, 0))


def refusing(front: Front, done: Done) -> Unanswered:
    """Answers a client with the error of what was not answered."""
    return lambda failure: done(error_bytes(front, line_of(failure, front.is_cluster)))


def scan(front: Front, client: Client, args: Args, done: Done) -> None:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]."""
    if not args[1].isdigit() or len(args[1]) > 20:
        raise Refused(INVALID_CURSOR)
    options = _options(args[2:])
    matches, count = matcher(options.get(b"MATCH", b"*")), number(options.get(b"COUNT", b"%d" % COUNT_DEFAULT))
    if count < 1:
        raise Refused(SYNTAX)
    is_wanted = options.get(b"TYPE", b"string").lower() == b"string"

    def told(found: Scanned, cursor: int | None) -> None:
        keys = [key for key in found.keys if matches(key)] if is_wanted else []
        done(b"".join([array_head(2), bulk(b"%d" % (cursor or 0)), array_head(len(keys)), *map(bulk, keys)]))

    Walk(front, refusing(front, done)).step(int(args[1]), min(count, SCAN_LIMIT), told)


def _options(words: Args) -> dict[bytes, bytes]:
    names = [word.upper() for word in words[::2]]
    if len(words) % 2 or not {b"MATCH", b"COUNT", b"TYPE"}.issuperset(names):
        raise Refused(SYNTAX)
    return dict(zip(names, words[1::2], strict=True))


def keys(front: Front, client: Client, args: Args, done: Done) -> None:
    """KEYS pattern."""
    matches, found, walk = matcher(args[1]), list[bytes](), Walk(front, refusing(front, done))
    size = 0

    def told(some: Scanned, cursor: int | None) -> None:
        nonlocal size
        fitting = [key for key in some.keys if matches(key)]
        found.extend(fitting)
        size += sum(map(len, fitting))
        if len(found) > KEYS_LIMIT or size > KEYS_LIMIT_BYTES:
            limits = f"{KEYS_LIMIT} keys and {KEYS_LIMIT_BYTES} bytes"
            return done(error_bytes(front, f"ERR KEYS: more than the limit of {limits}; use SCAN"))
        if cursor is None:
            return done(b"".join([array_head(len(found)), *map(bulk, found)]))
        front.runtime.call_soon(lambda: walk.step(cursor, SCAN_LIMIT, told))

    walk.step(0, SCAN_LIMIT, told)


def dbsize(front: Front, client: Client, args: Args, done: Done) -> None:
    """DBSIZE."""
    count(front, lambda keys, _expiring: done(integer(keys)), refusing(front, done), REQUEST_TIMEOUT_S)


def count(front: Front, counted: Counts, failed: Unanswered, timeout_s: float) -> None:
    """How many keys there are, and how many of them have a time to live. One of the two callbacks is called, once."""
    walk = Walk(front, _once(failed), timeout_s)
    keys, expiring, missing = 0, 0, len(walk.slots)

    def told(found: Scanned, _cursor: int | None) -> None:
        nonlocal keys, expiring, missing
        keys, expiring, missing = keys + found.size, expiring + found.expiring, missing - 1
        if not missing:
            counted(keys, expiring)

    for slot in walk.slots:
        walk.step(cursor_of(slot, 0), 0, told)
    if not walk.slots:
        counted(0, 0)


def _once(done: Callable[[T], None]) -> Callable[[T], None]:
    """For several questions at once: only the first answer counts, which is the first that failed, or the whole."""
    answers = list[T]()

    def answer(data: T) -> None:
        answers.append(data)
        if len(answers) == 1:
            done(data)

    return answer


def randomkey(front: Front, client: Client, args: Args, done: Done) -> None:
    """RANDOMKEY: of the first page that has any from a random one on, around all shards. Where keys are few that
    favours those behind a gap."""
    walk, dice = Walk(front, refusing(front, done)), front.runtime.random
    if not walk.slots:
        return done(null(client.resp3))
    start = cursor_of(dice.choice(walk.slots), dice.randrange(SCAN_PAGES))
    around = False

    def told(found: Scanned, cursor: int | None) -> None:
        nonlocal around
        if found.keys:
            return done(bulk(dice.choice(found.keys)))
        if cursor is None and around:
            return done(null(client.resp3))
        around |= cursor is None
        front.runtime.call_soon(lambda: walk.step(cursor or 0, 1, told))

    walk.step(start, 1, told)


def flush(front: Front, client: Client, args: Args, done: Done) -> None:
    """FLUSHDB [ASYNC | SYNC], FLUSHALL [ASYNC | SYNC]: all keys of all namespaces are dropped, and no policy. Answered
    when no reader sees any of them; memory comes back in the background, whatever is asked."""
    if len(args) > 2:
        raise wrong_arity(args[0].decode(errors="replace").lower()[:16])
    if len(args) == 2 and args[1].upper() not in (b"ASYNC", b"SYNC"):
        raise Refused(SYNTAX)
    names = list(front.backend.namespaces().by_name)
    answer, missing = _once(done), len(names)

    def dropped(error: RaftcacheError | None) -> None:
        nonlocal missing
        missing -= 1
        if error is not None:
            answer(error_bytes(front, type(error).to_resp(str(error), front.is_cluster)))
        elif not missing:
            answer(OK)

    for name in names:
        front.backend.invalidate_namespace(name, front.runtime.now() + FLUSH_TIMEOUT_S, dropped)
    if not names:
        answer(OK)
