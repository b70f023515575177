"""The model that plays a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from podium.errors import InvalidRequest
from podium.inference.scripted import ScriptedModel, ScriptFile, load_script_file
from podium.orchestration.chat import (
    AssistantMessage,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from support.virtual_time import run_virtual

FILE = """
[[scripts]]
match = "Weather"
[[scripts.turns]]
events = [{ at_ms = 100, text = "Let me look." }, { at_ms = 150, call = "sky", arguments = { city = "Rome" } }]
end_ms = 200
[[scripts.turns]]
events = [{ text = "{{c0_0/sky}} at {{c0_0/temps/1}}, {{c0_0/nope}}" }]
"""


def test_events_come_at_their_times(tmp_path: Path) -> None:
    """Times are absolute from the start of the turn."""
    path = tmp_path / "script.toml"
    path.write_text(FILE)
    model = ScriptedModel("s", load_script_file(path))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen = []
        async for event in model.stream(ChatRequest(messages=[UserMessage("the WEATHER?")])):
            seen.append((round(loop.time(), 3), event))
            await asyncio.sleep(0.03)
        assert [(t, type(e)) for t, e in seen] == [(0.1, TextDelta), (0.15, ToolCallSealed), (0.2, TurnFinished)]
        finished = seen[-1][1]
        assert isinstance(finished, TurnFinished)
        assert finished.reason is TurnFinishReason.TOOL_CALLS

    run_virtual(main())


def test_results_are_put_into_later_turns() -> None:
    """References resolve by JSON Pointer; a missing one is said in its place."""
    model = ScriptedModel("s", ScriptFile.model_validate(_toml(FILE)))
    result = json.dumps({"sky": "clear", "temps": [1, 21]})
    messages = [UserMessage("weather"), AssistantMessage("", ()), ToolMessage("c0_0", "sky", result)]

    async def main() -> str:
        events = [e async for e in model.stream(ChatRequest(messages=messages))]
        return "".join(e.text for e in events if isinstance(e, TextDelta))

    assert run_virtual(main()) == "clear at 21, [no c0_0/nope]"


def test_arguments_may_be_earlier_results() -> None:
    """A string that is one reference becomes the value itself, not its text."""
    script = {
        "scripts": [{"turns": [{"events": [{"call": "t", "arguments": {"n": "{{c0_0/n}}", "s": "n={{c0_0/n}}"}}]}]}]
    }
    model = ScriptedModel("s", ScriptFile.model_validate(script))

    async def main() -> bytes:
        request = ChatRequest(messages=[UserMessage("x"), ToolMessage("c0_0", "t", '{"n": 7}')])
        (sealed,) = [e async for e in model.stream(request) if isinstance(e, ToolCallSealed)]
        return sealed.arguments_json

    assert json.loads(run_virtual(main())) == {"n": 7, "s": "n=7"}


def test_request_without_a_script_is_refused() -> None:
    """Nothing is made up for a request that no script matches."""
    model = ScriptedModel("s", ScriptFile.model_validate(_toml(FILE)))

    async def main() -> None:
        with pytest.raises(InvalidRequest, match="no script in it matches"):
            await anext(model.stream(ChatRequest(messages=[UserMessage("hello")])))

    run_virtual(main())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[[scripts]", "not valid TOML"),
        ("scripts = []", "scripts: Tuple should have at least 1 item"),
        ("[[scripts]]\nturns = [{ events = [{ at_ms = 1 }] }]", "needs either `text` or `call`"),
        ("[[scripts]]\nturn = []", "turn"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, content: str, complaint: str) -> None:
    """A file that is not a script names the place."""
    path = tmp_path / "s.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match="script file") as bad:
        load_script_file(path)
    assert complaint in str(bad.value)
    with pytest.raises(ValueError, match="cannot be read"):
        load_script_file(tmp_path / "absent.toml")


def _toml(text: str) -> dict[str, object]:
    import tomllib

    return tomllib.loads(text)
