"""`podium.toml`: read, checked for unknown keys, flattened to one value a setting."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from podium.settings._given import Gathered, Given, nearest_key
from podium.settings.fields import FAMILIES, SettingField, find_field, groups
from podium.settings.problems import Layer, Origin

__all__ = ["gather_file"]


def gather_file(path: Path, gathered: Gathered) -> None:
    """Read a TOML file into `gathered`; relative paths in it start at its own folder."""
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        gathered.refuse(
            path, f"cannot be read ({(error.strerror or 'error').lower()})", "check the path and its rights"
        )
        return
    except UnicodeDecodeError:
        gathered.refuse(path, "is not UTF-8", "save it as UTF-8")
        return
    except tomllib.TOMLDecodeError as error:
        gathered.refuse(path, f"is not valid TOML: {error}", "mend that line")
        return
    _File(path, gathered).take(content)


class _File:
    def __init__(self, path: Path, gathered: Gathered) -> None:
        self._path = path
        self._gathered = gathered

    def take(self, content: Mapping[str, Any]) -> None:
        for name, value in content.items():
            if name in FAMILIES:
                self._tables(name, value)
            elif name in groups():
                self._table(name, value)
            else:
                self._leaf(name, value)

    def _table(self, group: str, value: Any) -> None:
        if not isinstance(value, dict):
            self._gathered.refuse(self._origin(group), "this is a group of settings", f"write it as a table: [{group}]")
            return
        for key, inner in value.items():
            self._leaf(f"{group}.{key}", inner)

    def _tables(self, family: str, value: Any) -> None:
        if not isinstance(value, dict) or not all(isinstance(table, dict) for table in value.values()):
            first = "kind = ..." if family == "models" else "models = [...]"
            self._gathered.refuse(self._origin(family), f"{family} are tables", f"write [{family}.NAME] with {first}")
            return
        for name, table in value.items():
            for key, inner in table.items():
                self._leaf(f"{family}.{name}.{key}", inner)

    def _leaf(self, path: str, value: Any) -> None:
        field = find_field(path)
        if field is None:
            near = nearest_key(path)
            todo = f"did you mean {near}?" if near else "see docs/settings.md for the names, or remove it"
            self._gathered.refuse(self._origin(path), "there is no such setting", todo)
            return
        self._gathered.values.append(Given(path, self._anchored(field, path, value), self._origin(path)))

    def _anchored(self, field: SettingField, path: str, value: Any) -> Any:
        named_model = path.startswith("models.") and path.endswith(".model")
        if not field.is_path and not named_model:
            return value
        if isinstance(value, list):
            return [self._anchored(field, path, item) for item in value]
        if not isinstance(value, str) or value.startswith("~"):
            return value
        if named_model and not value.startswith(("./", "../")):
            return value
        return str(self._path.parent / value)

    def _origin(self, path: str) -> Origin:
        return Origin(Layer.FILE, f"{self._path}: {path}")
