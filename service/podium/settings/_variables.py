"""Variables of the environment and of `.env`, and flags: names resolved to settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from podium.settings._base import split_address
from podium.settings._given import Gathered, Given, nearest_key, nearest_variable, shown, split_text
from podium.settings.aliases import ALIASES, EXTERNAL_NAMES, Alias, Ignored, Later, To
from podium.settings.fields import FAMILIES, PREFIX, find_field, groups, setting_fields
from podium.settings.problems import Layer, Origin

__all__ = ["gather_flags", "gather_variables", "read_dotenv"]

# Kubernetes sets these in every pod for each Service whose name begins with "podium".
_SERVICE_LINK = re.compile(
    r"PODIUM_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")

UNKNOWN = "there is no such setting"

FLAG_NAMES = {
    "server.listen": "--listen",
    "ops.listen": "--ops-listen",
    "storage.data_dir": "--data-dir",
    "default_model": "--model",
    "log.level": "--log-level",
}


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    value: str
    origin: Origin


def read_dotenv(path: Path, gathered: Gathered) -> list[tuple[str, str, Origin]]:
    """Return the variables of a `.env` file with their lines; what cannot be read goes to `gathered`."""
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        gathered.refuse(
            path, f"cannot be read ({_plainly(error)})", "check the file, its rights and its encoding (UTF-8)"
        )
        return []
    found = []
    for binding in bindings:
        line = binding.original.line
        if binding.error:
            gathered.refuse(f"{path}:{line}", "this line is not NAME=value", "mend it or put # before it")
        elif binding.key is not None and binding.value is not None:
            found.append((binding.key, binding.value, Origin(Layer.DOTENV, f"{path}:{line} {binding.key}")))
    return found


def _plainly(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "not UTF-8"


def from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, Origin]]:
    """Return the variables of an environment with their origins."""
    return [(name, value, Origin(Layer.ENVIRONMENT, name)) for name, value in environ.items()]


def gather_variables(variables: Iterable[tuple[str, str, Origin]], gathered: Gathered) -> None:
    """Resolve variables to settings: `PODIUM_<GROUP>__<FIELD>`, then the table of other names."""
    direct: list[_Variable] = []
    aliased: list[tuple[_Variable, Alias]] = []
    for raw_name, value, origin in variables:
        variable = _Variable(raw_name.upper(), value, origin)
        if not value.strip() or _is_service_link(variable):
            continue
        alias = ALIASES.get(variable.name)
        if alias is not None:
            aliased.append((variable, alias))
        elif variable.name.startswith(PREFIX) and variable.name not in EXTERNAL_NAMES:
            direct.append(variable)
    given: list[Given] = []
    for variable in direct:
        given.extend(_direct(variable, gathered))
    given.extend(_through_aliases(aliased, gathered))
    gathered.values.extend(_without_conflicts(given, gathered))


def _is_service_link(variable: _Variable) -> bool:
    if _SERVICE_LINK.fullmatch(variable.name):
        return True
    return variable.name.endswith("PORT") and _SERVICE_LINK_VALUE.match(variable.value) is not None


def _direct(variable: _Variable, gathered: Gathered) -> list[Given]:
    path = variable.name.removeprefix(PREFIX).lower().replace("__", ".")
    field = find_field(path)
    if field is None:
        if path in groups() or path in FAMILIES:
            todo = f"set {variable.name}__{'NAME__KEY' if path in FAMILIES else 'FIELD'}"
            gathered.refuse(variable.origin, "this is a group of settings, not a setting", todo)
        else:
            gathered.refuse(variable.origin, UNKNOWN, _did_you_mean(nearest_variable(variable.name)))
        return []
    try:
        return [Given(path, split_text(field, variable.value), variable.origin)]
    except ValueError as error:
        gathered.refuse(variable.origin, str(error), "write a,b,c or a JSON array")
        return []


def _did_you_mean(name: str | None) -> str:
    return f"did you mean {name}?" if name else "see docs/settings.md for the names, or remove it"


def _through_aliases(aliased: list[tuple[_Variable, Alias]], gathered: Gathered) -> list[Given]:
    given: list[Given] = []
    parts: dict[str, tuple[str, Origin]] = {}
    later: dict[str, tuple[_Variable, Later]] = {}
    for variable, alias in aliased:
        match alias:
            case To(part=None):
                given.extend(_converted(variable, alias, gathered))
            case To():
                _remember_part(alias.part or "port", variable, parts, gathered)
            case Later():
                _judge_later(variable, alias, later, gathered)
            case Ignored():
                continue
    if parts:
        given.extend(_joined(parts, gathered))
    return given


def _converted(variable: _Variable, alias: To, gathered: Gathered) -> list[Given]:
    field = setting_fields()[alias.path]
    convert: Callable[[str], str | None] = alias.convert or str
    try:
        text = convert(variable.value.strip())
        return [] if text is None else [Given(alias.path, split_text(field, text), variable.origin)]
    except ValueError as error:
        gathered.refuse(
            variable.origin, f"{error}, not {shown(variable.name, variable.value)}", f"it sets {alias.path}"
        )
        return []


def _remember_part(part: str, variable: _Variable, parts: dict[str, tuple[str, Origin]], gathered: Gathered) -> None:
    other = parts.setdefault(part, (variable.value.strip(), variable.origin))
    if other[0] != variable.value.strip():
        gathered.refuse(variable.origin, f"contradicts {other[1]}", "remove one of them")


def _joined(parts: dict[str, tuple[str, Origin]], gathered: Gathered) -> list[Given]:
    origin = next(iter(parts.values()))[1]
    host, port = split_address(setting_fields()["server.listen"].default[0])
    given_host = parts.get("host", (host, origin))[0].removeprefix("[").removesuffix("]")
    given_port = parts.get("port", (str(port), origin))[0]
    address = f"[{given_host}]:{given_port}" if ":" in given_host else f"{given_host}:{given_port}"
    try:
        split_address(address)
    except ValueError as error:
        gathered.refuse(origin, f"{address!r} is no address", str(error))
        return []
    return [Given("server.listen", [address], origin)]


def _judge_later(
    variable: _Variable, alias: Later, seen: dict[str, tuple[_Variable, Later]], gathered: Gathered
) -> None:
    if alias.target:
        other, _ = seen.setdefault(alias.target, (variable, alias))
        if not _same(other.value, variable.value):
            gathered.refuse(variable.origin, f"contradicts {other.origin}", "remove one of them")
            return
    if variable.value.strip().lower() in alias.harmless:
        return
    message = f"known, not supported yet: {alias.feature}"
    if alias.stops or variable.name.startswith(PREFIX):
        gathered.refuse(variable.origin, message, "remove it")
    else:
        gathered.notices.append(f"{variable.origin}: {message}; it has no effect")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        try:
            return float(one) == float(other)
        except ValueError:
            return one.strip().lower() == other.strip().lower()
    return bool(one == other)


def _without_conflicts(given: list[Given], gathered: Gathered) -> list[Given]:
    kept: dict[str, Given] = {}
    for item in given:
        other = kept.setdefault(item.path, item)
        if not _same(other.value, item.value):
            gathered.refuse(
                item.origin,
                f"contradicts {other.origin}: both set {item.path}",
                "remove one or make them equal",
            )
    return list(kept.values())


def gather_flags(flags: Mapping[str, Any], gathered: Gathered) -> None:
    """Take overrides by dotted path; None means that the flag was not given, text is read like a variable."""
    for path, value in flags.items():
        if value is None:
            continue
        origin = Origin(Layer.FLAG, FLAG_NAMES.get(path, path))
        field = find_field(path)
        if field is None:
            gathered.refuse(origin, UNKNOWN, _did_you_mean(nearest_key(path)))
            continue
        try:
            taken = split_text(field, value) if isinstance(value, str) else value
        except ValueError as error:
            gathered.refuse(origin, str(error), "write a,b,c or a JSON array")
            continue
        gathered.values.append(Given(path, taken, origin))
