"""The trained planner end to end: a server with the embedded model and somebody's own tools, without an example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podium.v1 import orchestrator_pb2, run_pb2
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from support.server import PodiumServer

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240), pytest.mark.xdist_group("embedded")]

TOOLS = '''"""Tools of a tennis club, as somebody might write them on the first day."""

from datetime import date

from podium.tools import tool


@tool
def reserve_court(club: str, players: int, day: date) -> dict[str, str]:
    """Reserve a tennis court at a club."""
    return {"reservation": f"{club}, {players} players, {day}"}


@tool(side_effects="none")
def club_fee(club: str) -> dict[str, float]:
    """Tell what an hour on a court of a tennis club costs."""
    return {"euros": 14.5}


@tool
def order_balls(cans: int) -> dict[str, int]:
    """Order cans of tennis balls."""
    return {"ordered": cans}
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodiumServer]:
    folder: Path = tmp_path_factory.mktemp("club")
    (folder / "tennis_club.py").write_text(TOOLS, encoding="utf-8")
    running = PodiumServer(folder)
    (folder / "podium.toml").write_text('[tools]\npython = ["tennis_club"]\n', encoding="utf-8")
    environment = running.environment()
    environment["PYTHONPATH"] = f"{folder}:{environment['PYTHONPATH']}"
    running.environment = lambda: environment  # type: ignore[method-assign]
    with running:
        yield running


def run(server: PodiumServer, text: str) -> run_pb2.Run:
    with server.channel() as channel:
        request = orchestrator_pb2.ExecuteRequest(spec=run_pb2.RunSpec(input=text))
        return OrchestratorServiceStub(channel).Execute(request, timeout=60).run


def calls(made: run_pb2.Run) -> list[tuple[str, dict[str, object]]]:
    return [(call.tool, json.loads(call.arguments_json)) for call in made.calls]


def test_a_call_with_a_number_and_a_day_in_words(server: PodiumServer) -> None:
    made = run(server, "please reserve a court at Riverside for four players tomorrow")
    tomorrow = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
    assert calls(made) == [("reserve_court", {"club": "Riverside", "players": 4, "day": tomorrow})]
    assert made.state == run_pb2.RUN_STATE_SUCCEEDED
    assert "Riverside, 4 players" in made.answer


def test_two_wishes_in_one_breath(server: PodiumServer) -> None:
    made = run(server, "order 3 cans of tennis balls and tell me what an hour at Riverside costs")
    assert sorted(calls(made)) == [("club_fee", {"club": "Riverside"}), ("order_balls", {"cans": 3})]
    assert "14.5" in made.answer


def test_what_is_missing_is_asked_for(server: PodiumServer) -> None:
    """Nobody said how many; the run answers with the question, and nothing was reserved."""
    made = run(server, "reserve a court at Riverside on 3 May 2031")
    assert calls(made) == []
    assert "players" in made.answer


def test_talk_is_no_call(server: PodiumServer) -> None:
    made = run(server, "Thank you, that was very kind!")
    assert calls(made) == []
    assert len(made.answer.split()) > 2
