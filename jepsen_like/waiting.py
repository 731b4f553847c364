"""Waiting for what real processes do: they are looked at until it is done."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jepsen_like.load import Load

WAIT_S = 30.0
"""How long a round waits for what it measures, and for a leader to hit."""
POLL_S = 0.01

T = TypeVar("T")

Progress = Callable[[str, Load], None]
"""Told of each round that is done."""


async def eventually(
    look: Callable[[], Awaitable[T | None]], patience_s: float = WAIT_S, pause_s: float = POLL_S
) -> T | None:
    """What `look` gives, asked every `pause_s` until it is not None or `patience_s` is over."""
    give_up_at = time.monotonic() + patience_s
    while (seen := await look()) is None and time.monotonic() < give_up_at:
        await asyncio.sleep(pause_s)
    return seen


def cancel_on_signals() -> None:
    """Cancel the task that calls this when the process is asked to end, so that it stops what it has started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def ms(start: float, end: float | None) -> float | None:
    """The time between two moments in seconds, in milliseconds."""
    return None if end is None else (end - start) * 1000
