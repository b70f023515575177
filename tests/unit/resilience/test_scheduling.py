"""How the process is scheduled, and who reads its sockets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from podium.resilience import scheduling

SCRIPT = """
import os, threading
from podium.resilience.scheduling import prefer_throughput
assert prefer_throughput()
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start(); thread.join()
print(os.sched_getscheduler(0) == found[0] == os.SCHED_BATCH)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has batch scheduling")
def test_threads_started_later_follow() -> None:
    """In a process of its own, as it cannot be undone everywhere."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_refusal_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes may forbid it, other systems do not have it."""

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden, raising=False)
    assert scheduling.prefer_throughput() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert scheduling.prefer_throughput() is False


LISTENER = """
import asyncio, contextlib, os, socket, sys
from podium.resilience.scheduling import listen_with_poller
late = sys.argv[1] == "late"
if late:
    import grpc.aio
changed = listen_with_poller()
import grpc.aio

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    links = {}
    for fd in sorted(os.listdir("/proc/self/fd"), key=int):
        with contextlib.suppress(OSError):
            links[fd] = os.readlink(f"/proc/self/fd/{fd}")

    def listens(fd):
        with socket.socket(fileno=os.dup(int(fd))) as found:
            return found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    (listening,) = (fd for fd, link in links.items() if link.startswith("socket:") and listens(fd))
    polls = [fd for fd, link in links.items() if "eventpoll" in link]
    (watching,) = (fd for fd in polls if f"tfd: {listening:>8} " in open(f"/proc/self/fdinfo/{fd}").read())
    await server.stop(None)
    return polls.index(watching)

print(changed, asyncio.run(main()), os.environ.get("GRPC_EXPERIMENTS"))
"""


def listener(when: str, **environ: str) -> str:
    """Say whether the environment was changed, which epoll has the listening socket, and the variable."""
    environ = {key: value for key, value in os.environ.items() if key != "GRPC_EXPERIMENTS"} | environ
    done = subprocess.run(
        [sys.executable, "-c", LISTENER, when], capture_output=True, text=True, env=environ, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
class TestListener:
    """Each in a process of its own: gRPC decides once."""

    def test_the_poller_takes_the_sockets_over(self) -> None:
        """Another epoll than by default watches the port: the installed gRPC still knows the switch."""
        changed, watching, variable = listener("early").split()
        default = listener("early", GRPC_EXPERIMENTS="event_engine_listener").split()
        assert (changed, variable) == ("True", "-event_engine_listener")
        assert default[0] == "False"
        assert watching != default[1]

    def test_other_experiments_of_the_operator_stay(self) -> None:
        assert listener("early", GRPC_EXPERIMENTS="tcp_frame_size_tuning").split()[2] == (
            "tcp_frame_size_tuning,-event_engine_listener"
        )

    def test_too_late_is_told(self) -> None:
        assert listener("late").split()[0] == "False"
