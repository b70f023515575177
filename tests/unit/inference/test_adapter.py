"""Adapter files: what is written can be read, and what is damaged, foreign or newer is refused in words."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.errors import InvalidRequest
from podium.inference.adapter import SHIPPED, Adapter, AdapterHeader, Factors, pack
from podium.inference.model_store import shipped_adapter
from support.tiny_llama import RANK, make_adapter, make_factors

BASE = "ab" * 32
HEADER = AdapterHeader(
    name="planner",
    version="1",
    base_sha256=BASE,
    rank=RANK,
    scale=2.0,
    dialect="lines",
    training={"examples": 40_000, "loss": 0.25},
)


def written(tmp_path: Path, header: AdapterHeader = HEADER) -> Path:
    path = tmp_path / "planner-1.npz"
    path.write_bytes(pack(make_factors(), header))
    return path


def test_what_was_packed_is_read(tmp_path: Path) -> None:
    """Header and corrections come back; a correction is off by the rounding to 8 bits only."""
    path = written(tmp_path)
    adapter = Adapter.read(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert adapter.header == HEADER
    assert adapter.header.label == "planner@1"
    assert adapter.tensors == set(make_factors())
    for name, (a, b) in make_factors().items():
        exact, stored = 2.0 * b @ a, adapter.delta(name)
        assert stored is not None
        assert stored.dtype == np.float32
        assert stored.shape == (b.shape[0], a.shape[1])
        assert float(np.abs(stored - exact).max()) < 0.02 * float(np.abs(exact).max())
    assert adapter.delta("blk.1.attn_q.weight") is None


def test_the_same_adapter_gives_the_same_bytes(tmp_path: Path) -> None:
    """A digest can be pinned: neither the time of writing nor the order of tensors is in the file."""
    path = written(tmp_path)
    turned = dict(reversed(make_factors().items()))
    assert pack(turned, HEADER) == path.read_bytes()
    copy = tmp_path / "copy.npz"
    assert Adapter.read(path, sha256=None).write(copy) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert copy.read_bytes() == path.read_bytes()


def test_components_of_very_different_size_are_all_kept() -> None:
    """A scale a component, shared between both factors, keeps those that one scale would round to nothing."""
    rng = np.random.default_rng(5)
    a = rng.normal(0, 1, (3, 40)).astype(np.float32) * np.array([[1.0], [1e-2], [1e-3]], dtype=np.float32)
    b = rng.normal(0, 1, (50, 3)).astype(np.float32) * np.array([1.0, 1e-5, 1e-6], dtype=np.float32)
    stored = Factors.of(a, b)
    for component in range(3):
        alone = Factors(
            stored.a[[component]], stored.a_scale[[component]], stored.b[:, [component]], stored.b_scale[[component]]
        ).product()
        exact = np.outer(b[:, component], a[component])
        assert float(np.abs(alone - exact).max()) < 0.03 * float(np.abs(exact).max())


def test_a_component_that_never_moved_stays_zero() -> None:
    """Training starts with B at zero."""
    a, b = np.ones((2, 8), dtype=np.float32), np.zeros((6, 2), dtype=np.float32)
    b[:, 1] = 0.5
    product = Factors.of(a, b).product()
    np.testing.assert_allclose(product, np.full((6, 8), 0.5), rtol=0.01)
    assert not Factors.of(a, np.zeros_like(b)).product().any()


def test_a_file_with_another_digest_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pin is checked first: content that nobody vouches for reaches no parser."""
    path = written(tmp_path)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the file was parsed"))
    with pytest.raises(InvalidRequest, match="digest differs"):
        Adapter.read(path, sha256="0" * 64)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        Adapter.read(tmp_path / "absent.npz", sha256=None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_one_kind_of_error(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes are lost or changed, the caller sees InvalidRequest or a whole adapter."""
    content = bytearray(pack({"m": make_factors()["blk.0.attn_k.weight"]}, HEADER))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    try:
        adapter = Adapter.read(path, sha256=None)
    except InvalidRequest:
        return
    assert adapter.tensors == {"m"}


def stored_arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def with_header(**changes: object) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        values = {**json.loads(arrays["header"].tobytes()), **changes}
        arrays["header"] = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)

    return change


def with_array(part: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        name = f"blk.0.attn_q.weight.{part}"
        arrays[name] = change(arrays[name])

    return apply


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_header(format="other"), "not an adapter"),
        (with_header(format_version=2), "version 2; this release reads version 1"),
        (with_header(rank=4), "at rank 4"),
        (with_header(rank=0), "rank 0"),
        (with_header(scale=float("inf")), "scale inf"),
        (with_header(base_sha256="short"), "which model file"),
        (with_array("a", lambda a: a.astype(np.int16)), "8-bit"),
        (with_array("b", lambda b: b.T), "shapes"),
        (with_array("a_scale", lambda scale: scale[:-1]), "its scales have shapes"),
        (with_array("a_scale", lambda scale: scale.astype(np.float32)), "half-precision"),
        (with_array("b_scale", lambda scale: np.full_like(scale, np.nan)), "finite"),
        (lambda arrays: arrays.pop("header"), "not an adapter"),
        (lambda arrays: arrays.pop("blk.0.ffn_up.weight.b"), "not an adapter"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Each fault has its own words."""
    arrays = stored_arrays(written(tmp_path))
    change(arrays)
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    path = tmp_path / "changed.npz"
    path.write_bytes(sink.getvalue())
    with pytest.raises(InvalidRequest, match=says):
        Adapter.read(path, sha256=None)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    """An array of objects would run code of the file's choosing."""
    arrays = stored_arrays(written(tmp_path))
    arrays["blk.0.attn_q.weight.a"] = np.array([{"a": 1}], dtype=object)
    path = tmp_path / "pickled.npz"
    np.savez(path, **arrays)
    with pytest.raises(InvalidRequest, match="not an adapter"):
        Adapter.read(path, sha256=None)


@pytest.mark.parametrize(
    "factors",
    [
        {"m": (np.ones((RANK + 1, 4), np.float32), np.ones((4, RANK), np.float32))},
        {"m": (np.ones((RANK, 4), np.float32), np.full((4, RANK), np.nan, np.float32))},
    ],
)
def test_what_cannot_be_an_adapter_is_not_packed(factors: dict[str, Any]) -> None:
    """A training run that went wrong says so when it writes, not at a user's pull."""
    with pytest.raises(InvalidRequest, match="'m' has factors"):
        pack(factors, HEADER)


def test_a_shipped_adapter_is_checked_against_its_pin_and_its_base(tmp_path: Path) -> None:
    """The file is the one of this name and version, for this model, or it is not used."""
    shipped = make_adapter(tmp_path / "planner-1.npz", BASE)
    assert shipped.load(BASE).header.dialect == "lines"
    with pytest.raises(InvalidRequest, match="belongs to the model file"):
        shipped.load("cd" * 32)
    with pytest.raises(InvalidRequest, match="holds the adapter planner@1, not planner@2"):
        replace(shipped, version="2").load(BASE)
    shipped.path.write_bytes(shipped.path.read_bytes()[:-1])
    with pytest.raises(InvalidRequest, match="digest differs"):
        shipped.load(BASE)
    assert not replace(shipped, path=tmp_path / "absent").present
    assert not replace(shipped, sha256="").present


def test_the_adapter_of_this_release_is_whole() -> None:
    """File and digest come together, and what is shipped fits the default model."""
    assert bool(SHIPPED.sha256) == SHIPPED.path.is_file(), "put the file and its digest in together"
    shipped = shipped_adapter()
    if shipped is not None:
        from podium.inference.model_store import _DEFAULT

        adapter = shipped.load(_DEFAULT.sha256)
        assert adapter.tensors
        assert adapter.header.dialect
