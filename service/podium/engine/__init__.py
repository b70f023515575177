"""The engine host: a small process that serves `trtllm.TrtllmService` around a native engine.

Native inference code runs here and nowhere else. Nothing here knows of tools, runs or messages,
and the server never imports this package: it talks to the host over its socket.
"""

from podium.engine.arguments import HostArguments, parse_arguments
from podium.engine.host import run_host

__all__ = ["HostArguments", "parse_arguments", "run_host"]
