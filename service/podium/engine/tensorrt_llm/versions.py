"""Which versions of TensorRT-LLM are used, and what they can do."""

from __future__ import annotations

import logging
import re

from podium.errors import FailedPrecondition

__all__ = ["OLDEST", "check_version", "inert_settings"]

_log = logging.getLogger(__name__)

OLDEST = (1, 2, 1)
_KNOWN_SERIES = (1, 2)
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.?(a|b|rc|dev)\d*)?")
_SINCE_1_3 = "since TensorRT-LLM 1.3 only"


def check_version(version: str) -> tuple[int, int, int]:
    """Return the version as numbers; one that was not tried is used with a warning.

    Raises:
        FailedPrecondition: it is older than 1.2.1 (1.2.0 corrupts its cache), or cannot be read.
    """
    match = _VERSION.match(version)
    if match is None:
        raise FailedPrecondition("The version of tensorrt_llm cannot be read; install 1.2.1.")
    major, minor, patch = int(match[1]), int(match[2]), int(match[3] or 0)
    number = (major, minor, patch)
    # A pre-release of 1.2.1 comes before the repair that 1.2.1 consists of.
    if number < OLDEST or (number == OLDEST and match[4]):
        raise FailedPrecondition(
            f"tensorrt_llm {match.group()} is too old: its key-value cache can be corrupted. Install 1.2.1."
        )
    if number[:2] != _KNOWN_SERIES:
        _log.warning("tensorrt_llm %s is newer than what this release was made for (1.2.x)", match.group())
    return number


def inert_settings(version: tuple[int, int, int]) -> dict[str, str]:
    """Name the sampling settings that this version takes and then ignores, each with the reason."""
    if version >= (1, 3, 0):
        return {}
    return dict.fromkeys(("repetition_penalty", "presence_penalty", "frequency_penalty", "seed"), _SINCE_1_3)
