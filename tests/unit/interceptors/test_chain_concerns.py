"""Correlation, deadline, authorisation, load shedding, circuit breaking: each without a server."""

from __future__ import annotations

from typing import Any

import pytest
from chain_doubles import READ, Loop, admit, hooks_of, make_call, make_method

from podium import context
from podium.errors import CircuitOpen, DeadlineExceeded, PermissionDenied, ResourceExhausted, Unavailable
from podium.interceptors import (
    Authorisation,
    CircuitBreaking,
    Correlation,
    Deadline,
    Drain,
    LoadShedding,
    MethodClass,
    MethodPolicy,
    current_call,
)
from podium.interceptors.call import OK
from podium.resilience.breakers import Breakers
from podium.security import LOCAL, Principal

OPEN = MethodPolicy(None, MethodClass.OPEN, None)


class TestCorrelation:
    def test_takes_good_ids_and_replaces_bad_ones(self) -> None:
        concern = Correlation()
        good = make_call(metadata={"x-correlation-id": "a.B_c:1-2"})
        admit(concern, good)
        assert good.correlation_id == "a.B_c:1-2"
        for value in ("", "x" * 129, "a b", "a\n", "\u00e9", b"bytes"):
            call = make_call(metadata={"x-correlation-id": value})
            admit(concern, call)
            assert call.correlation_id.startswith("exec_")
        assert len(good.request_id) == 30

    def test_an_id_that_looks_like_a_secret_is_replaced(self) -> None:
        """It would be in every line of the log."""
        concern = Correlation(redact=lambda text: "***" if text.startswith("ghp_") else text)
        for given, kept in (("ghp_abcdef", False), ("mine", True)):
            call = make_call(metadata={"x-correlation-id": given})
            admit(concern, call)
            assert (call.correlation_id == given) == kept

    def test_sets_trailers_and_context(self) -> None:
        call = make_call(metadata={"x-correlation-id": "mine"})
        admit(Correlation(), call)
        assert call.ids == call.trailers == (("x-correlation-id", "mine"), ("x-request-id", call.request_id))
        assert context.correlation_id.get() == "mine"
        assert context.request_id.get() == call.request_id
        assert context.rpc.get() == "podium.v1.ToolService/GetTool"
        assert current_call.get() is call


class TestDeadline:
    @pytest.mark.parametrize(
        ("remaining", "limit", "seconds", "timer"),
        [
            (None, 30.0, 30.0, True),
            (60.0, 30.0, 30.0, True),
            (10.0, 30.0, 10.0, False),  # the transport's to enforce
            (10.0, None, 10.0, False),
            (None, None, None, False),
        ],
    )
    def test_the_nearer_one_counts(
        self, remaining: float | None, limit: float | None, seconds: float | None, timer: bool
    ) -> None:
        call = make_call(make_method(MethodPolicy("read", MethodClass.READ, limit)), remaining=remaining)
        admit(Deadline(), call)
        assert call.deadline == (None if seconds is None else 50.0 + seconds)
        assert len(call.timers) == timer

    def test_expiry_interrupts_once(self) -> None:
        call = make_call()
        admit(Deadline(), call)
        task: Any = call.task
        loop: Loop = task.get_loop()
        loop.timers[0].fire()
        assert isinstance(call.ended_by, DeadlineExceeded)
        call.interrupt(Unavailable("draining"))
        assert isinstance(call.ended_by, DeadlineExceeded)
        assert task.cancels == 1

    def test_a_passed_deadline_is_refused_at_once(self) -> None:
        with pytest.raises(DeadlineExceeded):
            admit(Deadline(), make_call(remaining=0.0))

    def test_methods_without_a_policy_get_the_default(self) -> None:
        call = make_call(make_method(None))
        admit(Deadline(max_seconds=7.0), call)
        assert call.deadline == 57.0
        with pytest.raises(ValueError, match="above zero"):
            Deadline(max_seconds=0)


class TestAuthorisation:
    def test_scope(self) -> None:
        for scopes, good in ((frozenset({"read"}), True), (frozenset({"run", "admin"}), False)):
            call = make_call(principal=Principal("p", scopes))
            if good:
                admit(Authorisation(), call)
            else:
                with pytest.raises(PermissionDenied):
                    admit(Authorisation(), call)

    def test_nobody_is_not_allowed(self) -> None:
        with pytest.raises(PermissionDenied):
            admit(Authorisation(), make_call())

    def test_no_policy_is_denied_even_to_the_local_caller(self) -> None:
        with pytest.raises(PermissionDenied):
            admit(Authorisation(), make_call(make_method(None), principal=LOCAL))

    def test_public_methods_cost_nothing(self) -> None:
        assert Authorisation().bind(make_method(OPEN)) is None


class TestLoadShedding:
    def test_the_limit_counts_calls_in_progress(self) -> None:
        concern = LoadShedding(limits={MethodClass.READ: 2})
        hooks = hooks_of(concern)
        assert hooks.finish is not None
        first, second, third = make_call(), make_call(), make_call()
        admit(concern, first)
        admit(concern, second)
        with pytest.raises(ResourceExhausted) as caught:
            admit(concern, third)
        assert (caught.value.reason, caught.value.quota, caught.value.retry_after) == ("OVERLOADED", "active:read", 1)
        hooks.finish(first, OK)
        admit(concern, third)
        assert concern.active(MethodClass.READ) == 2

    def test_classes_do_not_share(self) -> None:
        concern = LoadShedding(limits={MethodClass.READ: 1, MethodClass.RUN: 1})
        admit(concern, make_call())
        admit(concern, make_call(make_method(MethodPolicy("run", MethodClass.RUN))))
        assert (concern.active(MethodClass.READ), concern.active(MethodClass.RUN)) == (1, 1)

    def test_draining(self) -> None:
        drain = Drain(retry_after=3.0)
        concern = LoadShedding(drain)
        admit(concern, make_call())
        drain.draining = True
        with pytest.raises(Unavailable) as caught:
            admit(concern, make_call())
        assert (caught.value.reason, caught.value.retry_after) == ("DRAINING", 3.0)
        assert concern.active(MethodClass.READ) == 1

    def test_health_is_let_through(self) -> None:
        assert LoadShedding(Drain(draining=True)).bind(make_method(OPEN)) is None


class TestCircuitBreaking:
    def test_sheds_only_when_all_are_open(self) -> None:
        breakers = Breakers(clock=lambda: 0.0)
        method = make_method(MethodPolicy("run", MethodClass.RUN, 60.0, ("model:*", "store")))
        concern = CircuitBreaking(breakers)
        admit(concern, make_call(method))  # nothing was made yet
        breakers.get("model:a").open()
        with pytest.raises(CircuitOpen) as caught:
            admit(concern, make_call(method))
        assert caught.value.retry_after == 60
        assert caught.value.metadata["dependencies"] == "model:*, store"
        breakers.get("store")
        admit(concern, make_call(method))

    def test_takes_no_permits(self) -> None:
        now = 0.0
        breakers = Breakers(clock=lambda: now)
        breakers.get("model:a").open()
        now = 61.0
        method = make_method(MethodPolicy("run", MethodClass.RUN, 60.0, ("model:a",)))
        for _ in range(10):  # more than half-open would let pass
            admit(CircuitBreaking(breakers), make_call(method))
        assert breakers.get("model:a").status().retry_after == 0

    def test_methods_without_dependencies_cost_nothing(self) -> None:
        assert CircuitBreaking(Breakers()).bind(make_method(READ)) is None
        assert CircuitBreaking(Breakers()).bind(make_method(None)) is None


def test_a_call_never_shows_its_metadata() -> None:
    """Tracebacks and logs may show a call; its credentials are in the metadata."""
    assert "sesame" not in repr(make_call(metadata={"authorization": "Bearer sesame"}))


def test_policies_are_checked() -> None:
    """A limit of zero would refuse everything."""
    with pytest.raises(ValueError, match="above zero"):
        MethodPolicy("read", MethodClass.READ, 0)
