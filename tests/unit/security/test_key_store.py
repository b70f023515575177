"""The key file: private, atomic, shared between processes, and noticed when it changes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from podium.errors import InvalidRequest, NotFound
from podium.security.key_store import KeyFileError, KeyStore

READ = frozenset({"read"})


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> KeyStore:
    return KeyStore(tmp_path, clock=clock, monotonic=clock)


def test_what_is_written(store: KeyStore, tmp_path: Path) -> None:
    """Owner only, no secret, nothing left beside it but the lock."""
    token, record = store.create(READ, tenant="acme", name="ci", valid_seconds=60)
    content = store.path.read_text()
    assert token not in content
    assert token[13:] not in content
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]
    entry = json.loads(content)["keys"][0]
    assert entry["scopes"] == ["read"]
    assert (entry["tenant"], entry["name"], entry["expires"]) == ("acme", "ci", 1_700_000_060.0)
    assert KeyStore(tmp_path).find(record.id) == record


def test_list_create_revoke(store: KeyStore, clock: Clock) -> None:
    """Oldest first; states follow time; revoking twice changes nothing."""
    _, first = store.create(READ)
    clock.now += 1
    _, second = store.create(READ, valid_seconds=10)
    assert store.list() == [first, second]
    assert [key.state(clock.now) for key in store.list()] == ["active", "active"]
    clock.now += 10
    revoked = store.revoke(first.id)
    assert [key.state(clock.now) for key in store.list()] == ["revoked", "expired"]
    clock.now += 1
    assert store.revoke(first.id) == revoked
    with pytest.raises(NotFound):
        store.revoke("missing1")


def test_bad_arguments_write_nothing(store: KeyStore) -> None:
    """A refused key leaves no file behind."""
    with pytest.raises(InvalidRequest):
        store.create(frozenset({"root"}))
    with pytest.raises(InvalidRequest):
        store.create(READ, tenant="a b")
    assert not store.path.exists()
    assert store.empty


def test_a_running_server_notices(store: KeyStore, tmp_path: Path, clock: Clock) -> None:
    """A new key works at once, a revoked one stops within the interval."""
    writer = KeyStore(tmp_path, clock=clock, monotonic=clock)
    assert store.empty
    _, record = writer.create(READ)
    assert store.find(record.id) == record
    assert not store.empty
    writer.revoke(record.id)
    assert store.find(record.id) == record  # not looked yet
    clock.now += 0.6
    found = store.find(record.id)
    assert found is not None
    assert found.revoked is not None
    store.path.unlink()
    clock.now += 0.6
    assert store.find(record.id) is None


def test_looking_is_paced(store: KeyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of calls a second with a known key cost no file access each."""
    _, record = store.create(READ)
    looks = 0
    look = store._look

    def counted() -> tuple[int, int, int] | None:
        nonlocal looks
        looks += 1
        return look()

    monkeypatch.setattr(store, "_look", counted)
    for _ in range(1_000):
        store.find(record.id)
    assert looks == 0
    clock.now += 0.6
    for _ in range(1_000):
        store.find(record.id)
    assert looks == 1


def test_a_damaged_file_stops_the_start_but_not_a_running_server(
    store: KeyStore, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is up goes on with the keys it knows."""
    _, record = store.create(READ)
    for content in (b"", b"{", b"[]", b'{"keys": 1}', b'{"keys": [{"id": 1}]}', b"\xff"):
        store.path.write_bytes(content)
        with pytest.raises(KeyFileError, match="damaged"):
            KeyStore(tmp_path)
        clock.now += 0.6
        assert store.find(record.id) == record
    assert "stay in force" in caplog.text


@pytest.mark.parametrize("field", ["id", "sha256", "tenant", "created", "expires", "revoked", "scopes"])
def test_fields_of_the_wrong_type_are_damage(store: KeyStore, tmp_path: Path, field: str) -> None:
    """Nothing odd from the file reaches the comparison of secrets."""
    store.create(READ)
    document = json.loads(store.path.read_text())
    document["keys"][0][field] = {"id": 7, "sha256": "\u00e9" * 64, "scopes": None}.get(field, [])
    store.path.write_text(json.dumps(document))
    with pytest.raises(KeyFileError, match="damaged"):
        KeyStore(tmp_path)


def test_a_file_that_others_may_read_is_refused(store: KeyStore, tmp_path: Path) -> None:
    """With what to do about it."""
    store.create(READ)
    store.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        KeyStore(tmp_path)


def test_a_failed_write_leaves_the_old_file(store: KeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing: no half-written file, no litter."""
    _, record = store.create(READ)
    before = store.path.read_bytes()

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        store.create(READ)
    assert store.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]
    monkeypatch.undo()
    assert KeyStore(tmp_path).list() == [record]


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    """Three processes make ten keys each at the same time: thirty are there."""
    script = (
        "import sys, pathlib\n"
        "from podium.security import KeyStore\n"
        "for _ in range(10): KeyStore(pathlib.Path(sys.argv[1])).create(frozenset({'read'}))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(50) for process in processes] == [0, 0, 0]
    assert len(KeyStore(tmp_path)) == 30
