"""A stock of keys that is written once and must be found unchanged: bulk for drills in which a node is refilled.

A value is a text made from its number, of 100 to 1,000 bytes, so that one changed byte of it shows. The ledger, which
judges numbers, is given the number of an intact text and `CHANGED` for any other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

from jepsen_like.client import BATCH_KEYS, Answer, Client
from jepsen_like.ledger import Ledger, Outcome
from jepsen_like.load import NAMESPACE

LEAST_BYTES, MOST_BYTES = 100, 1000
CHANGED = -1
CLIENTS = 4
"""Batches under way at once."""


def text_of(number: int) -> str:
    """The value of key `number`."""
    dice = random.Random(number)
    head, size = f"{number}:", dice.randint(LEAST_BYTES, MOST_BYTES)
    return head + dice.randbytes(size // 2).hex()[: size - len(head)]


def number_of(value: Any) -> int:
    """The number from which a value was made; `CHANGED` where it is not, to the last byte, what was made from it.

    Values of other writers are numbers already.
    """
    if isinstance(value, int):
        return value
    head, _, _ = value.partition(":") if isinstance(value, str) else ("", "", "")
    return int(head) if head.isdecimal() and value == text_of(int(head)) else CHANGED


def key_of(number: int) -> str:
    """The key `number`."""
    return f"stock-{number}"


async def fill(addresses: Sequence[str], keys: int, ledger: Ledger) -> list[str]:
    """Write the keys in batches, each once. Returns the codes of answers that no client should get."""
    batches = iter([range(first, min(first + BATCH_KEYS, keys)) for first in range(0, keys, BATCH_KEYS)])
    parts = await asyncio.gather(*(_fill(Client(addresses, number), batches, ledger) for number in range(CLIENTS)))
    return [code for part in parts for code in part]


async def _fill(client: Client, batches: Iterator[range], ledger: Ledger) -> list[str]:
    unexpected: list[str] = []
    try:
        for numbers in batches:
            for number in numbers:
                ledger.begin(key_of(number), number)
            items = [{"key": key_of(number), "value": text_of(number)} for number in numbers]
            document = {"namespace": NAMESPACE, "items": items}
            answers = await client.write_many(b"POST", "/v1/cache/batch/set", document, len(numbers))
            for number, answer in zip(numbers, answers, strict=True):
                _note(ledger, number, answer)
            unexpected += [answer.code for answer in answers if not answer.expected]
    finally:
        client.close()
    return unexpected


def _note(ledger: Ledger, number: int, answer: Answer) -> None:
    if answer.outcome is Outcome.ACKNOWLEDGED:
        ledger.acknowledged(key_of(number), number, answer.version)
    elif answer.outcome is Outcome.REFUSED:
        ledger.refused(key_of(number), number)
