"""What `make run` does once everything is installed: serve, answer a sample request, stay.

With `--once` the server is stopped after the answer, and the exit code is the request's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from podium.packs.core import create_workspace

ROOT = Path(__file__).resolve().parent.parent
PODIUM = Path(sys.executable).parent / "podium"
QUESTION = "What is 19 * 21 and what time is it in Berlin?"
READY_SECONDS = 180


def say(text: str) -> None:
    print(text, flush=True)


def prepare() -> None:
    """Give the file tools something to look at, unless there is a folder already."""
    if not (ROOT / "workspace").exists():
        create_workspace(ROOT / "workspace")


def serve() -> subprocess.Popen[bytes]:
    """Start the server in a process group of its own, so that Ctrl-C reaches it through us only."""
    environment = {**os.environ, "PODIUM_LOG__LEVEL": os.environ.get("PODIUM_LOG__LEVEL", "WARNING")}
    return subprocess.Popen([PODIUM, "serve"], cwd=ROOT, env=environment, start_new_session=True)


def stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=75)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ready(server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server can answer, or until it has given up."""
    probe = subprocess.Popen([PODIUM, "health", "--wait", str(READY_SECONDS)], cwd=ROOT)
    while probe.poll() is None:
        if server.poll() is not None:
            probe.kill()
            return False
        try:
            probe.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
    return probe.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the sample request")
    once = parser.parse_args().once
    prepare()
    server = serve()
    try:
        if not ready(server):
            say("The server did not become ready; what it printed above says why.")
            return server.poll() or 3
        say(f"\n$ podium run {QUESTION!r}\n")
        answered = subprocess.run([PODIUM, "run", QUESTION], cwd=ROOT, check=False).returncode
        if once or answered:
            return answered
        say("\nThe server stays up: gRPC on 127.0.0.1:50051, metrics and health on http://127.0.0.1:8000.")
        say("Ask it something yourself, in another terminal: .venv/bin/podium run '...'   Stop it with Ctrl-C.")
        return server.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        stop(server)


if __name__ == "__main__":
    sys.exit(main())
