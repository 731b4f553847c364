"""The stock's values: a number makes the same text always, and one changed byte shows."""

from __future__ import annotations

import pytest

from jepsen_like.stock import CHANGED, LEAST_BYTES, MOST_BYTES, key_of, number_of, text_of

NUMBERS = (0, 1, 7, 99_999)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_intact_text_gives_its_number(number: int) -> None:
    assert number_of(text_of(number)) == number
    assert LEAST_BYTES <= len(text_of(number)) <= MOST_BYTES


def test_texts_and_keys_differ() -> None:
    assert len({text_of(number) for number in range(1000)}) == len({key_of(number) for number in range(1000)}) == 1000


def test_a_change_of_any_byte_shows() -> None:
    text = text_of(7)
    for place in range(len(text)):
        other = "x" if text[place] != "x" else "y"
        assert number_of(text[:place] + other + text[place + 1 :]) == CHANGED


@pytest.mark.parametrize("value", [text_of(7)[:-1], text_of(7) + "0", "7", "", ":", "x:", None, [7], {"7": 7}, 7.5])
def test_what_is_no_text_of_the_stock_is_changed(value: object) -> None:
    assert number_of(value) == CHANGED


def test_numbers_of_other_writers_stand_for_themselves() -> None:
    assert number_of(41) == 41
