"""The index of every setting: dotted path, field, and the environment variable that sets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from podium.settings.models import AnthropicModel, EmbeddedModel, OpenAIModel, RouteTable, ScriptedModel, TrtllmModel
from podium.settings.orchestration import PriceTable
from podium.settings.root import Settings

__all__ = ["PREFIX", "SettingField", "find_field", "groups", "setting_fields"]

PREFIX = "PODIUM_"
FAMILIES: Mapping[str, tuple[type[BaseModel], ...]] = {
    "models": (EmbeddedModel, ScriptedModel, TrtllmModel, OpenAIModel, AnthropicModel),
    "routes": (RouteTable,),
    "prices": (PriceTable,),
}
"""The tables that come with a name, `[models.NAME]`, by their first word."""


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting.

    Attributes:
        path: dotted, as in `podium.toml`.
        info: pydantic's field, with description, default and bounds.
        many: whether it holds a list.
        is_path: whether it holds file system paths.
        secret: whether its value must never be shown.
    """

    path: str
    info: FieldInfo
    many: bool
    is_path: bool
    secret: bool

    @property
    def env_name(self) -> str:
        """Name of its environment variable."""
        return PREFIX + self.path.upper().replace(".", "__")

    @property
    def default(self) -> Any:
        """Its default; None when it has none."""
        return None if self.info.is_required() else self.info.get_default(call_default_factory=True)


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in (Union, UnionType, tuple, list, frozenset):
        for part in get_args(annotation):
            if part not in (Ellipsis, NoneType):
                yield from _leaves(part)
    else:
        yield annotation


def describe(path: str, info: FieldInfo) -> SettingField:
    """Return what the loader and the documents need to know of a pydantic field."""
    kinds = [kind for kind in _leaves(info.annotation) if isinstance(kind, type)]
    return SettingField(
        path=path,
        info=info,
        many=get_origin(info.annotation) in (tuple, list, frozenset),
        is_path=any(issubclass(kind, Path) for kind in kinds),
        secret=any(hasattr(kind, "get_secret_value") for kind in kinds),
    )


def groups(root: type[BaseModel] = Settings) -> Mapping[str, type[BaseModel]]:
    """Return the groups of settings by name, in the order of the class."""
    return {
        name: info.annotation
        for name, info in root.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


@cache
def setting_fields(root: type[BaseModel] = Settings) -> Mapping[str, SettingField]:
    """Return every setting by dotted path, apart from the tables with names."""
    tables = groups(root)
    found = {
        name: describe(name, info)
        for name, info in root.model_fields.items()
        if name not in tables and name not in FAMILIES
    }
    for group, model in tables.items():
        for name, info in model.model_fields.items():
            found[f"{group}.{name}"] = describe(f"{group}.{name}", info)
    return found


@cache
def table_fields(family: str) -> Mapping[str, SettingField]:
    """Return the keys that a table of a family may have, of all kinds together."""
    return {name: describe(name, info) for table in FAMILIES[family] for name, info in table.model_fields.items()}


def find_field(path: str) -> SettingField | None:
    """Return the setting at a dotted path, `models.NAME.KEY` included; None when there is none."""
    family, _, rest = path.partition(".")
    if family in FAMILIES:
        name, _, key = rest.rpartition(".")
        field = table_fields(family).get(key)
        return describe(path, field.info) if field and name else None
    return setting_fields().get(path)
