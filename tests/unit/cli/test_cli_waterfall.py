"""The picture of a run: what is folded from the events, and how it is drawn."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from podium.cli.run_output import save_svg
from podium.cli.terminal import clean
from podium.cli.timeline import RowState, Timeline
from podium.cli.waterfall import Bar, draw, duration, short_arguments, short_result, summary
from podium.v1 import run_pb2
from podium_client._event_readers import event_of
from unit.client.fake_podium import RUN_ID, event, sample_events


def folded(events: list[run_pb2.RunEvent]) -> Timeline:
    timeline = Timeline()
    for raw in events:
        typed = event_of(raw)
        assert typed is not None
        timeline.apply(typed)
    return timeline


def rendered(what: Any, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False, **options)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_calls_have_their_place_on_the_time_line() -> None:
    timeline = folded(sample_events())
    first, second = timeline.calls
    assert (first.name, first.arguments, first.state) == ("calculate", {"expression": "19 * 21"}, RowState.OK)
    assert (first.start, first.end) == (pytest.approx(0.051), pytest.approx(0.090))
    assert (second.state, second.note) == (RowState.FAILED, "TIMEOUT: took longer than 5 s")
    assert second.start < (first.end or 0), "they overlap"
    assert timeline.latest == pytest.approx(0.171)
    assert timeline.text == "19 * 21 is 399. The time did not arrive."
    assert timeline.model == "embedded"


def test_a_call_grows_while_it_runs() -> None:
    timeline = folded(sample_events()[:6])
    call = timeline.calls[0]
    assert call.state is RowState.RUNNING
    assert call.until(0.5) == 0.5
    assert "449 ms" in rendered(draw(timeline, 0.5, width=80))


def test_text_of_a_turn_that_asks_for_tools_is_not_the_answer() -> None:
    said = event(3, 10, text_delta=run_pb2.TextDelta(turn=0, text="Let me look."))
    ended = event(
        4, 20, model_turn_finished=run_pb2.ModelTurnFinished(finish_reason=run_pb2.TURN_FINISH_REASON_TOOL_CALLS)
    )
    assert folded([*sample_events()[:2], said]).text == "Let me look."
    assert folded([*sample_events()[:2], said, ended]).text == ""


def test_text_that_is_sent_again_replaces_what_was_there() -> None:
    deltas = [
        event(1, 1, text_delta=run_pb2.TextDelta(turn=0, offset=0, text="Hello wor")),
        event(1, 2, text_delta=run_pb2.TextDelta(turn=0, offset=6, text="world")),
    ]
    assert folded(deltas).text == "Hello world"


def test_what_a_cancelled_run_left_open_is_closed() -> None:
    sealed = event(7, 70, tool_call_sealed=run_pb2.ToolCallSealed(call_id="c0_2", tool="read_file"))
    error = run_pb2.RunError(reason="CANCELLED", message="the caller left")
    ended = event(8, 80, run_finished=run_pb2.RunFinished(state=run_pb2.RUN_STATE_CANCELLED, error=error))
    timeline = folded([*sample_events()[:6], sealed, ended])
    assert [call.state for call in timeline.calls] == [RowState.FAILED, RowState.FAILED, RowState.SKIPPED]
    shown = rendered(draw(timeline, 0.08, width=80))
    assert "cancelled in 80 ms: 3 calls" in shown
    assert "the caller left (CANCELLED)" in shown


def test_a_skipped_call_says_why() -> None:
    skipped = event(
        7, 70, tool_call_finished=run_pb2.ToolCallFinished(call_id="c0_1", skipped={"because": "c0_0 failed"})
    )
    timeline = folded([*sample_events()[:5], skipped])
    assert timeline.calls[1].state is RowState.SKIPPED
    assert "current_time: c0_0 failed" in rendered(draw(timeline, 0.1, width=80))


def test_a_call_that_was_never_announced_still_gets_a_row() -> None:
    started = event(1, 0, tool_call_started=run_pb2.ToolCallStarted(call_id="c9_9", attempt=1))
    assert folded([started]).calls[0].name == "?"


@pytest.mark.parametrize("width", [20, 30, 44, 60, 72, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    timeline = folded(sample_events())
    assert all(len(line) <= width for line in rendered(draw(timeline, 0.2, width=width), width).splitlines())


def test_narrow_terminals_lose_arguments_first_and_bars_second() -> None:
    timeline = folded(sample_events())
    wide, medium, narrow = (rendered(draw(timeline, 0.171, width=width), width) for width in (100, 60, 40))
    assert "calculate 19 * 21" in wide
    assert "━" in wide
    assert "calculate 19" not in medium
    assert "━" in medium
    assert "━" not in narrow
    assert "39 ms" in narrow


def test_a_bar_lies_where_its_times_are() -> None:
    assert rendered(Bar(0.0, 1.0, 1.0, ""), 10).rstrip("\n") == "━" * 10
    assert rendered(Bar(0.5, 1.0, 1.0, ""), 10).rstrip("\n") == " " * 5 + "━" * 5
    assert rendered(Bar(0.25, 0.5, 1.0, ""), 10).rstrip("\n").rstrip() == "  ╺━━"
    assert rendered(Bar(0.999, 0.9991, 1.0, ""), 10).rstrip("\n") == " " * 9 + "╺"
    assert rendered(Bar(0.0, 0.0, 0.0, ""), 10).rstrip("\n").rstrip() == "╸"


def test_a_terminal_without_unicode_gets_ascii() -> None:
    timeline = folded(sample_events())
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=80, color_system=None)
    assert console.options.ascii_only
    console.print(draw(timeline, 0.2, width=80, ascii_only=True))
    file.flush()
    text = file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "ok calculate" in text
    assert "===" in text


def test_while_it_runs_a_long_answer_shows_its_end() -> None:
    timeline = folded(sample_events()[:2])
    timeline.text = "\n".join(f"line {number} of a long answer" for number in range(100))
    live = rendered(draw(timeline, 0.1, width=60, height=20), 60)
    assert len(live.splitlines()) <= 20
    assert "line 99" in live
    assert "line 1 " not in live
    assert "line 1 " in rendered(draw(timeline, 0.1, width=60), 60)


def test_before_the_first_event_the_picture_says_so() -> None:
    assert "starting" in rendered(draw(Timeline(), 0.0, width=60, height=20))
    assert rendered(draw(Timeline(), 0.0, width=60)).strip() == ""


def test_the_summary_says_what_it_took() -> None:
    line = summary(folded(sample_events())).plain
    assert line == f"succeeded, partly in 171 ms: 2 calls, 40 + 12 tokens, {RUN_ID}"
    assert summary(Timeline()).plain == "the run has not ended"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0004, "0.4 ms"), (0.042, "42 ms"), (0.9999, "1.00 s"), (3.456, "3.46 s"), (61.0, "1 min 1 s")],
)
def test_durations_read_well(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_arguments_and_results_are_short() -> None:
    assert short_arguments({"expression": "19 * 21"}) == "19 * 21"
    assert short_arguments({"value": 3, "to_unit": "km"}) == "value=3 to_unit=km"
    assert len(short_arguments({"text": "x" * 500})) == 120
    assert short_arguments({"text": "a\nb"}) == "a b"
    assert short_result({"value": "ü"}) == '{"value": "ü"}'
    assert short_result("x" * 500).endswith("…")


def test_what_could_steer_the_terminal_is_taken_out() -> None:
    assert clean("a\x1b[2Jb\rc\x07\td\ne\u202e\x9b") == "a�[2Jb�c�\td\ne��"
    hostile = run_pb2.RunFinished(state=run_pb2.RUN_STATE_SUCCEEDED, answer="\x1b]0;owned\x07 hi")
    timeline = folded([*sample_events()[:6], event(9, 9, run_finished=hostile)])
    timeline.calls[0].name = "cal\x1b[31mculate"
    timeline.calls[0].arguments = {"x": "\x1b[2J"}
    timeline.calls[0].note = "\x1b[3J"
    assert "\x1b" not in rendered(draw(timeline, 0.1, width=100), 100)


def test_the_saved_picture_is_an_svg_that_needs_nothing_from_the_network(tmp_path: Path) -> None:
    save_svg(folded(sample_events()), 'What is <19> & "21"?', tmp_path / "run.svg")
    text = (tmp_path / "run.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314  our own file
    assert root.tag.endswith("svg")
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "calculate" in text
    assert "399" in text
