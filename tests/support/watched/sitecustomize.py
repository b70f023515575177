"""Loaded by every Python process of a server under watch: writes down where its sockets go."""

from __future__ import annotations

import os
import sys

_TARGET = os.environ.get("WATCHED_SOCKETS_LOG", "")
_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"})


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in _EVENTS:
        # One write of one line: appends of several processes do not mix.
        line = f"{event} {arguments[1:] if event in ('socket.connect', 'socket.sendto') else arguments!r}\n"
        with open(_TARGET, "ab", buffering=0) as log:  # noqa: PTH123  pathlib is too much to load this early
            log.write(line.encode())


if _TARGET:
    sys.addaudithook(_note)
