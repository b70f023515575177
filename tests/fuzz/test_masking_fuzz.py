"""No text stalls the masker, and no text around a secret lets it through."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from podium.observability.masking import Masker, mask_text

FRAGMENTS = [
    "a", "A1", " ", "\n", "-", "--", "_", ".", "/", ":", "@", "=", "'", '"', "\\", "://", "token", "token=", "token:",
    "password", "--password ", "api_key", "x-api-key", "authorization", "authorization: ", "bearer ", "basic ",
    "cookie", "cookie: a;", "secret_access_key", "private_key", "eyJ", "eyJabcdef.", "ghp_", "github_pat_", "hf_",
    "sk-", "sk_", "sk-ant-", "pdm_", "pdm_a_", "KGAT_", "AKIA", "AIza", "xoxb-", 'key": "', "-----BEGIN ", "----",
    "-----BEGIN PRIVATE KEY-----", "-----", "access", "refresh_", "proxy-", "set-cookie", "client-secret", "é", "\0",
    "\ud800",
]  # fmt: skip
SIZE = 200_000
LIMIT_SECONDS = 3.0

SECRET_BODY = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=36, max_size=60)
SHAPES = [
    "ghp_{}",
    "hf_{}",
    "sk-{}",
    "sk-ant-{}",
    "pdm_Ab3dEf9h_{}",
    "bearer {}",
    "password={}",
    "api_key={}",
    "://u:{}@h",
]
TEXT = st.text(max_size=200) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)


def seconds_to_mask(text: str) -> float:
    started = time.thread_time()
    mask_text(text)
    return time.thread_time() - started


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_repeated_fragment_takes_linear_time(fragment: str) -> None:
    text = (fragment * (SIZE // len(fragment)))[:SIZE]
    assert seconds_to_mask("token " + text) < LIMIT_SECONDS


@pytest.mark.timeout(300)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=6).map("".join), st.sampled_from(FRAGMENTS))
def test_repeated_combinations_take_linear_time(combination: str, tail: str) -> None:
    text = combination * (50_000 // len(combination)) + tail
    assert seconds_to_mask("token " + text) < LIMIT_SECONDS


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from(SHAPES), SECRET_BODY, TEXT)
def test_a_secret_in_any_text_is_masked(before: str, shape: str, body: str, after: str) -> None:
    assume(body not in before and body not in after)
    assert body not in mask_text(f"{before} {shape.format(body)} {after}")


@settings(max_examples=300, deadline=None)
@given(st.recursive(TEXT | st.none() | st.integers() | st.binary(max_size=50), lambda inner: st.lists(inner, max_size=4)
       | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20))  # fmt: skip
def test_any_value_can_be_masked(value: object) -> None:
    masker = Masker()
    masked = masker.mask_value(value)
    assert masker.mask_value(masked) == masked
    event = masker(None, "info", {"message": "token", "value": value})
    assert set(event) == {"message", "value"}


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_masking_is_settled_after_two_rounds(text: str) -> None:
    twice = mask_text(mask_text(text))
    assert mask_text(twice) == twice
