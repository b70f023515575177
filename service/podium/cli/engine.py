"""`podium engine`: the engine host, whose options are its own."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import logging
import os
import sys

import typer

from podium.cli.failures import reported

__all__ = ["engine"]


def engine(context: typer.Context) -> None:
    """Serve trtllm.TrtllmService around an engine: --engine openvino|tensorrt_llm --model PATH --listen ADDRESS."""
    with reported():
        from podium.engine import parse_arguments, run_host

        arguments = parse_arguments(context.args)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
        code = run_host(arguments)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Native threads may not end by themselves; everything of ours is closed by now.
    os._exit(code)
