"""Builds the core pack from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from podium.packs import Pack
from podium.packs.core._addresses import HostRules, Resolver, system_resolver
from podium.packs.core._folders import AllowedFolders
from podium.packs.core._index import DocumentIndex
from podium.packs.core._units import UnitNames
from podium.packs.core.arithmetic import arithmetic_tools
from podium.packs.core.calendar import calendar_tools
from podium.packs.core.documents import document_tools
from podium.packs.core.files import file_tools
from podium.packs.core.system import system_tools
from podium.packs.core.text import text_tools
from podium.packs.core.units import unit_tools
from podium.tools import Tool

__all__ = ["CorePackConfig", "core_pack"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorePackConfig:
    """What the core pack may see and do.

    Attributes:
        folders: folders whose files tools may read; nothing else can be reached.
        index_path: where the document index is kept; in memory when None.
        most_file_bytes: how much of a file `read_file` returns.
        most_query_chars: longest query of `search_documents`.
        http_hosts: hosts that `http_get` may fetch over https (`api.example.com`, `*.example.com`,
            with `:port` where it is not 443); without any, and without internal ones, there is no such tool.
        http_internal_hosts: hosts that it may fetch although they are private, by http or https.
        http_timeout: seconds for one fetch.
        most_http_bytes: how much of a body is returned.
        day_first: whether 3/4/2026 is the third of April (else the fourth of March).
        clock: gives the current time, with a time zone.
        resolver: looks up addresses of hosts.
    """

    folders: tuple[Path, ...] = (Path("workspace"),)
    index_path: Path | None = None
    most_file_bytes: int = 256 << 10
    most_query_chars: int = 1000
    http_hosts: tuple[str, ...] = ()
    http_internal_hosts: tuple[str, ...] = ()
    http_timeout: float = 20.0
    most_http_bytes: int = 256 << 10
    day_first: bool = False
    clock: Callable[[], datetime] = _now
    resolver: Resolver = system_resolver


def core_pack(config: CorePackConfig | None = None) -> Pack:
    """Build the core pack: arithmetic, units, time, text, files, documents, system, and http when allowed.

    Close it when its tools no longer run.

    Raises:
        ValueError: a host rule is malformed.
    """
    config = config or CorePackConfig()
    units = UnitNames()
    folders = AllowedFolders(config.folders)
    index = DocumentIndex(folders, config.index_path)
    tools = [
        *arithmetic_tools(),
        *unit_tools(units),
        *calendar_tools(config.clock, day_first=config.day_first),
        *text_tools(),
        *file_tools(folders, most_bytes=config.most_file_bytes),
        *document_tools(index, most_query_chars=config.most_query_chars),
        *_http(config),
        *system_tools(config.folders[0] if config.folders else None),
    ]
    return Pack(name="core", tools=tuple(tools), closers=(index.close,), warmers=(units.warm,))


def _http(config: CorePackConfig) -> list[Tool]:
    if not config.http_hosts and not config.http_internal_hosts:
        return []
    from podium.packs.core.http import Fetcher, http_tools  # noqa: PLC0415  httpx is loaded only where it is used

    rules = HostRules(config.http_hosts, config.http_internal_hosts, resolver=config.resolver)
    fetcher = Fetcher(rules, most_bytes=config.most_http_bytes, timeout=config.http_timeout)
    return list(http_tools(rules, fetcher, timeout=config.http_timeout + 1))
