"""Authentication: which credential counts, who decides, and whose tenant it is."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from chain_doubles import admit, admit_async, make_call, make_method
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import InvalidRequest, PermissionDenied, Unauthenticated
from podium.interceptors import Authentication, MethodClass, MethodPolicy
from podium.security import LOCAL, Credentials, Principal

ALICE = Principal("alice", frozenset({"read"}), "acme")


class Fixed:
    """Knows one bearer token."""

    def __init__(self, token: str, principal: Principal, *, later: bool = False) -> None:
        self._token = token
        self._principal = principal
        self._later = later
        self.asked = 0

    def authenticate(self, credentials: Credentials) -> Principal | Awaitable[Principal | None] | None:
        self.asked += 1
        found = self._principal if self._token in (credentials.bearer, credentials.api_key) else None
        return self._wait(found) if self._later else found

    async def _wait(self, found: Principal | None) -> Principal | None:
        return found


def test_without_credentials_everybody_is_local() -> None:
    """Until the first key is made, which is asked at every call."""
    required = False
    concern = Authentication([Fixed("t", ALICE)], required=lambda: required)
    call = make_call()
    admit(concern, call)
    assert call.principal is LOCAL
    required = True
    with pytest.raises(Unauthenticated, match="needs a credential"):
        admit(concern, make_call())


def test_bad_credentials_are_refused_even_where_none_are_needed() -> None:
    """Whoever sends a key means to be that key's holder."""
    concern = Authentication([Fixed("t", ALICE)], required=lambda: False)
    with pytest.raises(Unauthenticated, match="no kind"):
        admit(concern, make_call(metadata={"x-api-key": "other"}))


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization": "Bearer t"},
        {"authorization": "bearer t"},
        {"authorization": "BEARER  t "},
        {"x-api-key": "t"},
        {"authorization": "Bearer t", "x-api-key": "t"},
    ],
)
def test_where_credentials_may_be(metadata: dict[str, str]) -> None:
    """Either header, or the same in both."""
    call = make_call(metadata=metadata)
    admit(Authentication([Fixed("t", ALICE)]), call)
    assert call.principal is ALICE


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization": "t"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic t"},
        {"authorization": "x" * 9_000},
        {"x-api-key": "x" * 9_000},
        {"authorization": "Bearer t", "x-api-key": "u"},
        {"authorization": b"Bearer t"},
    ],
)
def test_what_is_refused(metadata: dict[str, Any]) -> None:
    """Unclear credentials are none."""
    with pytest.raises(Unauthenticated):
        admit(Authentication([Fixed("t", ALICE)]), make_call(metadata=metadata))


@given(st.text(max_size=40))
def test_no_authorization_text_crashes(text: str) -> None:
    """Whatever it is, it is refused in a typed way or passed on."""
    try:
        admit(Authentication([Fixed("t", ALICE)]), make_call(metadata={"authorization": text}))
    except Unauthenticated:
        return
    assert text.partition(" ")[2].strip() == "t"


def test_the_first_that_knows_the_kind_decides() -> None:
    """Later ones are not asked."""
    first, second = Fixed("a", ALICE), Fixed("b", Principal("bob", frozenset()))
    concern = Authentication([first, second])
    call = make_call(metadata={"x-api-key": "b"})
    admit(concern, call)
    assert call.principal is not None
    assert call.principal.name == "bob"
    admit(concern, make_call(metadata={"x-api-key": "a"}))
    assert (first.asked, second.asked) == (2, 1)


async def test_authenticators_may_take_their_time() -> None:
    """One that waits, then one that does not, then nobody."""
    concern = Authentication([Fixed("a", ALICE, later=True), Fixed("b", ALICE), Fixed("c", ALICE, later=True)])
    for token in "abc":
        call = make_call(metadata={"x-api-key": token})
        await admit_async(concern, call)
        assert call.principal is ALICE
    with pytest.raises(Unauthenticated):
        await admit_async(concern, make_call(metadata={"x-api-key": "d"}))


class TestTenant:
    """`x-podium-tenant` counts only where the credential allows it."""

    def test_the_keys_own(self) -> None:
        for metadata in ({}, {"x-podium-tenant": "acme"}):
            call = make_call(metadata={"x-api-key": "t", **metadata})
            admit(Authentication([Fixed("t", ALICE)]), call)
            assert call.principal is ALICE

    def test_another_is_denied(self) -> None:
        with pytest.raises(PermissionDenied):
            admit(
                Authentication([Fixed("t", ALICE)]),
                make_call(metadata={"x-api-key": "t", "x-podium-tenant": "other"}),
            )

    def test_the_local_caller_may_choose(self) -> None:
        call = make_call(metadata={"x-podium-tenant": "other"})
        admit(Authentication(), call)
        assert call.principal is not None
        assert (call.principal.tenant, call.principal.local) == ("other", True)
        with pytest.raises(InvalidRequest):
            admit(Authentication(), make_call(metadata={"x-podium-tenant": "no spaces"}))


def test_public_methods_ask_nobody() -> None:
    """Health needs no credential; a method without a policy does, so that the denial names the caller."""
    concern = Authentication([Fixed("t", ALICE)])
    assert concern.bind(make_method(MethodPolicy(None, MethodClass.OPEN))) is None
    with pytest.raises(Unauthenticated):
        admit(concern, make_call(make_method(None)))
