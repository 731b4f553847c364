"""The watch feed and the view: news at once, silence until the deadline, the higher epoch and term win."""

from __future__ import annotations

import msgspec
from metadata_world import a_cluster

from raftcache.commands.policy import Namespace
from raftcache.errors import BadRequest, Overloaded, Unavailable
from raftcache.metadata import watch as module
from raftcache.metadata.applying import apply
from raftcache.metadata.commands import PutNamespace
from raftcache.metadata.remote_watch import PAUSE_MAX_SECONDS, POLL_SECONDS, RemoteWatch
from raftcache.metadata.state import decode_state
from raftcache.metadata.view import Leader, MetadataView
from raftcache.metadata.watch import WatchHub, WatchRequest, decode_watch_answer, encode_watch
from raftcache.testing.virtual import VirtualRuntime


def _served() -> tuple[VirtualRuntime, MetadataView, WatchHub]:
    runtime = VirtualRuntime()
    view = MetadataView(runtime)
    hub = WatchHub(view, runtime)
    view.update_state(a_cluster())
    return runtime, view, hub


def _next_state(view: MetadataView, name: str = "x"):
    return apply(view.state, PutNamespace(Namespace(name, 0)))[0]


def test_a_view_only_goes_forward():
    runtime = VirtualRuntime()
    view = MetadataView(runtime)
    changes: list = []
    view.subscribe(lambda: changes.append((view.epoch, dict(view.leaders))))
    view.update_state(a_cluster())
    newer = _next_state(view)
    view.update_state(newer)
    view.update_state(a_cluster())
    assert view.epoch == 2 and view.namespaces.by_name["x"].id == 3
    for term, node in ((3, "n1"), (2, "n0"), (3, "n2"), (4, "n2")):
        view.update_leader("7c1f", term, node)
    assert view.leaders == {"7c1f": Leader(4, "n2")}
    assert len(changes) == 4


def test_claims_for_shards_outside_the_map_are_dropped_once_there_is_a_map():
    view = MetadataView(VirtualRuntime())
    view.update_leader("7c1f", 1, "n0")
    view.update_leader("ffff", 1, "n0")
    assert set(view.leaders) == {"7c1f", "ffff"}
    view.update_state(a_cluster())
    assert set(view.leaders) == {"7c1f"}
    view.update_leader("eeee", 1, "n0")
    assert set(view.leaders) == {"7c1f"}


def test_a_watcher_that_knows_nothing_is_answered_at_once():
    _, view, hub = _served()
    view.update_leader("7c1f", 2, "n1")
    answers: list = []
    hub.wait(0, -1, 10.0, answers.append)
    assert answers[0].epoch == 1 and decode_state(answers[0].state) == view.state
    assert answers[0].leaders == {"7c1f": Leader(2, "n1")}


def test_a_watcher_waits_for_news_and_gets_only_what_is_new():
    runtime, view, hub = _served()
    answers: list = []
    hub.wait(1, view.leaders_version, 10.0, answers.append)
    hub.wait(1, view.leaders_version, 10.0, answers.append)
    runtime.advance(9.0)
    assert answers == [] and hub.watchers == 2
    view.update_leader("7c1f", 2, "n1")
    view.update_leader("02ab", 2, "n0")
    assert answers == [], "news of one turn leaves together"
    runtime.turn()
    assert len(answers) == 2 and answers[0].state is None and set(answers[0].leaders) == {"7c1f", "02ab"}
    hub.wait(1, view.leaders_version, 20.0, answers.append)
    view.update_state(_next_state(view))
    runtime.turn()
    assert answers[2].epoch == 2 and answers[2].state is not None and answers[2].leaders is None
    runtime.advance(60.0)
    assert len(answers) == 3 and hub.watchers == 0


def test_a_watcher_is_told_at_its_deadline_that_nothing_is_new():
    runtime, view, hub = _served()
    answers: list = []
    hub.wait(1, view.leaders_version, 5.0, answers.append)
    runtime.advance(5.0)
    assert (answers[0].epoch, answers[0].state, answers[0].leaders) == (1, None, None)
    hub.wait(9, view.leaders_version, 6.0, answers.append)
    assert len(answers) == 1, "a node that is behind its watcher has no news"


def test_watchers_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "WATCHER_LIMIT", 1)
    _, view, hub = _served()
    answers: list = []
    hub.wait(1, view.leaders_version, 5.0, answers.append)
    hub.wait(1, view.leaders_version, 5.0, answers.append)
    assert type(answers[0]) is Overloaded and hub.watchers == 1


def test_the_rpc_method():
    runtime, view, hub = _served()
    answers: list = []
    hub.serve(b"\xc1", 5.0, answers.append)
    hub.serve(encode_watch(["x"]), 5.0, answers.append)
    assert [type(answer) for answer in answers] == [BadRequest, BadRequest]
    hub.serve(encode_watch(WatchRequest(1, view.leaders_version, 2000)), 5.0, answers.append)
    runtime.advance(2.0)
    assert decode_watch_answer(answers[2]).epoch == 1, "held back no longer than the watcher allowed"


class _Cluster:
    """Nodes, each with a view and hub, called over a network that a test can cut."""

    def __init__(self, names: tuple[str, ...] = ("n0", "n1")) -> None:
        self.runtime = VirtualRuntime()
        self.down: set[str] = set()
        self.asked: list[str] = []
        self.views = {name: MetadataView(self.runtime) for name in names}
        self.hubs = {name: WatchHub(view, self.runtime) for name, view in self.views.items()}
        self.view = MetadataView(self.runtime)
        self.watch = RemoteWatch(self.view, self.runtime, self.call, lambda: names)

    def call(self, node, method, body, deadline, done) -> None:
        assert method == "watch"
        self.asked.append(node)
        if node in self.down:
            self.runtime.call_later(0.001, lambda: done(Unavailable(f"{node} is down")))
        else:
            self.runtime.call_later(0.001, lambda: self.hubs[node].serve(body, deadline, done))


def test_a_remote_watch_follows_and_does_not_ask_more_than_it_must():
    cluster = _Cluster()
    for view in cluster.views.values():
        view.update_state(a_cluster())
    cluster.watch.start()
    cluster.runtime.advance(1.0)
    assert cluster.view.state == a_cluster()
    for view in cluster.views.values():
        view.update_leader("7c1f", 3, "n1")
    cluster.runtime.advance(0.1)
    assert cluster.view.leaders == {"7c1f": Leader(3, "n1")}
    asked = len(cluster.asked)
    cluster.runtime.advance(10 * POLL_SECONDS)
    assert asked <= 4 and len(cluster.asked) - asked <= 11


def test_a_remote_watch_moves_on_when_its_node_fails_and_backs_off_while_all_do():
    cluster = _Cluster()
    cluster.down = {"n0", "n1"}
    cluster.watch.start()
    cluster.runtime.advance(60.0)
    assert set(cluster.asked) == {"n0", "n1"} and len(cluster.asked) < 60 / (PAUSE_MAX_SECONDS / 2) + 10
    cluster.down = {"n0"}
    for view in cluster.views.values():
        view.update_state(a_cluster())
    cluster.runtime.advance(2 * PAUSE_MAX_SECONDS + 0.1)
    assert cluster.view.epoch == 1


def test_a_refresh_asks_another_node_beside_the_long_poll():
    cluster = _Cluster()
    for view in cluster.views.values():
        view.update_state(a_cluster())
    cluster.watch.start()
    cluster.runtime.advance(1.0)
    polled = cluster.asked[-1]
    other = "n1" if polled == "n0" else "n0"
    cluster.views[other].update_state(_next_state(cluster.views[other]))
    cluster.runtime.advance(1.0)
    assert cluster.view.epoch == 1, "the polled node has not heard"
    cluster.view.refresh()
    cluster.view.refresh()
    cluster.runtime.advance(0.1)
    assert cluster.view.epoch == 2 and cluster.asked.count(other) == 1


def test_an_answer_that_cannot_be_read_counts_as_a_failure():
    cluster = _Cluster()
    answers = [b"\xc1", encode_watch(["no"]), msgspec.msgpack.encode([5, 1, b"junk", None])]
    cluster.watch._call = lambda node, method, body, deadline, done: done(answers.pop() if answers else Unavailable(""))
    cluster.watch.start()
    cluster.runtime.advance(5.0)
    assert answers == [] and cluster.view.epoch == 0


def test_a_stopped_watch_asks_no_more_and_takes_nothing():
    cluster = _Cluster()
    cluster.watch.start()
    cluster.runtime.advance(0.0)
    cluster.watch.stop()
    cluster.views[cluster.asked[0]].update_state(a_cluster())
    cluster.runtime.advance(100.0)
    assert len(cluster.asked) == 1 and cluster.view.epoch == 0
