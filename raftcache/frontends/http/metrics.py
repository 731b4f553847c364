"""What the HTTP front end counts about itself.

A request updates two plain Python numbers; Prometheus's own objects, with their locks and label look-ups, are
made only when somebody asks for `/metrics`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raftcache.frontends.http.load import Load

BUCKETS_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BOUNDS = (*(str(bound) for bound in BUCKETS_SECONDS), "+Inf")


class RouteMetrics:
    """The numbers of one route. Its statuses are those of its table entry, so the labels are bounded."""

    __slots__ = ("buckets", "method", "path", "statuses", "sum_seconds")

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * len(_BOUNDS)
        self.sum_seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


class Work(Protocol):
    """What a front end has to do just now."""

    in_flight: int
    receiving_bytes: int
    turned_away: int
    connections: Callable[[], int]
    load: Load


class HttpMetrics(Collector):
    """All routes' numbers, and the gauges of work in progress."""

    def __init__(self, work: Work) -> None:
        self.routes: list[RouteMetrics] = []
        self._work = work

    def route(self, method: str, path: str) -> RouteMetrics:
        """The numbers of a new route."""
        self.routes.append(RouteMetrics(method, path))
        return self.routes[-1]

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        requests = CounterMetricFamily(
            "raftcache_http_requests", "HTTP requests answered.", labels=("method", "route", "status")
        )
        latencies = HistogramMetricFamily(
            "raftcache_http_request_seconds", "From the headers' arrival to the answer.", labels=("method", "route")
        )
        for route in self.routes:
            for status, count in sorted(route.statuses.items()):
                requests.add_metric((route.method, route.path, str(status)), count)
            buckets = list(zip(_BOUNDS, accumulate(route.buckets), strict=True))
            latencies.add_metric((route.method, route.path), buckets, route.sum_seconds)
        yield requests
        yield latencies
        yield GaugeMetricFamily("raftcache_http_in_flight", "HTTP requests under way.", self._work.in_flight)
        yield GaugeMetricFamily(
            "raftcache_http_receiving_bytes", "Room reserved for bodies under way.", self._work.receiving_bytes
        )
        load = self._work.load
        yield GaugeMetricFamily("raftcache_http_connections", "HTTP connections open.", self._work.connections())
        yield CounterMetricFamily("raftcache_http_turned_away", "Requests on one too many.", self._work.turned_away)
        yield GaugeMetricFamily("raftcache_loop_lag_seconds", "How late the last timer fired.", load.lag_s)
        yield GaugeMetricFamily("raftcache_shedding", "1 while new requests are refused for that.", load.shedding)
        yield CounterMetricFamily("raftcache_shed_requests", "Requests refused for that.", load.shed)


class BackendMetrics(Collector):
    """What lies below the front ends."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        return self._collect()


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """A registry of its own: nothing of the process's global one."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry
