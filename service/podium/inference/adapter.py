"""Trained adapters: low-rank corrections (LoRA, Hu et al., 2021) that a pull adds to a model's weights.

For each adapted matrix `W` of a GGUF the model that is served has `W' = W + scale * (B @ A)`, with `A`
of shape (rank, in) and `B` of shape (out, rank), in the file's own row order.

The file is a zip as `numpy.savez_compressed` writes it, without pickles:

- `header`: bytes of a JSON object, see `AdapterHeader`; `format` and `format_version` say what the file is;
- for each matrix, by its name in the GGUF: `<name>.a` (int8, rank x in) with `<name>.a_scale`
  (float16, rank), and `<name>.b` (int8, out x rank) with `<name>.b_scale` (float16, rank).

`A[r] = a[r] * a_scale[r]` and `B[:, r] = b[:, r] * b_scale[r]`: one scale a rank component, since the
components of a trained adapter differ by orders of magnitude.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from podium.errors import InvalidRequest

__all__ = ["SHIPPED", "Adapter", "AdapterHeader", "Factors", "ShippedAdapter", "pack"]

Floats = npt.NDArray[np.float32]

_FORMAT = "podium-adapter"
_FORMAT_VERSION = 1
_HEADER = "header"
_PARTS = ("a", "a_scale", "b", "b_scale")
_LARGEST = 127
_DIGEST_LENGTH = 64
# What the readers of zip, deflate, numpy's arrays and JSON raise on content that is none.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterHeader:
    """What an adapter says of itself.

    Attributes:
        name, version: of the adapter; together its label, `name@version`.
        base_sha256: digest of the GGUF file that it was trained on; it fits no other.
        rank: components of each correction.
        scale: what `B @ A` is multiplied with; often written alpha / rank.
        dialect: how the adapted model wants tools shown and writes calls; empty for the base's own.
        training: facts for people: data, steps, losses. Nothing reads them.
    """

    name: str
    version: str
    base_sha256: str
    rank: int
    scale: float
    dialect: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and version, as manifests and listings show it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Factors:
    """The correction of one matrix as it is stored; see the module's description."""

    a: npt.NDArray[np.int8]
    a_scale: npt.NDArray[np.float16]
    b: npt.NDArray[np.int8]
    b_scale: npt.NDArray[np.float16]

    @classmethod
    def of(cls, a: Floats, b: Floats) -> Factors:
        """Round `A` (rank, in) and `B` (out, rank) to 8 bits a number.

        Only the product matters, so each component's magnitude is first shared evenly between the
        two: a `B` that training has hardly moved from zero would not fit half precision's range.
        """
        largest_a, largest_b = np.abs(a).max(axis=1), np.abs(b).max(axis=0)
        shared = np.sqrt(largest_a * largest_b)
        live = shared > 0
        scale = _rounded_up(np.where(live, shared / _LARGEST, 1.0))
        exact = scale.astype(np.float32)
        to_a = np.where(live, shared / np.where(live, largest_a, 1.0), 0.0) / exact
        to_b = np.where(live, shared / np.where(live, largest_b, 1.0), 0.0) / exact
        return cls(_rounded(a * to_a[:, None]), scale, _rounded(b * to_b), scale.copy())

    def product(self) -> Floats:
        """Return `B @ A`, of shape (out, in)."""
        a = self.a.astype(np.float32) * self.a_scale.astype(np.float32)[:, None]
        b = self.b.astype(np.float32) * self.b_scale.astype(np.float32)
        return b @ a

    def fault(self, rank: int) -> str:
        """Return what is wrong with these arrays in an adapter of `rank`; empty when nothing is."""
        if self.a.dtype != np.int8 or self.b.dtype != np.int8:
            return "its factors are not 8-bit integers"
        if self.a_scale.dtype != np.float16 or self.b_scale.dtype != np.float16:
            return "its scales are not half-precision numbers"
        if self.a.ndim != 2 or self.b.ndim != 2 or self.a.shape[0] != rank or self.b.shape[1] != rank:
            return f"its factors have shapes {self.a.shape} and {self.b.shape} at rank {rank}"
        if self.a_scale.shape != (rank,) or self.b_scale.shape != (rank,):
            return f"its scales have shapes {self.a_scale.shape} and {self.b_scale.shape} at rank {rank}"
        if not (np.isfinite(self.a_scale).all() and np.isfinite(self.b_scale).all()):
            return "a scale of it is not a finite number"
        return ""


class Adapter:
    """A trained adapter in memory. `delta` gives what is to be added to each matrix.

    Args:
        header: what it says of itself.
        factors: of each matrix, by its name in the GGUF.

    Raises:
        InvalidRequest: header and factors do not fit together.
    """

    def __init__(self, header: AdapterHeader, factors: Mapping[str, Factors]) -> None:
        if header.rank < 1 or not math.isfinite(header.scale):
            raise InvalidRequest(f"The adapter {header.label} has rank {header.rank} and scale {header.scale}.")
        if len(header.base_sha256) != _DIGEST_LENGTH:
            raise InvalidRequest(f"The adapter {header.label} does not say which model file it belongs to.")
        for name, stored in factors.items():
            if fault := stored.fault(header.rank):
                raise InvalidRequest(f"The adapter {header.label} cannot be used: of '{name}', {fault}.")
        self.header = header
        self._factors = dict(factors)

    @property
    def tensors(self) -> frozenset[str]:
        """The names of the matrices that it changes."""
        return frozenset(self._factors)

    def delta(self, tensor_name: str) -> Floats | None:
        """Return what is added to a matrix, of shape (out, in); None for one that stays as it is."""
        stored = self._factors.get(tensor_name)
        return None if stored is None else np.float32(self.header.scale) * stored.product()

    def check_base(self, sha256: str) -> None:
        """Make sure that a model is the one that this was trained on.

        Args:
            sha256: digest of the model's GGUF file, in hexadecimal.

        Raises:
            InvalidRequest: it is another.
        """
        if sha256 != self.header.base_sha256:
            raise InvalidRequest(
                f"The adapter {self.header.label} belongs to the model file with the digest "
                f"{self.header.base_sha256[:12]}..., not to one with {sha256[:12]}...."
            )

    def to_bytes(self) -> bytes:
        """Return the content of its file; the same adapter always gives the same bytes."""
        header = {"format": _FORMAT, "format_version": _FORMAT_VERSION, **asdict(self.header)}
        text = json.dumps(header, sort_keys=True).encode()
        arrays: dict[str, Any] = {_HEADER: np.frombuffer(text, dtype=np.uint8)}
        for name in sorted(self._factors):
            arrays.update({f"{name}.{part}": getattr(self._factors[name], part) for part in _PARTS})
        sink = io.BytesIO()
        np.savez_compressed(sink, allow_pickle=False, **arrays)
        return sink.getvalue()

    def write(self, path: Path) -> str:
        """Write the file to `path`, whole or not at all; return its SHA-256 in hexadecimal."""
        content = self.to_bytes()
        partial = path.with_name(f".{path.name}.part")
        partial.write_bytes(content)
        partial.replace(path)
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def read(cls, path: Path, *, sha256: str | None) -> Adapter:
        """Read the file at `path`.

        Args:
            path: of the file.
            sha256: the digest that it must have, checked before anything of it is looked at; None
                trusts the file, for one that was only just trained here.

        Raises:
            InvalidRequest: it is missing, damaged, another file than the digest says, or of a
                version of the format that is not known here.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidRequest(f"The adapter '{path.name}' cannot be read: {error.strerror}.") from error
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise InvalidRequest(f"The adapter '{path.name}' is damaged, or another than expected: its digest differs.")
        try:
            return _parsed(content)
        except _DAMAGE as error:
            raise InvalidRequest(f"'{path.name}' is not an adapter, or it is damaged.") from error


def pack(factors: Mapping[str, tuple[Floats, Floats]], header: AdapterHeader) -> bytes:
    """Return the file of a trained adapter.

    Args:
        factors: `A` (rank, in) and `B` (out, rank) of each matrix, by its name in the GGUF.
        header: what to say of it.

    Raises:
        InvalidRequest: the shapes do not fit the header's rank, or a number is not finite.
    """
    for name, (a, b) in factors.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != header.rank or b.shape[1] != header.rank:
            raise InvalidRequest(f"'{name}' has factors of shapes {a.shape} and {b.shape} at rank {header.rank}.")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InvalidRequest(f"'{name}' has factors that are not finite numbers.")
    return Adapter(header, {name: Factors.of(a, b) for name, (a, b) in factors.items()}).to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedAdapter:
    """An adapter file that comes with the package, pinned by its digest."""

    name: str
    version: str
    path: Path
    sha256: str

    @property
    def label(self) -> str:
        """Name and version, as manifests and listings show it."""
        return f"{self.name}@{self.version}"

    @property
    def present(self) -> bool:
        """Whether this package holds it; without it, models are served as they come."""
        return bool(self.sha256) and self.path.is_file()

    def load(self, base_sha256: str) -> Adapter:
        """Read it for the model file with the digest `base_sha256`.

        Raises:
            InvalidRequest: it is damaged, or not the adapter of this name and version for this model.
        """
        adapter = Adapter.read(self.path, sha256=self.sha256)
        if adapter.header.label != self.label:
            raise InvalidRequest(f"'{self.path.name}' holds the adapter {adapter.header.label}, not {self.label}.")
        adapter.check_base(base_sha256)
        return adapter


# The adapter of the default model that comes with this release. With a new file, change version, path and
# digest together; models pulled with another one are then made anew by the next pull.
SHIPPED: Final = ShippedAdapter(
    name="planner",
    version="2",
    path=Path(__file__).with_name("models") / "planner-2.npz",
    sha256="9ad662af4e982a9e97618013799e7ec78f3bfa4ca3a3b5856405735cca7f1b4f",
)


def _parsed(content: bytes) -> Adapter:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        header = _parsed_header(stored[_HEADER].tobytes())
        names = sorted({key.rpartition(".")[0] for key in stored.files if key != _HEADER})
        return Adapter(header, {name: Factors(*(stored[f"{name}.{part}"] for part in _PARTS)) for name in names})


def _parsed_header(text: bytes) -> AdapterHeader:
    values = json.loads(text)
    if values.pop("format") != _FORMAT:
        raise ValueError("not an adapter")
    version = values.pop("format_version")
    if version != _FORMAT_VERSION:
        raise InvalidRequest(
            f"The adapter's file format is version {version}; this release reads version {_FORMAT_VERSION}."
        )
    return AdapterHeader(
        name=str(values["name"]),
        version=str(values["version"]),
        base_sha256=str(values["base_sha256"]),
        rank=int(values["rank"]),
        scale=float(values["scale"]),
        dialect=str(values["dialect"]),
        training=dict(values["training"]),
    )


def _rounded_up(scale: Floats) -> npt.NDArray[np.float16]:
    """Return the next half-precision numbers that are not smaller, so that no rounded number exceeds 8 bits."""
    half = scale.astype(np.float16)
    short = half.astype(np.float32) < scale
    return np.where(short, np.nextafter(half, np.float16(np.inf)), half).astype(np.float16)


def _rounded(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int8]:
    whole: npt.NDArray[np.int8] = np.clip(np.rint(values), -_LARGEST, _LARGEST).astype(np.int8)
    return whole
