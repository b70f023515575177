"""Gathers tools from modules, installed packages and packs into one catalog."""

from __future__ import annotations

import builtins
import importlib
import importlib.metadata
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from podium.orchestration.tool import ToolSpec
from podium.tools._complaints import nearest
from podium.tools._decorator import Tool, tool_of

__all__ = ["ENTRY_POINT_GROUP", "ToolRegistrationError", "ToolRegistry", "load_registry"]

ENTRY_POINT_GROUP = "podium.tools"


class ToolRegistrationError(ValueError):
    """Tools cannot be loaded. Stops the start; the message names the source and what to change."""


class ToolRegistry:
    """The tools of this process, by name. Implements `ToolCatalog`.

    Args:
        tools: tools to begin with: decorated functions or `Tool` objects.
        default_timeout_seconds: limit of a call of each tool whose author gave none.
    """

    def __init__(self, tools: Iterable[object] = (), *, default_timeout_seconds: float = 5.0) -> None:
        self._default_timeout = default_timeout_seconds
        self._tools: dict[str, Tool] = {}
        self._functions: dict[str, object] = {}
        self._origins: dict[str, str] = {}
        for item in tools:
            self.add(item)

    def list(self) -> Sequence[ToolSpec]:
        """Return every tool's description, by name."""
        return [self._tools[name].spec for name in sorted(self._tools)]

    def get(self, name: str) -> ToolSpec | None:
        """Return one tool's description, or None."""
        found = self._tools.get(name)
        return None if found is None else found.spec

    def tool(self, name: str) -> Tool | None:
        """Return one tool, or None."""
        return self._tools.get(name)

    def origin(self, name: str) -> str:
        """Return where a tool came from, for people; empty when there is no such tool."""
        return self._origins.get(name, "")

    def nearest(self, name: str) -> builtins.list[str]:
        """Return the names most like `name`, for a message about an unknown one."""
        return nearest(name, self._tools)

    def add(self, item: object, *, origin: str = "") -> Tool:
        """Add one tool. Adding the very same function again changes nothing.

        Raises:
            ToolRegistrationError: it is no tool, or another tool has its name.
        """
        found = tool_of(item)
        if found is None:
            raise ToolRegistrationError(f"{_source(origin)}{item!r} is not a tool; decorate the function with @tool")
        origin = f"{found.origin} ({origin})" if origin else found.origin
        name = found.name
        if name in self._tools:
            if self._functions[name] is found.function:
                return self._tools[name]
            raise ToolRegistrationError(
                f"two tools are named {name!r}: {self._origins[name]} and {origin}; "
                "rename one with @tool(name=...) or leave one source out"
            )
        self._tools[name] = found = found.with_timeout(self._default_timeout)
        self._functions[name], self._origins[name] = found.function, origin
        return found

    def add_all(self, items: Iterable[object], *, origin: str = "") -> None:
        """Add several tools, such as a pack's.

        Raises:
            ToolRegistrationError: as for `add`.
        """
        for item in items:
            self.add(item, origin=origin)

    def add_module(self, name: str) -> None:
        """Import a module and add the tools among its names.

        Raises:
            ToolRegistrationError: it cannot be imported, or holds no tool.
        """
        origin = f"module {name}"
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise _not_imported(origin, error) from error
        self.add_all(_tools_in(module, origin), origin=origin)

    def add_entry_points(self, group: str = ENTRY_POINT_GROUP) -> None:
        """Add the tools that installed packages offer under the entry point group `podium.tools`.

        An entry point names a module, a tool, or something that yields tools when iterated.

        Raises:
            ToolRegistrationError: one cannot be loaded, or offers no tool.
        """
        for point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
            package = point.dist.name if point.dist is not None else "an installed package"
            origin = f"entry point {point.name} of {package}"
            try:
                loaded = point.load()
            except Exception as error:
                raise _not_imported(origin, error) from error
            self.add_all(_tools_of(loaded, origin), origin=origin)


def load_registry(
    *,
    python_modules: Sequence[str] = (),
    packs: Iterable[Iterable[object]] = (),
    entry_points: bool = True,
    default_timeout_seconds: float = 5.0,
) -> ToolRegistry:
    """Build the registry of a service.

    Args:
        python_modules: names of modules with tools (the setting `PODIUM_TOOLS_PYTHON`, split).
        packs: tool packs, already built.
        entry_points: whether to take tools of installed packages.
        default_timeout_seconds: limit of a call of each tool whose author gave none.

    Raises:
        ToolRegistrationError: something cannot be loaded; the message names it.
    """
    registry = ToolRegistry(default_timeout_seconds=default_timeout_seconds)
    for pack in packs:
        registry.add_all(pack, origin=f"pack {name}" if (name := getattr(pack, "name", "")) else "")
    for module in python_modules:
        if module.strip():
            registry.add_module(module.strip())
    if entry_points:
        registry.add_entry_points()
    return registry


def _tools_of(value: Any, origin: str) -> Iterable[object]:
    if isinstance(value, ModuleType):
        return _tools_in(value, origin)
    if tool_of(value) is not None:
        return [value]
    try:
        items = list(value)
    except TypeError:
        raise ToolRegistrationError(f"{origin} is neither a module, nor a tool, nor several tools") from None
    if not items:
        raise ToolRegistrationError(f"{origin} offers no tool")
    return items


def _tools_in(module: ModuleType, origin: str) -> Iterable[object]:
    found = [value for value in vars(module).values() if tool_of(value) is not None]
    if not found:
        raise ToolRegistrationError(f"{origin} holds no tool; decorate a function in it with podium.tools.tool")
    return found


def _not_imported(origin: str, error: Exception) -> ToolRegistrationError:
    return ToolRegistrationError(
        f"{origin} cannot be loaded: {type(error).__name__}: {error}; "
        "check its name, and that it is installed where Podium runs (or on PYTHONPATH)"
    )


def _source(origin: str) -> str:
    return f"{origin}: " if origin else ""
