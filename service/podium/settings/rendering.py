"""Settings for people: one row a setting, with its value and where that came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretBytes, SecretStr

from podium.settings._given import shown
from podium.settings.fields import FAMILIES, SettingField, find_field, setting_fields
from podium.settings.loading import Loaded
from podium.settings.problems import Layer

__all__ = ["HIDDEN", "Row", "plain_value", "render"]

HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as shown: its path, its value as text, its origin, whether it was given at all."""

    path: str
    value: str
    origin: str
    given: bool


def render(loaded: Loaded) -> list[Row]:
    """Return a row for every setting, secrets hidden, in the order of the documentation."""
    return [
        Row(path, _text(field, value), str(loaded.origin(path)), loaded.origin(path).layer is not Layer.DEFAULT)
        for path, field, value in _values(loaded)
    ]


def _values(loaded: Loaded) -> Iterator[tuple[str, SettingField, Any]]:
    settings = loaded.settings
    for path, field in setting_fields().items():
        group, _, name = path.rpartition(".")
        yield path, field, getattr(getattr(settings, group) if group else settings, name)
    for family in FAMILIES:
        for name, table in getattr(settings, family).items():
            for key in type(table).model_fields:
                field_ = find_field(f"{family}.{name}.{key}")
                if field_ is not None:
                    yield field_.path, field_, getattr(table, key)


def plain_value(value: Any) -> Any:
    """Return a value as JSON and TOML know it; secrets hidden."""
    if isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item) for item in value]
    return value


def _text(field: SettingField, value: Any) -> str:
    if value is None:
        return "(not set)"
    if field.secret or (shown(field.path, "") == HIDDEN and not field.path.endswith("_env")):
        return HIDDEN
    plain = plain_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
