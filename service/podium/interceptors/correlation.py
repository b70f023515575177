"""Correlation: every call has an id of its own and one that ties it to its caller's intent."""

from __future__ import annotations

import re
from typing import Final

from podium import context
from podium.ids import Ids
from podium.interceptors.call import Call, Method, current_call
from podium.interceptors.concern import Hooks

__all__ = ["CORRELATION_KEY", "REQUEST_KEY", "Correlation"]

CORRELATION_KEY: Final = "x-correlation-id"
REQUEST_KEY: Final = "x-request-id"
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII).fullmatch


class Correlation:
    """Takes the caller's `x-correlation-id` when it is well-formed, else mints one; mints `x-request-id`.

    Both go out in initial metadata and trailers, and into the context variables that logs read.
    """

    name = "correlation"

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or Ids()

    def bind(self, method: Method) -> Hooks | None:
        """Serve every method alike."""
        rpc = method.rpc
        ids = self._ids

        def admit(call: Call) -> None:
            given = call.metadata.get(CORRELATION_KEY)
            # A hostile value is replaced rather than refused: it is no reason to fail a call.
            good = isinstance(given, str) and _WELL_FORMED(given) is not None
            correlation_id = str(given) if good else ids.correlation_id()
            request_id = ids.request_id()
            call.correlation_id = correlation_id
            call.request_id = request_id
            call.ids = call.trailers = ((CORRELATION_KEY, correlation_id), (REQUEST_KEY, request_id))
            # Never reset: each call has a task, and so a context, of its own.
            context.correlation_id.set(correlation_id)
            context.request_id.set(request_id)
            context.rpc.set(rpc)
            current_call.set(call)

        return Hooks(admit=admit)
