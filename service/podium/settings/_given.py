"""Values as they were given, before they are merged: one `Given` a value, with its origin."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from podium.settings.aliases import ALIASES, EXTERNAL_NAMES
from podium.settings.fields import FAMILIES, PREFIX, SettingField, setting_fields, table_fields
from podium.settings.problems import Origin, Problem

__all__ = ["Gathered", "Given", "nearest_key", "nearest_variable", "shown", "split_text"]

_SECRET_NAME = re.compile(r"(KEY|TOKEN(?!S)|SECRET|PASSW|SALT|CREDENTIAL)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Given:
    """One value for one setting, and where it came from."""

    path: str
    value: Any
    origin: Origin


@dataclass(slots=True)
class Gathered:
    """What one layer gives: values, what is wrong with it, and what is only worth a note."""

    values: list[Given] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def refuse(self, where: object, what: str, todo: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(str(where), what, todo))


def shown(name: str, value: Any) -> str:
    """Return a value for a message: short, and hidden when the name suggests a secret."""
    if _SECRET_NAME.search(name):
        return "(hidden)"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def split_text(field_: SettingField, text: str) -> Any:
    """Turn the text of a variable into what the setting takes: lists are `a,b` or a JSON array.

    Raises:
        ValueError: it begins like a JSON array and is none.
    """
    if not field_.many:
        return text
    if text.strip().startswith("[") and text.strip().endswith("]"):  # [::1]:50051 is an address
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON array ({error.msg})") from None
        return parsed
    return [part.strip() for part in text.split(",") if part.strip()]


def _closest(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_variable(name: str) -> str | None:
    """Return the known variable whose name is nearest to a misspelt one."""
    if "__" in name and (key := nearest_key(name.removeprefix(PREFIX).lower().replace("__", "."))):
        return PREFIX + key.upper().replace(".", "__")
    known = [entry.env_name for entry in setting_fields().values()]
    known += [alias for alias in ALIASES if alias.startswith(PREFIX)]
    known += EXTERNAL_NAMES
    return _closest(name, known)


def nearest_key(path: str) -> str | None:
    """Return the known key of `podium.toml` that is nearest to a misspelt one."""
    family = path.partition(".")[0]
    if family in FAMILIES and "." in path:
        head, _, last = path.rpartition(".")
        key = _closest(last, table_fields(family))
        return f"{head}.{key}" if key else None
    group, _, last = path.rpartition(".")
    within = {known.rpartition(".")[2]: known for known in setting_fields() if known.rpartition(".")[0] == group}
    anywhere = {known.rpartition(".")[2]: known for known in setting_fields()}
    if near := _closest(last, within):
        return within[near]
    if near := _closest(last, anywhere):
        return anywhere[near]
    return _closest(path, setting_fields())
