"""Tools as messages."""

from __future__ import annotations

from podium.orchestration.tool import Fallback, SideEffects, ToolExample, ToolSpec
from podium.rpc.tool_service import _tool_message
from podium.v1 import tool_pb2
from podium_client import ToolInfo
from unit.rpc.wire_samples import unset_fields

SPEC = ToolSpec(
    name="calculate",
    description="Works out an expression.",
    input_schema={"type": "object"},
    output_schema={"type": "number"},
    side_effects=SideEffects.NONE,
    timeout_seconds=2.5,
    type="compute",
    cache_ttl_seconds=60.0,
    version="2",
    examples=(ToolExample("what is 2+2", {"expression": "2 + 2"}),),
    fallback=Fallback(tool="add", result_json=b"0"),
    hedge=True,
    cost_micros=15,
)


def test_nothing_of_a_tool_is_lost() -> None:
    raw = tool_pb2.Tool.FromString(_tool_message(SPEC).SerializeToString())
    assert list(unset_fields(raw)) == []
    tool = ToolInfo.of(raw)
    assert (tool.fallback_tool, tool.hedge, tool.cost_micros) == ("add", True, 15)
    assert raw.fallback_result_json == b"0"


def test_a_tool_without_extras_says_so() -> None:
    plain = ToolInfo.of(_tool_message(ToolSpec(name="x", description="", input_schema={})))
    assert (plain.fallback_tool, plain.hedge, plain.cost_micros, plain.cache_ttl) == ("", False, 0, None)
