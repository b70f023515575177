"""Layers to one `Settings`: defaults < podium.toml < .env < environment < flags.

Loading changes nothing: it reads, and returns a new object. Everything that is wrong is reported
at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from podium.settings._base import is_local
from podium.settings._file import gather_file
from podium.settings._given import Gathered, Given, shown
from podium.settings._variables import from_environment, gather_flags, gather_variables, read_dotenv
from podium.settings.fields import FAMILIES
from podium.settings.models import BUILT_IN_MODEL, BUILT_IN_NAME
from podium.settings.problems import Layer, Origin, Problem, SettingsError
from podium.settings.root import Settings

__all__ = ["Loaded", "bind_problems", "check_bind", "load_settings"]

CONFIG_FILE = Path("podium.toml")
DOTENV_FILE = Path(".env")
DEFAULT = Origin(Layer.DEFAULT)
_KINDS = "embedded, trtllm, openai, anthropic or scripted"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and how they came about.

    Attributes:
        settings: the values.
        origins: where each given value came from, by dotted path; what is absent is the default.
        notices: names that have no effect, one sentence each, for the log.
        config_file: the file that was read, if any.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    notices: tuple[str, ...] = ()
    config_file: Path | None = None

    def origin(self, path: str) -> Origin:
        """Return where the value at `path` came from."""
        return self.origins.get(path, DEFAULT)


def load_settings(
    *,
    config: Path | None = None,
    env_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read every layer and return the settings.

    Args:
        config: a configuration file that must exist; else `PODIUM_CONFIG`; else `podium.toml` in
            the working directory, if there is one.
        env_file: a `.env` file that must exist; else `.env` in the working directory, if there.
        environ: the environment; `os.environ` when None.
        flags: overrides by dotted path (`{"server.listen": "127.0.0.1:0"}`); None values are skipped.

    Raises:
        SettingsError: anything is unknown, wrong or contradictory; it lists everything found.
    """
    environment = os.environ if environ is None else environ
    gathered = Gathered()
    config_file = _read_file(config, environment, gathered)
    dotenv = _chosen(env_file, DOTENV_FILE, gathered, "--env-file")
    if dotenv is not None:
        gather_variables(read_dotenv(dotenv, gathered), gathered)
    gather_variables(from_environment(environment), gathered)
    gather_flags(flags or {}, gathered)

    winners = _winners(gathered.values)
    settings = _build(winners, gathered)
    if settings is None or gathered.problems:
        raise SettingsError(gathered.problems)
    return Loaded(
        settings=settings,
        origins=MappingProxyType({path: given.origin for path, given in winners.items()}),
        notices=tuple(gathered.notices),
        config_file=config_file,
    )


def _read_file(config: Path | None, environ: Mapping[str, str], gathered: Gathered) -> Path | None:
    named = environ.get("PODIUM_CONFIG", "").strip()
    explicit = config or (Path(named) if named else None)
    path = _chosen(explicit, CONFIG_FILE, gathered, "--config" if config else "environment variable PODIUM_CONFIG")
    if path is not None:
        gather_file(path, gathered)
    return path


def _chosen(explicit: Path | None, default: Path, gathered: Gathered, name: str) -> Path | None:
    if explicit is None:
        return default if default.is_file() else None
    if explicit.is_file():
        return explicit
    gathered.refuse(name, f"there is no file {str(explicit)!r}", "check the path")
    return None


def _winners(values: list[Given]) -> dict[str, Given]:
    winners: dict[str, Given] = {}
    for given in values:
        current = winners.get(given.path)
        if current is None or given.origin.layer >= current.origin.layer:
            winners[given.path] = given
    return winners


def _nested(winners: Mapping[str, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, given in winners.items():
        family, _, rest = path.partition(".")
        if family in FAMILIES:
            name, _, key = rest.rpartition(".")
            tree.setdefault(family, {}).setdefault(name, {})[key] = given.value
        elif "." in path:
            group, _, key = path.partition(".")
            tree.setdefault(group, {})[key] = given.value
        else:
            tree[path] = given.value
    _complete_built_in(tree)
    return tree


def _complete_built_in(tree: dict[str, Any]) -> None:
    """Let `[models.embedded]` change single keys of the built-in model."""
    table = tree.get("models", {}).get(BUILT_IN_NAME)
    if table is not None and "kind" not in table:
        tree["models"][BUILT_IN_NAME] = {**BUILT_IN_MODEL.model_dump(), **table}


def _build(winners: Mapping[str, Given], gathered: Gathered) -> Settings | None:
    try:
        return Settings(**_nested(winners))
    except ValidationError as error:
        details = error.errors(include_url=False)
        inner = {detail["loc"][:-1] for detail in details}
        # A list whose items are all refused is called too short as well: say it once.
        told = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in inner]
        gathered.problems.extend(_problem(detail, winners) for detail in told)
        return None


def _problem(detail: ErrorDetails, winners: Mapping[str, Given]) -> Problem:
    parts = [str(part) for part in detail["loc"]]
    if parts[:1] == ["models"] and len(parts) > 2:
        del parts[2]  # pydantic names the chosen kind here
    path = ".".join(parts)
    given = winners.get(path) or winners.get(path.rpartition(".")[0])
    if given is not None:
        return Problem(str(given.origin), _sentence(detail), f"given {shown(path, given.value)} for {given.path}")
    under = [str(winner.origin) for key, winner in winners.items() if not path or key.startswith(path + ".")]
    hint = f"see {', '.join(under[:4])}" if path and under else ""
    return Problem(path or "settings", _sentence(detail), hint)


def _sentence(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "union_tag_not_found":
        return f"kind is missing: say {_KINDS}"
    if kind == "union_tag_invalid":
        return f"there is no kind {detail.get('ctx', {}).get('tag', '')!r}: say {_KINDS}"
    if kind == "extra_forbidden":
        return "this kind of model has no such key"
    if kind == "missing":
        return "is needed and missing"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def bind_problems(settings: Settings) -> tuple[Problem, ...]:
    """Return an entry for each address that others could reach without having to identify themselves."""
    if settings.auth.enabled or settings.server.tls_client_ca_file is not None:
        return ()
    addresses = [("server.listen", address) for address in settings.server.listen]
    if settings.ops.enabled:
        addresses.append(("ops.listen", settings.ops.listen))
    return tuple(
        Problem(
            where,
            f"{address} can be reached from other machines, and callers need no credential",
            "listen on 127.0.0.1 or unix:/path, or set auth.enabled = true and create a key with `podium keys create`"
            " (or require client certificates: server.tls_client_ca_file)",
        )
        for where, address in addresses
        if not is_local(address)
    )


def check_bind(settings: Settings) -> None:
    """Refuse to listen where strangers reach a server that asks for no credential.

    Raises:
        SettingsError: an address other than loopback or a Unix socket, and auth is not configured.
    """
    problems = bind_problems(settings)
    if problems:
        raise SettingsError(problems)
