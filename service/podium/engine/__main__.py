"""`python -m podium.engine`: what the supervisor starts."""

from __future__ import annotations

import logging
import os
import sys

from podium.engine.arguments import parse_arguments
from podium.engine.host import run_host
from podium.errors import PodiumError


def main() -> int:
    """Run a host from the command line; 1 when it failed, 2 when it cannot run as asked."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        return run_host(arguments)
    except PodiumError as error:
        logging.getLogger("podium.engine").error("%s", error.message)  # noqa: TRY400  # the message is enough
        return 2


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # Native threads may not end by themselves; everything of ours is closed by now.
    os._exit(status)
