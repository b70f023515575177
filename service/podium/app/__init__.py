"""The composition root: builds every object, in order, once, and closes them in reverse.

The only place that reads settings and hands their values to the parts; nothing below imports it.
"""

import os

# We start engine hosts with exec and never fork for good; gRPC's fork handlers only get in the way,
# and say so on standard error at every start. Read by gRPC when it is first used.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from podium.app.application import Application
from podium.app.serve import run_server

__all__ = ["Application", "run_server"]
