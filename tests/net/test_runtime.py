"""The asyncio runtime: callbacks in order, work off the loop, nothing lost."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from raftcache.errors import Overloaded
from raftcache.net import runtime as module
from raftcache.net.runtime import AsyncioRuntime

from .support import eventually, run


def test_callbacks_run_in_order_and_never_inside_the_call() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        seen: list[int] = []
        runtime.call_soon(lambda: seen.append(1))
        runtime.call_soon(lambda: seen.append(2)).cancel()
        runtime.call_later(0.0, lambda: seen.append(3))
        assert seen == []
        await eventually(lambda: seen == [1, 3])

    run(test)


def test_one_seed_gives_one_sequence() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        assert AsyncioRuntime(runtime.loop, 5).random.random() == AsyncioRuntime(runtime.loop, 5).random.random()

    run(test)


def test_clocks_advance() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        before, wall = runtime.now(), runtime.wall_ms()
        assert runtime.now() >= before and wall > 1_700_000_000_000

    run(test)


def test_offloaded_work_comes_back_on_the_loop() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        results: list[object] = []

        def done(result: object) -> None:
            results.append((result, threading.current_thread() is threading.main_thread()))

        runtime.offload(lambda: threading.current_thread().name.startswith("raftcache-offload"), done)
        await eventually(lambda: results == [(True, True)])

    run(test)


def test_what_offloaded_work_raises_is_its_result() -> None:
    async def test(runtime: AsyncioRuntime) -> None:
        results: list[object] = []
        runtime.offload(lambda: 1 // 0, results.append)
        await eventually(lambda: results)
        assert isinstance(results[0], ZeroDivisionError)

    run(test)


def test_offloaded_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFFLOAD_LIMIT", 1)

    async def test(runtime: AsyncioRuntime) -> None:
        gate, results = threading.Event(), list[object]()
        runtime.offload(gate.wait, results.append)
        runtime.offload(gate.wait, results.append)
        await eventually(lambda: results)
        assert isinstance(results[0], Overloaded) and "the limit is 1" in str(results[0])
        gate.set()
        await eventually(lambda: results[1:] == [True])

    run(test)


def test_after_close_nothing_is_called_any_more() -> None:
    async def main() -> None:
        runtime = AsyncioRuntime(asyncio.get_running_loop(), 1)
        results: list[object] = []
        runtime.offload(lambda: 1, results.append)
        runtime.close()
        runtime.offload(lambda: 2, results.append)
        turns: list[None] = []
        for _ in range(3):
            runtime.call_soon(lambda: turns.append(None))
            await asyncio.sleep(0)
        assert len(turns) == 3 and results == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("raftcache-offload")]

    asyncio.run(main())


def test_what_a_callback_raises_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        runtime = AsyncioRuntime(asyncio.get_running_loop(), 1)
        seen: list[int] = []
        runtime.call_soon(lambda: seen.append(1 // 0))
        runtime.call_soon(lambda: seen.append(2))
        await eventually(lambda: seen == [2])
        assert runtime.callback_errors == 1
        runtime.close()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "ZeroDivisionError" in caplog.text
