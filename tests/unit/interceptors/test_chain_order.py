"""The chain's order is data: checked when it is built, followed in and out, bound once per method."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from chain_doubles import PATH, READ, Context
from prometheus_client import CollectorRegistry

from podium.errors import PermissionDenied
from podium.interceptors import Chain, Drain, standard_chain
from podium.interceptors.call import Call, Method, Outcome
from podium.interceptors.chain import _arrival
from podium.interceptors.concern import ORDER, Hooks, check_order
from podium.interceptors.error_mapping import ErrorMapping
from podium.resilience.breakers import Breakers

NOTES = "notes"


class Recorder:
    """A concern that writes down what happens to it."""

    def __init__(self, name: str, notes: list[str], *, refuse: bool = False, slow: bool = False) -> None:
        self.name = name
        self._notes = notes
        self._refuse = refuse
        self._slow = slow
        self.bound = 0

    def bind(self, method: Method) -> Hooks | None:
        self.bound += 1

        async def later() -> None:
            self._notes.append(f"{self.name} waits")

        def admit(call: Call) -> Any:
            self._notes.append(f"{self.name} in")
            if self._refuse:
                raise PermissionDenied("no")
            return later() if self._slow else None

        def receive(call: Call, message: Any) -> None:
            self._notes.append(f"{self.name} gets {message!r}")

        def finish(call: Call, outcome: Outcome) -> None:
            self._notes.append(f"{self.name} out {outcome.code.name}")

        return Hooks(admit, receive, finish)

    def close(self) -> None:
        self._notes.append(f"{self.name} closed")


class Full(Context):
    """A context that also takes metadata and statuses."""

    def __init__(self) -> None:
        super().__init__()
        self.trailers: Any = ()
        self.aborted: Any = None

    def set_trailing_metadata(self, trailers: Any) -> None:
        self.trailers = trailers

    def trailing_metadata(self) -> Any:
        return self.trailers

    async def send_initial_metadata(self, metadata: Any) -> None:
        return None

    def code(self) -> None:
        return None

    async def abort(self, code: Any, message: str, trailers: Any) -> None:
        self.aborted = code
        raise grpc.aio.AbortError


def recorders(notes: list[str], **changed: Any) -> list[Any]:
    quiet = {"correlation": Recorder("correlation", notes), "reporting": Recorder("reporting", notes)}
    return [*quiet.values(), ErrorMapping(), *changed.values()]


async def run(chain: Chain, context: Full) -> Any:
    async def handler(request: bytes, context: Any) -> bytes:
        return request

    _arrival.set(((), 0.0))
    wrapped: Any = chain.wrap(PATH, grpc.unary_unary_rpc_method_handler(handler))
    return await wrapped.unary_unary(b"x", context)


def test_the_standard_order_is_the_contracts() -> None:
    """CONTRACT.md section 3, word for word."""
    chain = standard_chain({}, registry=CollectorRegistry(), breakers=Breakers(), drain=Drain())
    assert chain.order == ORDER
    assert ORDER == (
        "correlation", "reporting", "error_mapping", "deadline", "authentication", "authorisation", "rate_limit",
        "load_shedding", "circuit_breaking", "validation",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["correlation", "reporting"], "cannot do without"),
        (["correlation", "error_mapping", "reporting"], "out of order"),
        (["correlation", "reporting", "error_mapping", "validation", "deadline"], "out of order"),
        (["correlation", "reporting", "error_mapping", "caching"], "unknown"),
        (["correlation", "correlation", "reporting", "error_mapping"], "twice"),
    ],
)
def test_wrong_orders_are_refused(names: list[str], complaint: str) -> None:
    """A chain that is put together wrongly does not start."""
    with pytest.raises(ValueError, match=complaint):
        check_order(names)


async def test_in_forwards_out_backwards() -> None:
    """Admissions in order, then messages in order, finishes in reverse."""
    notes: list[str] = []
    chain = Chain(recorders(notes, deadline=Recorder("deadline", notes, slow=True)), {PATH: READ})
    assert await run(chain, Full()) == b"x"
    assert notes == [
        "correlation in", "reporting in", "deadline in", "deadline waits",
        "correlation gets b'x'", "reporting gets b'x'", "deadline gets b'x'",
        "deadline out OK", "reporting out OK", "correlation out OK",
    ]  # fmt: skip
    chain.close()
    assert notes[-2:] == ["reporting closed", "deadline closed"]


@pytest.mark.parametrize("slow", [False, True])
async def test_only_who_admitted_finishes(slow: bool) -> None:
    """A concern that refuses, and those behind it, are not told of the end."""
    notes: list[str] = []
    concerns = recorders(
        notes,
        deadline=Recorder("deadline", notes, slow=slow),
        authentication=Recorder("authentication", notes, refuse=True),
        validation=Recorder("validation", notes),
    )
    context = Full()
    with pytest.raises(grpc.aio.AbortError):
        await run(Chain(concerns, {PATH: READ}), context)
    assert context.aborted is grpc.StatusCode.PERMISSION_DENIED
    assert [note for note in notes if " out " in note] == [
        "deadline out PERMISSION_DENIED", "reporting out PERMISSION_DENIED", "correlation out PERMISSION_DENIED",
    ]  # fmt: skip
    assert not any("validation" in note for note in notes)


async def test_a_fault_at_the_end_costs_neither_call_nor_concerns(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the others are told all the same."""

    class Bad(Recorder):
        def bind(self, method: Method) -> Hooks | None:
            def finish(call: Call, outcome: Outcome) -> None:
                raise RuntimeError("fault")

            return Hooks(finish=finish)

    notes: list[str] = []
    assert await run(Chain(recorders(notes, deadline=Bad("deadline", notes)), {PATH: READ}), Full()) == b"x"
    assert "reporting out OK" in notes
    assert "a concern failed" in caplog.text


async def test_methods_are_bound_once_and_unknown_ones_not_kept() -> None:
    """The second call costs a look-up; None passes through."""
    notes: list[str] = []
    concerns = recorders(notes)
    chain = Chain(concerns, {PATH: READ})
    asked = 0

    class Details:
        method = PATH
        invocation_metadata = ()

    async def handler(request: bytes, context: Any) -> bytes:
        return request

    async def continuation(details: Any) -> Any:
        nonlocal asked
        asked += 1
        return grpc.unary_unary_rpc_method_handler(handler) if details.method == PATH else None

    details: Any = Details()
    first = await chain.intercept_service(continuation, details)
    assert await chain.intercept_service(continuation, details) is first
    assert (asked, concerns[0].bound) == (1, 1)
    details.method = "/other/Thing"
    assert await chain.intercept_service(continuation, details) is None
    assert await chain.intercept_service(continuation, details) is None
    assert asked == 3


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_synchronous_handlers_are_refused(kind: str) -> None:
    """gRPC would run them in a thread, or never await what they return."""

    def handler(request: Any, context: Any) -> bytes:
        return b""

    made = getattr(grpc, f"{kind}_rpc_method_handler")(handler)
    with pytest.raises(TypeError, match="must be an async function"):
        Chain(recorders([]), {}).wrap(PATH, made)
