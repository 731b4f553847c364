"""The cache libraries of Python that speak to a Redis, unmodified and by URL, against a real cluster of three nodes.

Each is used as its manual does it, at another node than the one before, so that most commands are forwarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiocache
import cashews
import dogpile.cache
import flask
import flask_caching
import pytest
import redis
import redis.asyncio
from django.conf import settings
from django.core.cache.backends.redis import RedisCache as DjangoCache
from django_redis.cache import RedisCache as DjangoRedis

from e2e.support import addresses, steady
from jepsen_like.cluster import RealCluster

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # They call redis-py by older names.

if not settings.configured:
    settings.configure()


@pytest.fixture
def url(whole: RealCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A node's URL; which one goes by the test's name. All keys are gone before."""
    found = sorted(addresses(whole, "redis_router").values())
    with redis.Redis.from_url(f"redis://{found[0]}") as client:
        client.flushall()
    yield f"redis://{found[len(request.node.name) % len(found)]}/0"


@pytest.mark.parametrize("backend", [DjangoCache, DjangoRedis])
@steady
def test_django(url: str, backend: Callable[[str, dict[str, Any]], Any]) -> None:
    cache = backend(url, {})
    cache.set("a", 1, 30)
    assert (cache.get("a"), cache.add("a", 2), cache.incr("a", 5), cache.decr("a")) == (1, False, 6, 5)
    cache.set_many({"x": 1, "y": {"deep": [1, 2]}}, timeout=20)
    assert cache.get_many(["x", "y", "none"]) == {"x": 1, "y": {"deep": [1, 2]}}
    assert cache.touch("x", 50) and "x" in cache and cache.get_or_set("new", lambda: 9, 10) == 9
    cache.delete_many(["x", "y"])
    assert (cache.get("x"), cache.delete("a"), cache.has_key("a")) == (None, True, False)
    cache.clear()
    assert cache.get("new") is None


@steady
def test_django_redis_beyond_djangos_interface(url: str) -> None:
    cache = DjangoRedis(url, {})
    cache.set("k:1", 1, timeout=None)
    cache.set("k:2", 2, timeout=50)
    assert sorted(cache.keys("k:*")) == ["k:1", "k:2"] == sorted(cache.iter_keys("k:*"))
    assert cache.ttl("k:1") is None and 40 < cache.ttl("k:2") <= 50
    assert cache.persist("k:2") and cache.expire("k:1", timeout=5) and cache.set("k:1", 3, nx=True) is False
    assert cache.delete_pattern("k:*") == 2


@steady
def test_aiocache(url: str) -> None:
    host, _, port = url.removeprefix("redis://").removesuffix("/0").partition(":")

    async def use() -> None:
        cache = aiocache.Cache(aiocache.Cache.REDIS, endpoint=host, port=int(port))
        await cache.set("a", "1", ttl=10)
        assert (await cache.get("a"), await cache.exists("a"), await cache.increment("n", 2)) == ("1", True, 2)
        assert await cache.multi_set([("x", "1"), ("y", "2")], ttl=5)
        assert await cache.multi_get(["x", "y", "z"]) == ["1", "2", None]
        assert (await cache.expire("a", 5), await cache.delete("a"), await cache.add("a", "2")) == (True, 1, True)
        await cache.clear()
        assert await cache.get("x") is None
        await cache.close()

    asyncio.run(use())


@steady
def test_cashews(url: str) -> None:
    async def use() -> None:
        cache = cashews.Cache()
        cache.setup(url)
        await cache.set("a", "v", expire=10)
        assert (await cache.get("a"), await cache.incr("n"), await cache.exists("a")) == ("v", 1, True)
        await cache.set_many({"x": 1, "y": 2})
        assert [*await cache.get_many("x", "y")] == [1, 2]
        await cache.expire("a", 5)
        assert await cache.get_expire("a") <= 5 and await cache.set("a", "w", exist=False) is False
        await cache.delete_match("x*")
        assert {key async for key in cache.scan("*")} >= {"a", "y"} and await cache.get("x") is None
        await cache.clear()
        await cache.close()

    asyncio.run(use())


@steady
def test_dogpile(url: str) -> None:
    region = dogpile.cache.make_region().configure(
        "dogpile.cache.redis", arguments={"url": url, "redis_expiration_time": 100, "distributed_lock": False}
    )
    calls = []

    @region.cache_on_arguments()
    def doubled(number: int) -> int:
        calls.append(number)
        return number * 2

    assert (doubled(4), doubled(4), calls) == (8, 8, [4])
    region.set_multi({"a": 1, "b": 2})
    assert region.get_multi(["a", "b"]) == [1, 2]
    region.delete("a")
    assert region.get("a") is dogpile.cache.api.NO_VALUE


@steady
def test_flask_caching(url: str) -> None:
    app = flask.Flask("shop")
    cache = flask_caching.Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})
    with app.app_context():
        cache.set("a", 1, timeout=50)
        cache.set_many({"b": 2, "c": 3})
        assert (cache.get("a"), cache.get_many("b", "c"), cache.add("a", 5)) == (1, [2, 3], False)
        cache.delete_many("b", "c")
        cache.delete("a")
        assert (cache.get("a"), cache.get("b"), cache.has("c")) == (None, None, False)
        cache.clear()


@steady
def test_redis_py_with_asyncio(url: str) -> None:
    async def use() -> None:
        client = redis.asyncio.from_url(url)
        async with client.pipeline(transaction=True) as pipeline:
            assert await pipeline.set("a", 1).incr("a").execute() == [True, 2]
        # Each of the twenty has a connection of its own, so who comes first is nobody's promise.
        counts = await asyncio.gather(*(client.incr("a") for _ in range(20)))
        assert sorted(counts) == list(range(3, 23))
        await client.aclose()

    asyncio.run(use())
