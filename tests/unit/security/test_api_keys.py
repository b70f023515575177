"""API keys: their form, what is refused and how, and that nothing leaks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import InvalidRequest, Unauthenticated
from podium.security.api_keys import (
    ApiKey,
    ApiKeyAuthenticator,
    ExpiredKey,
    MalformedKey,
    RevokedKey,
    UnknownKey,
    check_scopes,
    check_tenant,
    new_token,
    split,
)
from podium.security.key_store import KeyStore
from podium.security.principal import Credentials, Principal


class Source:
    """Keys in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.time = 1_000.0

    def find(self, key_id: str) -> ApiKey | None:
        return self.keys.get(key_id)

    def now(self) -> float:
        return self.time

    def add(self, **changes: object) -> str:
        token, key_id, sha256 = new_token()
        fields = {"scopes": frozenset({"read"}), "tenant": "t", "name": "", "created": 0.0, **changes}
        self.keys[key_id] = ApiKey(key_id, sha256, **fields)  # type: ignore[arg-type]
        return token


@pytest.fixture
def source() -> Source:
    return Source()


def test_the_form_of_a_token() -> None:
    """pdm_, eight characters, and 256 bits in 43 of base 62; the digest is of the secret alone."""
    tokens = set()
    for _ in range(200):
        token, key_id, sha256 = new_token()
        tokens.add(token)
        assert len(token) == 56
        assert split(token) == (key_id, token[13:])
        assert sha256 == hashlib.sha256(token[13:].encode()).hexdigest()
    assert len(tokens) == 200


def test_good_keys_give_their_holder(source: Source) -> None:
    """From either place; the same object every time."""
    token = source.add(scopes=frozenset({"read", "admin"}))
    authenticator = ApiKeyAuthenticator(source)
    principal = authenticator.authenticate(Credentials(bearer=token))
    assert isinstance(principal, Principal)
    assert principal.name == f"api:{token[4:12]}"
    assert (principal.scopes, principal.tenant, principal.any_tenant) == (frozenset({"read", "admin"}), "t", True)
    assert authenticator.authenticate(Credentials(api_key=token)) is principal


def test_other_bearers_are_left_to_others(source: Source) -> None:
    """A token without our prefix may be a JWT; in x-api-key it can only be malformed."""
    authenticator = ApiKeyAuthenticator(source)
    assert authenticator.authenticate(Credentials(bearer="eyJhbGciOi.J9.x")) is None
    assert authenticator.authenticate(Credentials()) is None
    with pytest.raises(MalformedKey):
        authenticator.authenticate(Credentials(api_key="eyJhbGciOi.J9.x"))


def test_states(source: Source) -> None:
    """Expired and revoked are told only to whoever has the secret."""
    authenticator = ApiKeyAuthenticator(source)
    expiring = source.add(expires=2_000.0)
    revoked = source.add(revoked=1.0)
    assert authenticator.authenticate(Credentials(api_key=expiring)) is not None
    source.time = 2_000.0
    with pytest.raises(ExpiredKey):
        authenticator.authenticate(Credentials(api_key=expiring))
    with pytest.raises(RevokedKey):
        authenticator.authenticate(Credentials(api_key=revoked))
    wrong_secret = revoked[:13] + new_token()[0][13:]
    with pytest.raises(UnknownKey):
        authenticator.authenticate(Credentials(api_key=wrong_secret))
    with pytest.raises(UnknownKey):
        authenticator.authenticate(Credentials(api_key=new_token()[0]))


def test_a_replaced_record_takes_effect(source: Source) -> None:
    """The principal follows the record, not the id."""
    token = source.add()
    authenticator = ApiKeyAuthenticator(source)
    authenticator.authenticate(Credentials(api_key=token))
    old = source.keys[token[4:12]]
    source.keys[token[4:12]] = ApiKey(old.id, old.sha256, frozenset({"run"}), "t", "", 0.0)
    principal = authenticator.authenticate(Credentials(api_key=token))
    assert isinstance(principal, Principal)
    assert principal.scopes == frozenset({"run"})


BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@given(st.one_of(st.text(max_size=80), st.from_regex(r"pdm_[^\n]{0,60}", fullmatch=True)))
def test_no_text_gets_in(text: str) -> None:
    """Whatever is sent, the answer is a typed refusal."""
    source = Source()
    source.add()
    with pytest.raises(Unauthenticated):
        ApiKeyAuthenticator(source).authenticate(Credentials(api_key=text or "x"))


@given(st.integers(0, 55), st.characters())
def test_no_near_miss_gets_in(position: int, character: str) -> None:
    """A good key with one character changed is refused, whatever the character."""
    source = Source()
    token = source.add()
    changed = token[:position] + character + token[position + 1 :]
    if changed == token:
        return
    with pytest.raises(Unauthenticated):
        ApiKeyAuthenticator(source).authenticate(Credentials(api_key=changed))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "pdm_",
        "pdm_AAAAAAAA",
        "pdm_AAAAAAAA_" + "0" * 42,
        "pdm_AAAAAAAA_" + "0" * 44,
        "pdm_AAAA-AAA_" + "0" * 43,
        "PDM_AAAAAAAA_" + "0" * 43,
        "pdm_AAAAAAAA_" + "0" * 42 + "\n",
        "pdm_AAAAAAAA_" + "z" * 43,  # beyond 256 bits
        "pdm_AAAAAAAA_" + "\u0660" * 43,  # digits, but not ASCII
    ],
)
def test_malformed(token: str) -> None:
    """The form is checked exactly."""
    with pytest.raises(MalformedKey):
        split(token)


def test_refusals_do_not_repeat_the_key(source: Source) -> None:
    """Neither message nor text form shows what was sent."""
    for token in (new_token()[0], "pdm_broken"):
        with pytest.raises(Unauthenticated) as caught:
            ApiKeyAuthenticator(source).authenticate(Credentials(api_key=token))
        assert token not in str(caught.value)
    assert "sesame" not in repr(Credentials("sesame", "sesame"))


def test_scopes_and_tenants_are_checked() -> None:
    """What a key is made with must mean something."""
    assert check_scopes(frozenset({"run"})) == {"run"}
    for wrong in (frozenset[str](), frozenset({"root"})):
        with pytest.raises(InvalidRequest, match="admin, infer, read, run, tools"):
            check_scopes(wrong)
    assert check_tenant("a.b-c_1") == "a.b-c_1"
    for name in ("", ".a", "a b", "x" * 65, "a\n"):
        with pytest.raises(InvalidRequest):
            check_tenant(name)


def test_the_store_is_a_source(tmp_path: Path) -> None:
    """The authenticator works on the real store."""
    store = KeyStore(tmp_path)
    token, record = store.create(frozenset({"read"}))
    principal = ApiKeyAuthenticator(store).authenticate(Credentials(api_key=token))
    assert isinstance(principal, Principal)
    assert principal.name == f"api:{record.id}"
