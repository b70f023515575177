"""The registry: modules, entry points and packs; errors name the source."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import podium.tools
from podium.packs import Pack
from podium.tools import ToolRegistrationError, ToolRegistry, load_registry, tool, tool_of


@tool
def alpha(x: int) -> int:
    """Alpha."""
    return x


@tool(name="beta", timeout=1)
def second(x: int) -> int:
    """Beta."""
    return x


@tool(name="alpha")
def impostor(x: int) -> int:
    """Another alpha."""
    return x


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of tools on the path, reset afterwards."""
    (tmp_path / "weather_tools_for_test.py").write_text(
        "from podium.tools import tool\n"
        "@tool\ndef forecast(city: str) -> str:\n    '''Forecast.'''\n    return city\n"
        "again = forecast\n"
    )
    (tmp_path / "empty_tools_for_test.py").write_text("x = 1\n")
    (tmp_path / "broken_tools_for_test.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "weather_tools_for_test"
    for name in ("weather_tools_for_test", "empty_tools_for_test", "broken_tools_for_test"):
        sys.modules.pop(name, None)


class Point:
    """An entry point, as importlib.metadata gives them."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self._loaded = name, loaded
        self.dist = type("Distribution", (), {"name": "weather-package"})

    def load(self) -> Any:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def offer(monkeypatch: pytest.MonkeyPatch, *points: Point) -> None:
    def entry_points(*, group: str) -> list[Point]:
        return list(points) if group == "podium.tools" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_lists_by_name_and_finds() -> None:
    registry = ToolRegistry([second, alpha], default_timeout_seconds=7)
    assert [spec.name for spec in registry.list()] == ["alpha", "beta"]
    found = registry.get("alpha")
    assert found is not None
    assert found.timeout_seconds == 7
    assert registry.get("beta") is not None
    assert registry.get("beta").timeout_seconds == 1  # type: ignore[union-attr]
    assert registry.get("gamma") is None
    assert registry.tool("gamma") is None
    assert registry.nearest("alfa") == ["alpha"]
    assert registry.origin("alpha").endswith("test_tool_registry.alpha")
    assert registry.origin("gamma") == ""


def test_two_tools_of_one_name_are_refused_with_both_origins() -> None:
    with pytest.raises(ToolRegistrationError, match=r"'alpha': .*\.alpha and .*\.impostor .pack other.") as caught:
        load_registry(packs=[[alpha], Pack(name="other", tools=(tool_of(impostor),))], entry_points=False)  # type: ignore[arg-type]
    assert "rename one" in str(caught.value)


def test_the_same_function_twice_is_one_tool() -> None:
    registry = ToolRegistry([alpha, alpha, tool_of(alpha)])
    assert len(registry.list()) == 1


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(ToolRegistrationError, match="decorate the function with @tool"):
        ToolRegistry([len])


def test_modules_are_imported_by_name(module: str) -> None:
    registry = load_registry(python_modules=[f" {module} ", ""], entry_points=False)
    assert [spec.name for spec in registry.list()] == ["forecast"]
    assert registry.origin("forecast") == f"{module}.forecast (module {module})"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here", "module no_such_module_here cannot be loaded: ModuleNotFoundError.*installed"),
        ("broken_tools_for_test", "module broken_tools_for_test cannot be loaded: RuntimeError: no licence"),
        ("empty_tools_for_test", "module empty_tools_for_test holds no tool"),
        (".relative", "module .relative cannot be loaded"),
    ],
)
@pytest.mark.usefixtures("module")
def test_a_module_that_cannot_be_used_stops_the_start(name: str, said: str) -> None:
    with pytest.raises(ToolRegistrationError, match=said):
        load_registry(python_modules=[name], entry_points=False)


def test_entry_points_may_be_modules_tools_and_lists(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    offer(monkeypatch, Point("w", __import__(module)), Point("a", alpha), Point("b", (second,)))
    registry = load_registry()
    assert [spec.name for spec in registry.list()] == ["alpha", "beta", "forecast"]
    assert "entry point w of weather-package" in registry.origin("forecast")


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        (ImportError("gone"), "entry point bad of weather-package cannot be loaded: ImportError: gone"),
        (3, "neither a module"),
        ((), "offers no tool"),
        ([len], "is not a tool"),
    ],
)
def test_an_entry_point_that_cannot_be_used_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, loaded: Any, said: str
) -> None:
    offer(monkeypatch, Point("bad", loaded))
    with pytest.raises(ToolRegistrationError, match=said):
        load_registry()


def test_packs_come_first_and_name_themselves() -> None:
    made = tool_of(alpha)
    assert made is not None
    registry = load_registry(packs=[Pack(name="mine", tools=(made,))], entry_points=False)
    assert "(pack mine)" in registry.origin("alpha")


class TestThePackage:
    def test_exports_are_sorted_and_there(self) -> None:
        assert podium.tools.__all__ == sorted(podium.tools.__all__)
        assert set(podium.tools.__all__) == {
            "LocalToolExecutor",
            "Tool",
            "ToolDefinitionError",
            "ToolRegistrationError",
            "ToolRegistry",
            "cancel_requested",
            "current_invocation",
            "load_registry",
            "tool",
            "tool_of",
        }
        for name in podium.tools.__all__:
            assert getattr(podium.tools, name).__doc__

    def test_importing_it_loads_nothing_heavy(self) -> None:
        code = (
            "import sys, podium.tools\n"
            "heavy = {'pint', 'httpx', 'psutil', 'sqlite3', 'grpc', 'numpy', 'podium.packs'} & set(sys.modules)\n"
            "sys.exit(','.join(heavy) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
