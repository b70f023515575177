"""Ask a running Podium something, and watch what it does about it.

    podium serve &
    python ask.py "What is 19 * 21 and what time is it in Berlin?"
    python ask.py --address 127.0.0.1:50051 "How many days between 2026-01-01 and 2026-03-01?"

The first half is the asyncio client, which streams the run's events; the second half is the plain
client, which reads the run again afterwards. Exit codes: 0 answered, 1 not, 3 no server.
"""

# ruff: noqa: T201  an example prints

import argparse
import asyncio
import os
import sys

from podium_client import (
    AsyncPodium,
    Podium,
    PodiumError,
    RunFinished,
    TextDelta,
    ToolCallFinished,
    ToolCallSealed,
    Unavailable,
)


async def watch(address: str, request: str) -> str:
    """Stream the run and print its events; return the run's id."""
    async with (
        AsyncPodium.connect(address, api_key=os.environ.get("MY_PODIUM_KEY")) as podium,
        podium.stream(request, deadline=30, labels={"example": "ask.py"}) as events,
    ):
        async for event in events:
            match event:
                case ToolCallSealed(tool=tool, arguments=arguments):
                    print(f"-> {tool} {arguments}")
                case ToolCallFinished(call_id=call_id, ok=True):
                    print(f"<- {call_id} {event.result}")
                case ToolCallFinished(call_id=call_id, failure=failure):
                    print(f"<- {call_id} failed: {failure}")
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case RunFinished():
                    print()
                    event.raise_for_state()
        return events.run_id


def look_back(address: str, run_id: str) -> None:
    """Read the ended run with the plain client."""
    with Podium.connect(address, api_key=os.environ.get("MY_PODIUM_KEY")) as podium:
        run = podium.get_run(run_id)
    spent = run.duration.total_seconds() if run.duration else 0.0
    print(f"{run.state.lower()} in {spent:.2f} s, {len(run.calls)} calls, {run.usage.total_tokens} tokens")


def main() -> int:
    """Ask, then look back."""
    parser = argparse.ArgumentParser(description="Ask a running Podium something.")
    parser.add_argument("request")
    parser.add_argument("--address", default="127.0.0.1:50051")
    given = parser.parse_args()
    try:
        run_id = asyncio.run(watch(given.address, given.request))
        look_back(given.address, run_id)
    except Unavailable as error:
        print(f"no server: {error}; try again in {error.retry_after or 5} s", file=sys.stderr)
        return 3
    except PodiumError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
