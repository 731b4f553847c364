"""`raftcache status --watch`: a page that is drawn again and again, until it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from raftcache.cli.api import Api
from raftcache.cli.output import Failed
from raftcache.cli.status_figures import Samples, Seen
from raftcache.cli.status_page import Page

INTERVAL_S = 1.0
LOOK_TIMEOUT_S = 2.0


def watch(urls: Mapping[str, str], title: str, pages: int | None = None) -> None:
    """Draw the page of these nodes, by id, every second: `pages` times, or until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    looks = Looks(urls, title, time.monotonic)
    with Live(looks.page().render(), console=Console(), screen=pages is None, auto_refresh=False) as live:
        try:
            while pages is None or pages > 1:
                time.sleep(INTERVAL_S)  # Between two looks of a person.
                live.update(looks.page().render(), refresh=True)
                pages = None if pages is None else pages - 1
        except KeyboardInterrupt:
            pass


class Looks:
    """Looks at some nodes, and remembers the look before."""

    def __init__(self, urls: Mapping[str, str], title: str, now: Callable[[], float]) -> None:
        self._urls, self._title, self._now = urls, title, now
        self._before: Seen | None = None

    def page(self) -> Page:
        """What there is to see now."""
        at_s, nodes = self._now(), {node_id: _samples(url) for node_id, url in self._urls.items()}
        up = [node_id for node_id, samples in nodes.items() if samples is not None]
        told = ((node_id, _asked(self._urls[node_id], "/v1/cluster")) for node_id in up)
        seen = Seen(at_s, nodes, {node_id: body for node_id, body in told if body is not None})
        hot = _asked(self._urls[up[0]], "/v1/hotkeys?bucketSeconds=5") if up else None
        page = Page(seen, self._before, hot, self._title)
        self._before = seen
        return page


def _samples(url: str) -> Samples | None:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        answer = Api(url, timeout_seconds=LOOK_TIMEOUT_S).call("GET", "/metrics")
    except Failed:
        return None
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def _asked(url: str, path: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = Api(url, timeout_seconds=LOOK_TIMEOUT_S).send("GET", path)
    except Failed:
        return None
    return answer
