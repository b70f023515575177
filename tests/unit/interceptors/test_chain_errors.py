"""Error mapping: one table, nothing internal, and always small enough for the wire."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from chain_doubles import Log, hooks_of, make_call
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from podium import errors
from podium.errors import FieldViolation
from podium.interceptors import ErrorMapping, status
from podium.interceptors.call import Outcome
from podium.interceptors.ending import outcome_of
from podium.interceptors.error_mapping import TABLE, row_for
from podium.v1 import error_reason_pb2

Code = grpc.StatusCode
TRAILERS = (("x-correlation-id", "c" * 128), ("x-request-id", "req_" + "0" * 26))
RATES = (("ratelimit-limit", "60"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "60"))


def mapped(error: BaseException, **options: Any) -> tuple[Outcome, dict[str, Any]]:
    call = make_call(correlation_id="c" * 128, request_id="r", trailers=TRAILERS + RATES)
    options.setdefault("logger", Log())
    translate = hooks_of(ErrorMapping(**options)).translate
    assert translate is not None
    outcome = translate(call, error)
    parsed = status_pb2.Status.FromString(outcome.details or b"")
    assert parsed.code == outcome.code.value[0]
    assert parsed.message == outcome.message
    found: dict[str, Any] = {}
    for packed in parsed.details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        packed.Unpack(message)
        found[type(message).__name__] = message
    return outcome, found


def wire(outcome: Outcome) -> int:
    """Return the bytes of everything that goes out with the status."""
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in outcome.message.encode())
    pairs = (*TRAILERS, *RATES, (status.DETAILS_KEY, outcome.details or b""))
    return status.wire_size(pairs) + message


def test_every_error_class_has_a_row() -> None:
    """And subclasses fall to the nearest."""
    classes = [getattr(errors, name) for name in errors.__all__ if name != "FieldViolation"]
    assert {row.error for row in TABLE} == set(classes)

    class Special(errors.CircuitOpen):
        pass

    assert row_for(Special("x")).error is errors.CircuitOpen
    assert {row.code for row in TABLE} <= set(Code) - {Code.OK, Code.UNKNOWN}


def test_default_reasons_are_in_the_contract() -> None:
    """Every class's reason is a value of `podium.v1.ErrorReason`."""
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name}
    assert {row.error.default_reason for row in TABLE} <= known


def test_every_reason_is_documented() -> None:
    """docs/errors.md names each reason of the contract."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "errors.md").read_text(encoding="utf-8")
    for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name:
        reason = name.removeprefix("ERROR_REASON_")
        assert reason == "UNSPECIFIED" or f"`{reason}`" in text, reason


def test_details_by_class() -> None:
    """BadRequest, QuotaFailure, ResourceInfo and RetryInfo, where they apply."""
    _, found = mapped(errors.InvalidRequest("x", violations=[FieldViolation("a.b[1]", "too long", "string.max_len")]))
    violation = found["BadRequest"].field_violations[0]
    assert (violation.field, violation.description, violation.reason) == ("a.b[1]", "too long", "string.max_len")
    assert "RetryInfo" not in found
    _, found = mapped(errors.ResourceExhausted("full", quota="q", retry_after=2.5))
    assert found["QuotaFailure"].violations[0].subject == "q"
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    _, found = mapped(errors.NotFound("x", resource_type="run", resource_name="run_1"))
    assert (found["ResourceInfo"].resource_type, found["ResourceInfo"].resource_name) == ("run", "run_1")
    _, found = mapped(errors.Unavailable("soon"))
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1000
    _, found = mapped(errors.CircuitOpen("x", retry_after=3, metadata={"breaker": "model:a"}))
    assert dict(found["ErrorInfo"].metadata) == {"breaker": "model:a"}
    for error in (errors.Internal("x"), errors.Cancelled("x"), errors.PermissionDenied("x")):
        assert set(mapped(error)[1]) == {"ErrorInfo"}


@pytest.mark.parametrize("error", [RuntimeError("hunter2"), errors.Internal("hunter2"), KeyError("hunter2")])
def test_internals_stay_inside(error: Exception) -> None:
    """A constant and the correlation id go out, the traceback into the log."""
    log = Log()
    outcome, found = mapped(error, logger=log)
    assert outcome.code is Code.INTERNAL
    assert b"hunter2" not in (outcome.details or b"")
    assert found["ErrorInfo"].metadata["correlation_id"] == "c" * 128
    level, _, fields = log.lines[0]
    assert (level, fields["exc_info"]) == ("error", error)


def test_expected_errors_are_not_logged_as_faults() -> None:
    """The access log has them."""
    log = Log()
    mapped(errors.NotFound("x", resource_type="a", resource_name="b"), logger=log)
    mapped(DecodeError("Error parsing message"), logger=log)
    mapped(TimeoutError(), logger=log)
    assert log.lines == []


def test_timeouts_by_cause() -> None:
    """The call's own deadline, or that of something it waited for."""
    translate = hooks_of(ErrorMapping(logger=Log())).translate
    assert translate is not None
    assert translate(make_call(deadline=50.0), TimeoutError()).code is Code.DEADLINE_EXCEEDED
    assert translate(make_call(deadline=60.0), TimeoutError()).code is Code.UNAVAILABLE
    assert translate(make_call(), TimeoutError()).code is Code.UNAVAILABLE


def test_texts_are_redacted() -> None:
    """Messages and metadata go through the masker."""
    error = errors.Unavailable("no answer from https://u:pw@host", metadata={"at": "https://u:pw@host"})
    outcome, found = mapped(error, redact=lambda text: text.replace("u:pw", "***"))
    assert outcome.message == "no answer from https://***@host"
    assert found["ErrorInfo"].metadata["at"] == "https://***@host"


def test_twenty_violations_at_most() -> None:
    """A request with a thousand mistakes gets an answer that fits."""
    many = [FieldViolation(f"labels[{index}]", "x", "r") for index in range(1_000)]
    outcome, found = mapped(errors.InvalidRequest("x", violations=many))
    assert 5 < len(found["BadRequest"].field_violations) <= 20
    assert wire(outcome) <= 4_096


texts = st.text(max_size=3_000)


@given(
    message=texts,
    violations=st.lists(st.tuples(texts, texts, texts), max_size=40),
    metadata=st.dictionaries(st.text(max_size=200), texts, max_size=12),
)
def test_everything_fits_whatever_it_says(
    message: str, violations: list[tuple[str, str, str]], metadata: dict[str, str]
) -> None:
    """Under 4 KiB with the longest correlation id; the ErrorInfo is never lost."""
    error = errors.InvalidRequest(message, violations=[FieldViolation(*each) for each in violations], metadata=metadata)
    outcome, found = mapped(error)
    assert wire(outcome) <= 4_096
    assert found["ErrorInfo"].reason == "INVALID_REQUEST"


@given(message=texts, name=texts, retry=st.floats(-10, 1e12))
def test_other_details_fit_too(message: str, name: str, retry: float) -> None:
    """Resource names and delays of any size."""
    for error in (
        errors.NotFound(message, resource_type=name, resource_name=name),
        errors.ResourceExhausted(message, quota=name, retry_after=retry),
    ):
        outcome, found = mapped(error)
        assert wire(outcome) <= 4_096
        assert "ErrorInfo" in found


class TestOutcomes:
    """What came out of a handler, and what that means; the rows need no server."""

    def translate(self, call: Any, error: BaseException) -> Outcome:
        translate = hooks_of(ErrorMapping(logger=Log())).translate
        assert translate is not None
        return translate(call, error)

    @pytest.mark.parametrize(
        ("remaining", "code"),
        [(None, Code.CANCELLED), (3.0, Code.CANCELLED), (0.004, Code.DEADLINE_EXCEEDED), (0.0, Code.DEADLINE_EXCEEDED)],
    )
    def test_clients_that_left(self, remaining: float | None, code: Code) -> None:
        call = make_call(remaining=remaining)
        call.task.cancel()
        outcome = outcome_of(call, asyncio.CancelledError(), self.translate)
        assert (outcome.code, outcome.details) == (code, None)

    def test_an_escaped_cancellation_gets_a_status(self) -> None:
        outcome = outcome_of(make_call(), asyncio.CancelledError(), self.translate)
        assert outcome.code is Code.INTERNAL
        assert outcome.details

    def test_the_end_of_the_process_is_no_error_to_translate(self) -> None:
        outcome = outcome_of(make_call(), KeyboardInterrupt(), self.translate)
        assert (outcome.code, outcome.details) == (Code.INTERNAL, None)

    def test_our_own_ending_wins_over_what_the_handler_made_of_it(self) -> None:
        call = make_call()
        call.interrupt(errors.Unavailable("draining", reason="DRAINING"))
        outcome = outcome_of(call, ValueError("confused"), self.translate)
        assert (outcome.code, outcome.reason) == (Code.UNAVAILABLE, "DRAINING")
