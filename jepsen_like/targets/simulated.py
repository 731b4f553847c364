"""The simulation as a cluster under test: real node code under a virtual clock, asked as a client over HTTP would be.

A client is a process of its own beside the nodes. A request to a node that does not run, or that is cut off from the
clients, is refused, as a connection would be; one to a node that stops, or is cut off, before it has answered ends as
unknown, at once where the connection would break, else at the time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jepsen_like.asking import Completion, Request
from jepsen_like.targets.commands import command_of, completion_of, error_completion, failed, namespace_of, whole_key
from raftcache.commands.policy import DEFAULT
from raftcache.commands.types import Failure, Receipt, Reply, Version
from raftcache.errors import RaftcacheError
from raftcache.frontends.backend import LostReport, PolicyWritten
from raftcache.testing.cluster import SimCluster, SimProcess

Done = Callable[[Completion], None]
CLIENT_DELAY_S = (0.0002, 0.002)
"""The way between a client and a node, one way."""
BREAK_S = 0.05
"""After this time a client hears that the process which it waits for has ended."""
MARGIN_S = 0.1
"""Of a client's time limit, what it leaves the node for its answer to come back."""


class SimTarget:
    """A running `SimCluster`, seen by clients."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.cut_off: set[str] = set()
        """Nodes that clients cannot reach."""
        self._began = cluster.loop.time
        self._random = cluster.loop.random

    def nodes(self) -> list[str]:
        """The ids of all nodes."""
        return list(self.cluster.ids)

    def now_ms(self) -> float:
        """Virtual time since the run began."""
        return (self.cluster.loop.time - self._began) * 1000

    def wall_ms(self) -> int:
        """0: there is no wall clock in a run that must be the same each time."""
        return 0

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after that much virtual time."""
        self.cluster.loop.call_later(seconds, action)

    def ask(self, node: str, request: Request, timeout_s: float, done: Done) -> None:
        """See `asking.Target.ask`."""
        process = self.cluster.processes.get(node)
        if process is None or node in self.cut_off:
            self._later(lambda: done(failed("unavailable", f"{node} cannot be reached")))
        else:
            _Call(self, process, request, timeout_s, done).send()

    def _later(self, action: Callable[[], None]) -> None:
        self.later(self._random.uniform(*CLIENT_DELAY_S), action)


class _Call:
    """One request on its way. It is completed once."""

    def __init__(self, target: SimTarget, process: SimProcess, request: Request, timeout_s: float, done: Done) -> None:
        self._target, self._process, self._request, self._timeout_s = target, process, request, timeout_s
        self._done: Done | None = done

    def send(self) -> None:
        """There, and back."""
        self._target.later(self._timeout_s, lambda: self._finish(failed("outcome_unknown", "no answer in time")))
        self._target._later(lambda: self._process.runtime.deliver(self._arrive))
        self._look()

    def _arrive(self) -> None:
        deadline = self._process.runtime.now() + self._timeout_s - MARGIN_S
        _ASKS.get(self._request.name, _execute)(self._process, self._request, deadline, self._answer)

    def _answer(self, completion: Completion) -> None:
        self._target._later(lambda: self._arrived(completion))

    def _arrived(self, completion: Completion) -> None:
        if self._process.runtime.alive and self._process.node_id not in self._target.cut_off:
            self._finish(completion)

    def _look(self) -> None:
        """A connection to a process that has ended breaks."""
        if self._done is None:
            return
        if self._process.runtime.alive:
            self._target.later(BREAK_S, self._look)
        else:
            self._finish(failed("outcome_unknown", f"{self._process.node_id} has ended"))

    def _finish(self, completion: Completion) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(completion)


def _execute(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def replied(reply: Reply) -> None:
        answer(completion_of(request, reply))

    def execute() -> None:
        named_at = 0 if namespace_of(request) == DEFAULT else process.backend.namespaces().epoch
        process.backend.execute(command_of(request, named_at), deadline, replied)

    _with_namespace(process, request, deadline, answer, execute)


def _with_namespace(
    process: SimProcess, request: Request, deadline: float, answer: Done, then: Callable[[], None]
) -> None:
    """As the front ends do: a namespace that this process has not heard of is asked for before it is an error."""
    name = namespace_of(request)
    if name in process.backend.namespaces().by_name:
        then()
        return

    def refreshed(error: RaftcacheError | None) -> None:
        if error is not None:
            answer(error_completion(error))
        elif name in process.backend.namespaces().by_name:
            then()
        else:
            answer(failed("unknown_namespace", f"there is no namespace {name!r}"))

    process.backend.refresh_namespaces(deadline, refreshed)


def _receipt(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def told(found: list[Receipt | Failure]) -> None:
        [item] = found
        if isinstance(item, Failure):
            answer(failed(item.code, item.message))
        else:
            answer(Completion(kind="ok", value=item.fate.name.lower(), details={"durable": item.durable}))

    asked = [(whole_key(request.key), Version.parse(request.value))]
    process.backend.receipts(asked, int(request.details.get("waitMs", 0)), deadline, told)


def _lost_writes(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def told(report: LostReport) -> None:
        details: dict[str, Any] = {"total": report.total, "unreachable": report.unreachable}
        details["truncated"] = report.total > len(report.lost)
        answer(Completion(kind="ok", value=[row.version for row in report.lost], details=details))

    process.backend.lost_writes(request.value, deadline, told)


def _set_namespace(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def told(result: PolicyWritten | RaftcacheError) -> None:
        answer(error_completion(result) if isinstance(result, RaftcacheError) else Completion(kind="ok"))

    process.backend.put_namespace(request.key, request.value, deadline, told)


def _delete_namespace(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def told(error: RaftcacheError | None) -> None:
        answer(Completion(kind="ok") if error is None else error_completion(error))

    process.backend.delete_namespace(request.key, deadline, told)


def _invalidate(process: SimProcess, request: Request, deadline: float, answer: Done) -> None:
    def told(error: RaftcacheError | None) -> None:
        answer(Completion(kind="ok") if error is None else error_completion(error))

    if request.value is None:
        process.backend.invalidate_namespace(request.key, deadline, told)
    else:
        process.backend.invalidate_tag(request.key, request.value, deadline, told)


_ASKS: dict[str, Callable[[SimProcess, Request, float, Done], None]] = {
    "receipt": _receipt,
    "lost-writes": _lost_writes,
    "set-namespace": _set_namespace,
    "delete-namespace": _delete_namespace,
    "invalidate": _invalidate,
}
