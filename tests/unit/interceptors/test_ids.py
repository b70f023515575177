"""Ids: their form, their order, their uniqueness."""

from __future__ import annotations

import os
import re
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.ids import ALPHABET, Ids, decode, encode


class Nanos:
    def __init__(self) -> None:
        self.now = 1_790_000_000_000_000_000

    def __call__(self) -> int:
        return self.now


@given(st.integers(0, (1 << 130) - 1))
def test_encode_and_decode_agree(value: int) -> None:
    """Any number of up to 130 bits survives."""
    text = encode(value, 26)
    assert len(text) == 26
    assert decode(text) == value


@given(st.integers(0, 1 << 80), st.integers(0, 1 << 80))
def test_texts_order_as_their_numbers(first: int, second: int) -> None:
    """Sorting ids sorts them by time."""
    assert (encode(first, 18) < encode(second, 18)) == (first < second)


def test_foreign_characters_are_refused() -> None:
    """Crockford's base 32 leaves out i, l, o and u."""
    for character in "iloU-":
        with pytest.raises(ValueError, match="not a character"):
            decode(character)
    assert len(ALPHABET) == 32


def test_run_ids_are_uuid_v7() -> None:
    """26 characters that decode to a UUID of version 7 with the time of the clock."""
    clock = Nanos()
    text = Ids(clock=clock).run_id()
    assert re.fullmatch(r"run_[0-9a-hjkmnp-tv-z]{26}", text)
    value = uuid.UUID(int=decode(text.removeprefix("run_")))
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == clock.now // 1_000_000


@pytest.mark.parametrize("kind", ["run_id", "correlation_id", "request_id"])
def test_ids_only_grow(kind: str) -> None:
    """Within a millisecond, over milliseconds, and when the clock is set back."""
    clock = Nanos()
    make = getattr(Ids(clock=clock), kind)
    found = []
    for step in (0, 1_000_000, -5_000_000_000, 7_000_000, 0):
        clock.now += step
        found += [make() for _ in range(2_000)]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_call_ids_have_prefixes_and_share_the_counter() -> None:
    """Both kinds of one process never have the same rest."""
    ids = Ids()
    assert re.fullmatch(r"exec_[0-9a-hjkmnp-tv-z]{26}", ids.correlation_id())
    assert re.fullmatch(r"req_[0-9a-hjkmnp-tv-z]{26}", ids.request_id())
    assert ids.correlation_id()[5:] != ids.request_id()[4:]


def test_the_two_ids_of_a_call_differ_and_grow() -> None:
    """Made together, they are as unique as made apart, also when the counter's lower half runs over."""
    ids = Ids(clock=Nanos())
    ids._counter = (1 << 20) - 5
    pairs = [ids.call_ids() for _ in range(10)]
    assert all(first.startswith("exec_") and second.startswith("req_") for first, second in pairs)
    rests = [text.partition("_")[2] for pair in pairs for text in reversed(pair)]
    assert rests == sorted(set(rests))


def test_the_counters_upper_half_moves() -> None:
    """After a million ids in one millisecond they still differ and grow."""
    ids = Ids(clock=Nanos())
    ids._counter = (1 << 20) - 2
    found = [ids.request_id() for _ in range(4)]
    assert found == sorted(set(found))


def test_largest_randomness_does_not_run_over() -> None:
    """All bits set, then thousands of steps within the same millisecond."""
    ids = Ids(clock=Nanos(), entropy=lambda size: b"\xff" * size)
    found = [ids.run_id() for _ in range(5_000)]
    assert found == sorted(set(found))
    assert {uuid.UUID(int=decode(text[4:])).version for text in found} == {7}


def _some(_: int) -> list[str]:
    ids = Ids()
    return [ids.run_id() for _ in range(200)] + [ids.request_id() for _ in range(200)]


def test_processes_do_not_collide() -> None:
    """Four processes that begin at the same moment."""
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        found = [text for batch in pool.map(_some, range(4)) for text in batch]
    assert len(set(found)) == len(found)
