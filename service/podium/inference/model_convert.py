"""Re-encode a GGUF once into a form that OpenVINO reads exactly.

OpenVINO's reader takes F16, Q8_0, Q4_0 and Q4_1, but its Q4_1 path is less exact than the file
itself (`docs/decisions`: it left the greedy path at the first token on half of our prompts), and
it refuses BF16, Q5_1 and the K-quants. So weights of any other type become Q8_0. On the way a
trained adapter can be added to them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.errors import FailedPrecondition, InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from gguf import GGUFReader, GGUFWriter, ReaderTensor

    from podium.inference.adapter import Adapter

__all__ = ["decode", "load_gguf", "needs_reencoding", "reencode_q8_0"]

_EXACT_TYPES = frozenset({"F32", "F16", "Q8_0", "Q4_0"})
_Q8_0_BLOCK = 32
_LLAMA_FTYPE_Q8_0 = 7


def _gguf() -> Any:
    """Import the `gguf` package, which only the `embedded` extra brings."""
    try:
        import gguf  # noqa: PLC0415  # heavy and optional: only a pull needs it
    except ImportError as missing:
        raise FailedPrecondition(
            "Reading a GGUF file needs the 'gguf' package: install podium with its 'embedded' extra."
        ) from missing
    return gguf


def load_gguf(path: Path) -> GGUFReader:
    """Open `path`, memory-mapped.

    Raises:
        InvalidRequest: it is missing or not a GGUF file.
        FailedPrecondition: the `gguf` package is not installed.
    """
    gguf = _gguf()
    try:
        reader: GGUFReader = gguf.GGUFReader(path)
    except OSError as error:
        raise InvalidRequest(f"The model file '{path.name}' cannot be read.") from error
    except (ValueError, IndexError, KeyError) as error:
        raise InvalidRequest(f"'{path.name}' is not a GGUF file, or it is damaged.") from error
    return reader


def decode(tensor: ReaderTensor) -> npt.NDArray[np.float32]:
    """Return a tensor's weights, slowest dimension first.

    Raises:
        InvalidRequest: it is of a type that cannot be decoded.
        FailedPrecondition: the `gguf` package is not installed.
    """
    gguf = _gguf()
    try:
        weights: npt.NDArray[np.float32] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise InvalidRequest(f"The file holds weights of a kind that cannot be decoded: {error}.") from error
    return weights


def needs_reencoding(reader: GGUFReader) -> bool:
    """Whether any weight has a type that OpenVINO reads inexactly or not at all."""
    return any(tensor.tensor_type.name not in _EXACT_TYPES for tensor in reader.tensors)


def reencode_q8_0(
    reader: GGUFReader, target: Path, progress: Callable[[int, int], None], adapter: Adapter | None = None
) -> None:
    """Write the model of `reader` to `target` with every weight matrix as Q8_0; `target` appears whole or not at all.

    Tensor by tensor, so that memory stays at the largest tensor. `progress(done, total)` counts
    tensors' elements. Takes about 5 s for 135 M parameters.

    Args:
        reader: of the source file.
        target: the file to write.
        progress: told of each tensor that was written.
        adapter: added to the weights that it names, which become Q8_0 whatever type they had.

    Raises:
        InvalidRequest: it holds a type that cannot be decoded, or the adapter fits another model.
        FailedPrecondition: the `gguf` package is not installed.
    """
    if adapter is not None:
        _check_fits(reader, adapter)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _write(reader, partial, progress, adapter)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _check_fits(reader: GGUFReader, adapter: Adapter) -> None:
    missing = adapter.tensors - {tensor.name for tensor in reader.tensors}
    if missing:
        raise InvalidRequest(
            f"The adapter {adapter.header.label} changes '{min(missing)}', which this model does not have."
        )


def _write(reader: GGUFReader, partial: Path, progress: Callable[[int, int], None], adapter: Adapter | None) -> None:
    gguf = _gguf()
    architecture = reader.fields["general.architecture"].contents()
    writer: GGUFWriter = gguf.GGUFWriter(partial, architecture)
    try:
        _copy_metadata(reader, writer)
        adapted = frozenset[str]() if adapter is None else adapter.tensors
        plan = [(tensor, _target_type(tensor, tensor.name in adapted)) for tensor in reader.tensors]
        for tensor, qtype in plan:
            _announce(writer, tensor, qtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total = sum(int(tensor.n_elements) for tensor, _ in plan)
        done = 0
        for tensor, qtype in plan:
            writer.write_tensor_data(_encoded(tensor, qtype, adapter))
            done += int(tensor.n_elements)
            progress(done, total)
    finally:
        writer.close()


def _encoded(tensor: ReaderTensor, qtype: Any, adapter: Adapter | None) -> Any:
    """Return a tensor's data as `qtype`, with what the adapter adds to it."""
    gguf = _gguf()
    delta = None if adapter is None else adapter.delta(tensor.name)
    if delta is None and tensor.tensor_type == qtype:
        return tensor.data
    weights = decode(tensor)
    if delta is not None:
        if delta.shape != weights.shape:
            raise InvalidRequest(
                f"The adapter's correction of '{tensor.name}' has shape {delta.shape}, the weights {weights.shape}."
            )
        weights = weights + delta
    return gguf.quants.quantize(weights, qtype)


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    gguf = _gguf()
    for name, field in reader.fields.items():
        # The writer makes these itself.
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value_type = field.types[0]
        sub_type = field.types[-1] if value_type == gguf.GGUFValueType.ARRAY else None
        value = _LLAMA_FTYPE_Q8_0 if name == "general.file_type" else field.contents()
        writer.add_key_value(name, value, value_type, sub_type=sub_type)


def _target_type(tensor: ReaderTensor, adapted: bool) -> Any:
    gguf = _gguf()
    kind = gguf.GGMLQuantizationType
    if tensor.tensor_type.name in _EXACT_TYPES - {"Q4_0"} and not adapted:
        return tensor.tensor_type
    # Rows that are no multiple of the block, and vectors, stay at full precision.
    if len(tensor.shape) < 2 or int(tensor.shape[0]) % _Q8_0_BLOCK:
        return kind.F32
    return kind.Q8_0


def _announce(writer: GGUFWriter, tensor: ReaderTensor, qtype: Any) -> None:
    gguf = _gguf()
    import numpy as np  # noqa: PLC0415  # comes with gguf

    if tensor.tensor_type == qtype:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, qtype)
        return
    # A GGUF lists the fastest dimension first, numpy the slowest.
    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    if qtype == gguf.GGMLQuantizationType.F32:
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), int(tensor.n_elements) * 4, qtype)
        return
    stored = gguf.quant_shape_to_byte_shape(shape, qtype)
    size = 1
    for extent in stored:
        size *= int(extent)
    writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), size, qtype)
