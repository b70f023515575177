"""Long results of tools: cut where it reads well, kept within bounds, and read on by their own run only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.tool_results import FETCH_RESULT, ToolResultStore, cut, fetch_result
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolInvocation


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asked(run: str = "r", tenant: str = "t", **arguments: Any) -> ToolInvocation:
    raw = json.dumps(arguments).encode()
    return ToolInvocation(run_id=run, call_id="c0_0", tool="fetch_result", arguments_json=raw, tenant=tenant)


def test_short_results_stay_whole() -> None:
    assert cut("short", 5).text == "short"
    assert cut("short", 5).handle == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("line one\nline two\nline three", "line one\nline two\n"),
        ("One sentence here. Another which", "One sentence here."),
        ("some words to be cut somewhere else", "some words to be cut"),
        ("x" * 40, "x" * 20),
    ],
)
def test_cut_is_made_at_a_border(text: str, shown: str) -> None:
    result = cut(text, 20)
    assert result.text == f"{shown}\n[cut here: {len(text) - len(shown)} of {len(text)} characters are missing]"
    assert result.missing == len(text) - len(shown)


async def test_rest_is_read_with_the_handle() -> None:
    store = ToolResultStore(new_handle=lambda: "res_1")
    text = "".join(f"line {n}\n" for n in range(2000))
    result = cut(text, 1000, store=store, tenant="t", run_id="r")
    start = len(text) - result.missing
    assert f'fetch_result(handle="res_1", offset={start})' in result.text
    read, offset = text[:start], start
    while offset is not None:
        piece = json.loads((await fetch_result(store, asked(handle="res_1", offset=offset, limit=3000))).result_json)
        assert piece["total"] == len(text)
        read, offset = read + piece["text"], piece["next_offset"]
    assert read == text


@pytest.mark.parametrize("other", [{"run": "r2"}, {"tenant": "t2"}, {"handle": "res_2"}])
async def test_handle_opens_nothing_to_others(other: dict[str, str]) -> None:
    store = ToolResultStore(new_handle=lambda: "res_1")
    store.put("t", "r", "secret")
    with pytest.raises(ToolFailure, match="call the tool again"):
        await fetch_result(store, asked(**{"handle": "res_1", **other}))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"handle": 1},
        {"handle": ""},
        {"handle": "h" * 65},
        {"handle": "h", "offset": -1},
        {"handle": "h", "limit": 0},
        {"handle": "h", "limit": True},
        {"handle": "h", "more": 1},
    ],
)
async def test_wrong_arguments_are_told(arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolFailure) as raised:
        await fetch_result(ToolResultStore(), asked(**arguments))
    assert raised.value.code is ToolFailureCode.INVALID_ARGUMENTS
    assert FETCH_RESULT.name in raised.value.message


def test_results_are_forgotten_in_time_and_with_their_run() -> None:
    clock = Clock()
    store = ToolResultStore(ttl_seconds=10, clock=clock)
    first = store.put("t", "r1", "one")
    clock.now = 6
    second, third = store.put("t", "r2", "two"), store.put("t", "r3", "three")
    clock.now = 10
    assert store.read("t", "r1", first) is None
    assert store.read("t", "r2", second) is not None
    store.forget_run("t", "r2")
    assert store.read("t", "r2", second) is None
    assert store.read("t", "r3", third) is not None
    assert store.bytes_kept == 5


def test_result_too_large_to_keep_is_cut_without_a_handle() -> None:
    store = ToolResultStore(max_bytes_per_tenant=50)
    assert cut("x" * 60, 10, store=store).handle == ""
    assert "fetch_result" not in cut("x" * 60, 10, store=store).text


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), max_size=40))
def test_store_keeps_its_bounds(puts: list[tuple[str, int]]) -> None:
    """No tenant has more than its share, all together no more than the whole, and the newest is there."""
    store = ToolResultStore(max_bytes=80, max_bytes_per_tenant=50)
    sizes: dict[str, dict[str, int]] = {"a": {}, "b": {}}
    for tenant, size in puts:
        handle = store.put(tenant, "r", "x" * size)
        assert bool(handle) == (size <= 50)
        if handle:
            sizes[tenant][handle] = size
            assert store.read(tenant, "r", handle) is not None
        held = {
            name: sum(n for one, n in kept.items() if store.read(name, "r", one) is not None)
            for name, kept in sizes.items()
        }
        assert max(held.values()) <= 50
        assert sum(held.values()) == store.bytes_kept <= 80


@given(st.text(max_size=300), st.integers(1, 100))
def test_cut_never_loses_count(text: str, limit: int) -> None:
    result = cut(text, limit)
    shown = len(text) - result.missing
    assert result.text.startswith(text[:shown])
    assert 0 < shown <= limit or not text
