"""How the process spends a core on many calls: scheduled in batches, and with few hand-overs inside gRPC.

By default gRPC hands every event from thread to thread, and the kernel lets each hand-over at once
displace the thread that makes it, so on a busy core a call costs some fifteen changes of thread.
Two choices, both made before gRPC is even imported, make them fewer (docs/decisions/0006 has the
figures):

- as a batch process (Linux; needs no privilege) the threads finish what they are at first, and
  events arrive several at a time. Its price: beside other busy processes this one may wait a
  little longer, a time slice at most;
- gRPC's poller, which waits for completions, also reads the server's sockets itself, instead of the
  event engine's pool of threads. That was the only way of grpcio for most of its life.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

__all__ = ["collect_rarely", "listen_with_poller", "prefer_throughput"]

_EXPERIMENTS: Final = "GRPC_EXPERIMENTS"
_LISTENER: Final = "event_engine_listener"


def collect_rarely() -> None:
    """Spare the garbage collector what it need not look at. Call it once everything has started.

    What exists by then stays for good and is left out of every collection. A run leaves no cycles behind, so the
    young generation is looked at after 5,000 new objects rather than 700, and the older ones, of which a
    collection stops the event loop for a tenth of a second and more, hardly ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 200, 1_000)


def prefer_throughput() -> bool:
    """Schedule this thread, and those that it starts from now on, as a batch process.

    Call it before gRPC starts its threads. Returns whether the kernel agreed.
    """
    if sys.platform != "linux":
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:
        return False  # a sandbox that forbids it: everything works, a little slower
    return True


def listen_with_poller() -> bool:
    """Let gRPC's poller read the sockets of the servers of this process. Call it before `import grpc`.

    gRPC reads `GRPC_EXPERIMENTS` once, when it is imported; a release that no longer knows the name
    goes its own way. Returns False, and changes nothing, when the operator has decided about it in
    that variable, or when it is too late.
    """
    given = [name for name in os.environ.get(_EXPERIMENTS, "").split(",") if name]
    if "grpc" in sys.modules or any(name.lstrip("-") == _LISTENER for name in given):
        return False
    os.environ[_EXPERIMENTS] = ",".join([*given, f"-{_LISTENER}"])
    return True
