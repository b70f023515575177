"""`podium models` for fetched models: what pulling, listing and exporting say of the trained adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from typer.testing import CliRunner, Result

from podium.cli.program import app
from podium.inference import model_store
from podium.inference.model_store import ModelStore
from support.tiny_llama import make_adapter, make_gguf


@pytest.fixture
def tiny_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a tiny model the default one, ship an adapter for it, and return its GGUF file."""
    source = tmp_path / "tiny.gguf"
    digest = make_gguf(source, gguf.GGMLQuantizationType.Q4_1)
    pin = model_store._Pinned(
        name="smollm2-135m-instruct",
        requirement="thing==1.0",
        sha256=digest,
        gguf_bytes=1000,
        wheel_bytes=1000,
        reencoded_bytes=1000,
        adapter=make_adapter(tmp_path / "planner-1.npz", digest),
    )
    monkeypatch.setattr(model_store, "_DEFAULT", pin)
    monkeypatch.setenv("PODIUM_STORAGE__MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr("podium.inference.word_vectors.keep_word_vectors", lambda _: True)
    return source


async def podium(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["models", *arguments], env={"COLUMNS": None})


async def test_a_pull_shows_the_merge_and_the_adapter(tmp_path: Path, tiny_default: Path) -> None:
    """In its stages, in its last line, and in the list."""
    result = await podium("pull", "--from", str(tiny_default))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines() == ["Merging the trained adapter into the weights ..."]
    folder = tmp_path / "models" / "smollm2-135m-instruct"
    assert result.stdout == f"smollm2-135m-instruct is ready (0 MB, with planner@1, {folder}).\n"
    plain = await podium("pull", "--plain", "--from", str(tiny_default))
    assert plain.stderr.splitlines() == ["Re-encoding the weights ..."]
    assert plain.stdout == f"smollm2-135m-instruct-plain is ready (0 MB, {folder}-plain).\n"
    rows = [row.split() for row in (await podium("list", "--local")).stdout.splitlines()]
    assert rows[0] == ["model", "format", "size", "adapter", "folder"]
    assert [row[4] for row in rows[1:]] == ["planner@1", "none"]


async def test_a_model_of_another_release_is_listed_as_out_of_date(
    tiny_default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list says what to do about it."""
    assert (await podium("pull", "--from", str(tiny_default))).exit_code == 0
    monkeypatch.setattr(model_store, "_DEFAULT", replace(model_store._DEFAULT, adapter=None))
    assert "planner@1 (out of date: pull again)" in (await podium("list", "--local")).stdout


async def test_a_fetched_model_is_exported(tmp_path: Path, tiny_default: Path) -> None:
    """By default the embedded one; another by its name."""
    ModelStore(tmp_path / "models").pull(tiny_default)
    ModelStore(tmp_path / "models").pull(tiny_default, adapter=False)
    result = await podium("export", "--hf", str(tmp_path / "a"))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"smollm2-135m-instruct was exported to {tmp_path / 'a'}.\n"
    assert '"podium_adapter": "planner@1"' in (tmp_path / "a" / "config.json").read_text()
    assert (
        await podium("export", "--hf", str(tmp_path / "b"), "--model", "smollm2-135m-instruct-plain")
    ).exit_code == 0
    assert "podium_adapter" not in (tmp_path / "b" / "config.json").read_text()
    again = await podium("export", "--hf", str(tmp_path / "b"))
    assert again.exit_code == 2
    assert "not an empty folder" in again.stderr


async def test_what_was_not_fetched_is_not_exported(tmp_path: Path, tiny_default: Path) -> None:
    """The message says how to fetch it."""
    result = await podium("export", "--hf", str(tmp_path / "a"))
    assert result.exit_code == 2
    assert "podium models pull" in result.stderr
    assert not (tmp_path / "a").exists()
