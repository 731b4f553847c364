"""Every metric of a node with its labels as they are declared, whether or not it has a series just now."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.core import HistogramMetricFamily, Metric

from raftcache.frontends.http.load import Load
from raftcache.frontends.http.metrics import HttpMetrics
from raftcache.frontends.resp.metrics import RespMetrics
from raftcache.frontends.resp.parsing import Room
from raftcache.frontends.resp.scripts.cache import ScriptCache
from raftcache.node.metrics import node_metrics
from raftcache.testing.virtual import VirtualRuntime

from .clusters import created


def declared() -> dict[str, set[str]]:
    """By the name of the family, which is that of its series without `_total`, `_bucket` and the like."""
    families = [*_below_the_front_end(), *_of_the_front_end()]
    labels = {family.name: set(cast(Any, family)._labelnames) for family in families}
    assert len(labels) == len(families), "two families have the same name"
    return labels | {each.name: labels[each.name] | {"le"} for each in families if type(each) is HistogramMetricFamily}


def _below_the_front_end() -> Iterable[Metric]:
    process = created().processes["n0"]
    counted: Any = SimpleNamespace(counters={})
    return node_metrics(process.core, process.dispatcher, counted, counted)


def _of_the_front_end() -> Iterable[Metric]:
    load = Load(VirtualRuntime())
    work: Any = SimpleNamespace(in_flight=0, receiving_bytes=0, turned_away=0, connections=lambda: 0, load=load)
    return [*HttpMetrics(work).collect(), *RespMetrics(Room(), ScriptCache()).collect()]
