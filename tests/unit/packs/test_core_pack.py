"""The core pack as a whole: names, schemas, examples, and no state outside of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import podium.packs.core
from podium.orchestration.tool import SideEffects, ToolInvocation
from podium.packs import Pack
from podium.packs.core import CorePackConfig, core_pack, create_workspace
from podium.packs.core.system import system_tools
from podium.tools import LocalToolExecutor, Tool, ToolRegistry

NAMES = [
    "calculate",
    "convert_units",
    "current_time",
    "days_between",
    "find_files",
    "http_get",
    "read_file",
    "search_documents",
    "system_status",
    "text_statistics",
]
KINDS = {"expression", "unit", "timezone", "date", "quoted", "filename", "glob", "query", "url"}


@pytest.fixture
def pack(tmp_path: Path) -> Iterator[Pack]:
    create_workspace(tmp_path / "workspace")
    made = core_pack(CorePackConfig(folders=(tmp_path / "workspace",), http_hosts=("example.com",)))
    yield made
    made.close()


def by_name(pack: Pack) -> dict[str, Tool]:
    return {tool.name: tool for tool in pack}


def test_holds_the_tools(pack: Pack) -> None:
    assert sorted(by_name(pack)) == NAMES
    assert len(pack) == len(NAMES)
    pack.warm()


@pytest.mark.parametrize("name", NAMES)
def test_each_tool_is_described_well(pack: Pack, name: str) -> None:
    spec = by_name(pack)[name].spec
    assert spec.side_effects is SideEffects.NONE
    assert spec.output_schema is not None
    assert 8 <= len(spec.examples) <= 12
    assert len({example.request for example in spec.examples}) == len(spec.examples)
    for argument, schema in spec.input_schema["properties"].items():
        assert schema["description"], argument
        assert schema["type"] in ("integer", "number") or schema["x-podium-kind"] in KINDS, argument
    json.dumps([spec.input_schema, spec.output_schema])


@pytest.mark.parametrize("name", NAMES)
def test_canonical_arguments_are_canonical_again(pack: Pack, name: str) -> None:
    normalise = by_name(pack)[name].spec.normalise
    assert normalise is not None
    for example in by_name(pack)[name].spec.examples:
        once = normalise(example.arguments)
        assert normalise(once) == once
        assert json.loads(json.dumps(once)) == once


async def test_each_tool_runs_and_gives_what_its_schema_says(pack: Pack) -> None:
    calls: dict[str, dict[str, Any]] = {
        "calculate": {"expression": "19 * 21"},
        "convert_units": {"value": 5, "from_unit": "km", "to_unit": "miles"},
        "current_time": {"timezone": "Berlin"},
        "days_between": {"start_date": "2026-01-01", "end_date": "2026-03-01"},
        "find_files": {"pattern": "*.md"},
        "read_file": {"path": "todo.txt"},
        "search_documents": {"query": "vacation", "limit": 2},
        "system_status": {},
        "text_statistics": {"text": "to be or not to be"},
    }
    async with LocalToolExecutor(ToolRegistry(pack)) as executor:
        for name, arguments in calls.items():
            text = json.dumps(arguments).encode()
            result = await executor.invoke(ToolInvocation(run_id="r", call_id="c", tool=name, arguments_json=text))
            schema = by_name(pack)[name].spec.output_schema
            assert schema is not None
            assert set(json.loads(result.result_json)) == set(schema["properties"]), name


def test_two_packs_do_not_share_anything(tmp_path: Path) -> None:
    packs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(f"zeppelin {name}")
        packs.append(core_pack(CorePackConfig(folders=(tmp_path / name,))))
    for pack, name in zip(packs, ("one", "two"), strict=True):
        made = by_name(pack)["search_documents"].bind({"query": "zeppelin"})()
        assert [match.path for match in made.matches] == [f"{name}.txt"]
        pack.close()


def test_the_status_is_plausible(tmp_path: Path) -> None:
    made = system_tools(tmp_path / "not" / "there")[0].bind({})()
    assert 0 <= made.cpu_percent <= 100
    assert made.cpu_count >= 1
    assert 0 < made.memory_used_gb <= made.memory_total_gb
    assert made.disk_free_gb >= 0
    assert made.processes >= 1
    assert made.uptime_hours >= 0


def test_exports_are_sorted_and_there() -> None:
    assert podium.packs.core.__all__ == ["CorePackConfig", "core_pack", "create_workspace", "known_units"]


def test_building_it_loads_neither_pint_nor_httpx() -> None:
    code = (
        "import sys; from podium.packs.core import core_pack; core_pack().close()\n"
        "sys.exit(','.join({'pint', 'httpx', 'grpc', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
