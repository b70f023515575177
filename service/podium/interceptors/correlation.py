"""Correlation: every call has an id of its own and one that ties it to its caller's intent."""

from __future__ import annotations

import re
from collections.abc import Callable
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

    One that looks like a secret counts as malformed: it would be in every line of the log.
    Both go out in the trailers, in initial metadata as the chain's `initial_ids` says, and into the
    context variables that logs read.
    """

    name = "correlation"

    def __init__(self, ids: Ids | None = None, *, redact: Callable[[str], str] | None = None) -> None:
        self._ids = ids or Ids()
        self._redact = redact

    def bind(self, method: Method) -> Hooks | None:
        """Serve every method alike."""
        rpc = method.rpc
        call_ids = self._ids.call_ids
        is_good = self._is_good

        def admit(call: Call) -> None:
            correlation_id, request_id = call_ids()
            given = call.metadata.get(CORRELATION_KEY)
            # A hostile value is replaced rather than refused: it is no reason to fail a call.
            if given is not None and is_good(given):
                correlation_id = str(given)
            call.correlation_id = correlation_id
            call.request_id = request_id
            call.ids = call.trailers = ((CORRELATION_KEY, correlation_id), (REQUEST_KEY, request_id))
            # Never reset: each call has a task, and so a context, of its own.
            context.correlation_id.set(correlation_id)
            context.request_id.set(request_id)
            context.rpc.set(rpc)
            current_call.set(call)

        return Hooks(admit=admit)

    def _is_good(self, given: str | bytes) -> bool:
        if not isinstance(given, str) or _WELL_FORMED(given) is None:
            return False
        return self._redact is None or self._redact(given) == given
