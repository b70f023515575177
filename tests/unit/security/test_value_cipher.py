"""What a sealed value gives away, and to whom: nothing, and only to those who sealed it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from podium.security.value_cipher import CipherError, ValueCipher

SECRET = "correct horse battery staple and more"
CIPHER = ValueCipher(SECRET, salt="here")


@given(tenant=st.text(st.characters(codec="utf-8")), aad=st.binary(), plaintext=st.binary())
def test_what_was_sealed_comes_back_and_shows_nowhere(tenant: str, aad: bytes, plaintext: bytes) -> None:
    sealed = CIPHER.seal(tenant, aad, plaintext)
    assert CIPHER.open(tenant, aad, sealed) == plaintext
    assert len(sealed) == len(plaintext) + 30
    assert len(plaintext) < 4 or plaintext not in sealed


def test_the_envelope_is_as_described() -> None:
    """Read by hand: version, key id, nonce, and AES-256-GCM with a key by HKDF-SHA256."""
    sealed = ValueCipher(SECRET, salt="here", key_id=7).seal("acme", b"name", b"value")
    assert sealed[:2] == b"\x01\x07"
    info = (12).to_bytes(4, "big") + b"podium:cache" + b"acme"
    key = HKDF(algorithm=SHA256(), length=64, salt=b"here", info=info).derive(SECRET.encode())[:32]
    assert AESGCM(key).decrypt(sealed[2:14], sealed[14:], b"\x01\x07name") == b"value"


def test_no_two_seals_are_equal() -> None:
    assert len({CIPHER.seal("a", b"", b"same") for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "other",
    [
        ValueCipher(SECRET[::-1], salt="here"),
        ValueCipher(SECRET, salt="there"),
        ValueCipher(SECRET, salt="here", purpose="something else"),
        ValueCipher(SECRET, salt="here", key_id=2),
    ],
    ids=["secret", "salt", "purpose", "key id"],
)
def test_only_the_same_secret_salt_purpose_and_key_id_open(other: ValueCipher) -> None:
    sealed = CIPHER.seal("a", b"name", b"value")
    with pytest.raises(CipherError):
        other.open("a", b"name", sealed)
    # Told apart by the header alone, another key id must be bound to the value as well.
    with pytest.raises(CipherError):
        other.open("a", b"name", other.seal("a", b"x", b"")[:2] + sealed[2:])


def test_another_tenant_or_other_data_do_not_open() -> None:
    sealed = CIPHER.seal("a", b"name", b"value")
    for tenant, aad in (("b", b"name"), ("a", b"other"), ("a", b"")):
        with pytest.raises(CipherError):
            CIPHER.open(tenant, aad, sealed)


def test_every_altered_bit_and_every_cut_is_noticed() -> None:
    sealed = CIPHER.seal("a", b"name", b"value")
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1 << position % 8
        with pytest.raises(CipherError):
            CIPHER.open("a", b"name", bytes(altered))
        with pytest.raises(CipherError):
            CIPHER.open("a", b"name", sealed[:position])


def test_a_secret_is_shown_nowhere() -> None:
    shown = repr(CIPHER) + str(CIPHER)
    with pytest.raises(ValueError, match="at least 32 characters") as short:
        ValueCipher("short secret", salt="here")
    with pytest.raises(CipherError) as wrong:
        CIPHER.open("a", b"", CIPHER.seal("b", b"", b""))
    shown += str(short.value) + str(wrong.value)
    assert SECRET not in shown
    assert "short secret" not in shown
    assert wrong.value.__cause__ is None


@pytest.mark.parametrize(
    "options",
    [{"salt": ""}, {"salt": "x", "purpose": ""}, {"salt": "x", "key_id": 256}, {"salt": "x", "max_tenants": 0}],
)
def test_what_makes_no_cipher_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|key id"):
        ValueCipher(SECRET, **options)  # type: ignore[arg-type]


def test_a_secret_may_be_any_bytes_of_the_environment() -> None:
    odd = b"\xff".decode("utf-8", "surrogateescape") * 32
    cipher = ValueCipher(odd, salt="here")
    assert cipher.open("a", b"", cipher.seal("a", b"", b"value")) == b"value"


def test_keys_are_derived_once_for_a_tenant_and_kept_for_so_many() -> None:
    cipher = ValueCipher(SECRET, salt="here", max_tenants=2)
    sealed = {tenant: cipher.seal(tenant, b"", b"v") for tenant in "abcabc"}
    info = cipher._keys_of.cache_info()
    assert (info.misses, info.currsize) == (6, 2)
    cipher.seal("c", b"", b"v")
    assert cipher._keys_of.cache_info().hits == 1
    assert all(cipher.open(tenant, b"", value) == b"v" for tenant, value in sealed.items())


def test_pseudonyms_stay_the_same_and_differ_with_the_key_and_the_tenant() -> None:
    name = CIPHER.pseudonym("a", b"1234")
    assert name == ValueCipher(SECRET, salt="here").pseudonym("a", b"1234")
    others = [
        CIPHER.pseudonym("b", b"1234"),
        CIPHER.pseudonym("a", b"1235"),
        ValueCipher(SECRET[::-1], salt="here").pseudonym("a", b"1234"),
    ]
    assert len({name, *others}) == 4
    assert len(name) == 32
