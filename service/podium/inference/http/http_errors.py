"""What a provider's refusal means to us: status, headers and body to a domain error."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from podium.errors import (
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.observability.masking import mask_text

__all__ = ["ProviderFault", "Upstream", "cut_short", "fault_of", "not_understood", "retry_after_of"]

_LONGEST_WAIT = 3600.0
_USUAL_WAIT = 1.0
_TOO_LONG = re.compile(
    r"context[ _](length|window)|maximum context|max_model_len|prompt is too long|too many tokens|"
    r"exceeds? the (limit|maximum).{0,40}(token|length)|max_num_tokens|max_seq_len",
    re.IGNORECASE,
)
_STATUS_BY_TYPE = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "context_length_exceeded": 400,
    "api_error": 500,
    "server_error": 500,
    "internalservererror": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_SAMPLING = re.compile(r"\b(temperature|top_p)\b")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whom we talk to: the model's name in Podium, and how its key is set."""

    model: str
    key_setting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFault:
    """A provider's error object, as far as it is known."""

    status: int
    code: str = ""
    message: str = ""
    param: str = ""

    def to_domain(self, upstream: Upstream, *, retry_after: float | None = None) -> PodiumError:
        """Return the error that a caller of the model gets. No text of a refused credential is passed on."""
        name, status = upstream.model, self.status
        if (setting := self._setting(upstream)) is not None:
            return FailedPrecondition(f"the provider of model {name!r} {setting}")
        if status == 404:
            message = f"the provider of model {name!r} does not have it: check `model` and `base_url` in its settings"
            return NotFound(message, resource_type="podium.v1.Model", resource_name=name)
        if status == 429:
            return self._exhausted(name, retry_after)
        if status >= 500 or status in (408, 409, 425):
            wait = _USUAL_WAIT if retry_after is None else retry_after
            return Unavailable(f"the provider of model {name!r} cannot answer just now: try again", retry_after=wait)
        return self._refused(name)

    def _setting(self, upstream: Upstream) -> str | None:
        """Return what is wrong with the settings of the model, if that is what it is."""
        if self.status in (401, 403):
            return f"refused the API key: check {upstream.key_setting} and its rights"
        if self.status == 402:
            return "asks for payment: check the account"
        if 300 <= self.status < 400:
            return "sent a redirect, which is not followed: correct `base_url`"
        return None

    def _exhausted(self, name: str, retry_after: float | None) -> PodiumError:
        if self.code == "insufficient_quota":
            return ResourceExhausted(f"the account behind model {name!r} has no credit left", quota="provider")
        return ResourceExhausted(
            f"the provider of model {name!r} limits requests: try again later",
            quota="provider",
            reason="RATE_LIMITED",
            retry_after=_USUAL_WAIT if retry_after is None else retry_after,
        )

    def _refused(self, name: str) -> PodiumError:
        if self.code == "context_length_exceeded" or _TOO_LONG.search(self.message):
            return InvalidRequest(
                f"the messages are too long for model {name!r}: send fewer or shorter ones",
                metadata={"limit": "context_length"},
            )
        said = f": {_plain(self.message)}" if self.message else ""
        # Some models refuse sampling options that others need; the model object learns it from this.
        named = _SAMPLING.search(self.param) or _SAMPLING.search(self.message)
        metadata = {"parameter": named[1]} if named else None
        return InvalidRequest(f"the provider of model {name!r} refused the request{said}", metadata=metadata)


def fault_of(status: int, body: bytes | Mapping[str, Any]) -> ProviderFault:
    """Read an error body, of any of the shapes that servers send. A status of 0 is told by the body alone."""
    parsed: Any = body
    if isinstance(body, bytes):
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
    if not isinstance(parsed, Mapping):
        return ProviderFault(status=status or 500)
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, Mapping):
        error = parsed
    kind, code = str(error.get("type") or ""), error.get("code")
    message = error.get("message") or error.get("detail") or ""
    if not status:
        status = _status_in(kind, code)
    return ProviderFault(
        status=status,
        code=code if isinstance(code, str) else kind,
        message=message if isinstance(message, str) else "",
        param=str(error.get("param") or ""),
    )


def _status_in(kind: str, code: object) -> int:
    if isinstance(code, int) and 400 <= code < 600:
        return code
    if isinstance(code, str) and code.isdecimal() and 400 <= int(code) < 600:
        return int(code)
    return _STATUS_BY_TYPE.get(str(code).lower()) or _STATUS_BY_TYPE.get(kind.lower(), 500)


def retry_after_of(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Return the seconds that a response asks us to wait, or None.

    Args:
        headers: by lower-case name: `retry-after-ms`, or `retry-after` in seconds or as a date.
        now: seconds since the epoch, for dates.
    """
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return _bounded(milliseconds / 1000)
    text = headers.get("retry-after", "").strip()
    if (seconds := _number(text)) is not None:
        return _bounded(seconds)
    try:
        when = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return _bounded(when - (time.time() if now is None else now))


def cut_short(model: str) -> Unavailable:
    """Return the error for an answer that ended in the middle."""
    return Unavailable(f"model {model!r} broke off its answer: try again", retry_after=_USUAL_WAIT)


def not_understood(model: str, what: str) -> Unavailable:
    """Return the error for an answer that is not what the protocol says."""
    return Unavailable(f"the provider of model {model!r} sent {what}: try again", retry_after=_USUAL_WAIT)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def _plain(text: str) -> str:
    """Return one short line, with anything that looks like a key taken out."""
    line = " ".join(mask_text(text).split())
    return line if len(line) <= 300 else f"{line[:299]}…"
