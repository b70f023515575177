"""Circuit breakers: `aiobreaker`, with what it lacks and without what it gets wrong.

A breaker stands before one dependency. Closed, it counts failures in a row; at the threshold it
opens and refuses calls for the recovery time; then it lets as many trials through as successes
are still missing, and closes when it has them or opens again at the first failure.

The library's types, listeners and hooks stay usable: this is a subclass that makes its own state
objects through the library's one factory hook. What differs from the library, and is tested:

- two successes close it, and half-open admits only the trials it needs, not everybody;
- time is a monotonic clock that is handed in; no local or naive times anywhere;
- the caller gets the dependency's own exception, also for the call that trips the breaker;
- an excluded exception, a cancellation and a closed generator are neutral: they neither count
  nor reset, and they give their trial back;
- results of calls that began before the last change of state are ignored;
- the time limit of a call is applied inside, so that running out of time counts;
- streams are guarded by `guard()`; coroutines, partials and callable objects may be decorated;
- a listener that raises is logged and changes nothing.

All of it belongs to one event loop; none of it may be used from several threads.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import aiobreaker
from aiobreaker import CircuitBreakerState as BreakerState
from aiobreaker.state import CircuitBreakerBaseState

from podium.errors import CircuitOpen
from podium.resilience.breaker_states import STATES, TRIALS_TAKEN_RETRY, HalfOpen, Open, State
from podium.resilience.failures import is_callers_fault, is_unavailable

__all__ = ["Breaker", "BreakerPolicy", "BreakerState", "BreakerStatus", "Guard"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and closes. The defaults are those of the seeds (S0-19).

    Attributes:
        failures: failures in a row that open it.
        recovery_seconds: how long it stays open before trials.
        successes: good trials that close it.
        call_seconds: limit of one call; None for no limit.
    """

    failures: int = 5
    recovery_seconds: float = 60.0
    successes: int = 2
    call_seconds: float | None = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.successes < 1 or self.recovery_seconds <= 0:
            raise ValueError("a breaker needs at least one failure, one success and a recovery time above zero")
        if self.call_seconds is not None and self.call_seconds <= 0:
            raise ValueError("the time limit of a call must be above zero, or None")


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """What a breaker shows to operators.

    Attributes:
        retry_after: seconds until a call may pass; 0.0 when one may now.
        opened: when it last opened, or None.
    """

    name: str
    state: str
    failures: int
    successes: int
    retry_after: float
    opened: datetime | None


class Permit:
    """Leave for one call to pass. Settle it exactly once; later settlements do nothing."""

    __slots__ = ("_breaker", "_settled", "state")

    def __init__(self, breaker: Breaker, state: State) -> None:
        self._breaker = breaker
        self._settled = False
        self.state = state

    def settle(self, error: BaseException | None) -> None:
        """Report how the call ended: None for well, else what it raised."""
        if self._settled:
            return
        self._settled = True
        counts = error is None or self._breaker.is_system_error(error)
        self.state.release()
        if counts and self.state is self._breaker.current:
            self._breaker.note(self.state, error)


class Guard:
    """Guards a stream: `async with breaker.guard() as guard`, and `guard.started()` at its first message.

    The first message is the success. An error before it is a failure; after it only the loss of
    the dependency (UNAVAILABLE and its like) is. Cancelling, or closing the stream, is neutral.
    """

    __slots__ = ("_breaker", "_permit", "_started", "_state")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._permit: Permit | None = None
        self._state: State | None = None
        self._started = False

    async def __aenter__(self) -> Guard:
        self._permit = self._breaker.acquire()
        self._state = self._permit.state
        return self

    def started(self) -> None:
        """Take note of a message; all but the first cost nothing."""
        if self._started:
            return
        self._started = True
        if self._permit is not None:
            self._permit.settle(None)

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._permit is None:
            return
        if not self._started:
            self._permit.settle(error)
        elif error is not None and is_unavailable(error) and self._breaker.is_system_error(error):
            self._breaker.note_late_failure(self._state, error)


class Breaker(aiobreaker.CircuitBreaker):  # type: ignore[misc]  # the library has no types
    """The breaker of one dependency.

    Args:
        name: of the dependency, such as `model:embedded`.
        policy: when to open and close.
        clock: monotonic seconds.
        exclude: exception classes, or predicates on an exception, that say nothing about the
            dependency's health; by default the caller's mistakes and cancellation.
        listeners: `aiobreaker.CircuitBreakerListener`s.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        exclude: Iterable[type[BaseException] | Callable[[BaseException], bool]] = (is_callers_fault,),
        listeners: Iterable[aiobreaker.CircuitBreakerListener] = (),
    ) -> None:
        self.policy = policy or BreakerPolicy()
        self._clock = clock
        self._opened_at: float | None = None
        self._opened: datetime | None = None
        super().__init__(
            fail_max=self.policy.failures,
            timeout_duration=timedelta(seconds=self.policy.recovery_seconds),
            exclude=exclude,
            listeners=listeners,
            name=name,
        )

    # --- what callers use -------------------------------------------------------------------

    async def call_async(self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Await `func(*args, **kwargs)` under the breaker and its time limit.

        Raises:
            CircuitOpen: the breaker refuses; `func` was not called.
            TimeoutError: the call took longer than the policy allows.
        """
        permit = self.acquire()
        try:
            self.tell("before_call", func, *args, **kwargs)
            async with asyncio.timeout(self.policy.call_seconds):
                result = await func(*args, **kwargs)
        except BaseException as error:
            permit.settle(error)
            raise
        permit.settle(None)
        return result

    def call(self, func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a plain function under the breaker. It cannot be timed out.

        Raises:
            CircuitOpen: the breaker refuses; `func` was not called.
            TypeError: `func` gave something that has yet to run; use `call_async` or `guard`.
        """
        permit = self.acquire()
        try:
            self.tell("before_call", func, *args, **kwargs)
            result = func(*args, **kwargs)
        except BaseException as error:
            permit.settle(error)
            raise
        if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
            permit.settle(asyncio.CancelledError())
            if inspect.iscoroutine(result) or inspect.isgenerator(result):
                result.close()
            raise TypeError("the function has only begun: use call_async() for coroutines and guard() for streams")
        permit.settle(None)
        return result

    def guard(self) -> Guard:
        """Return a guard for one stream. Put time limits inside it."""
        return Guard(self)

    def __call__(self, *functions: Callable[..., Any], ignore_on_call: bool = True) -> Any:
        """Decorate a coroutine function, an async generator function or a plain callable."""
        del ignore_on_call  # the library's guard against double counting; these wrappers need none
        if not functions:
            return self._decorate
        if len(functions) > 1 or not callable(functions[0]):
            raise TypeError("decorate with @breaker or @breaker()")
        return self._decorate(functions[0])

    def acquire(self) -> Permit:
        """Return a permit, or raise `CircuitOpen`. Whoever takes one must settle it."""
        return Permit(self, self.current.acquire())

    def retry_after(self) -> float:
        """Return the seconds until a call may pass; 0.0 when one may now."""
        state = self.current
        if isinstance(state, Open):
            opened_at = self._opened_at if self._opened_at is not None else self._clock()
            return max(0.0, opened_at + self.policy.recovery_seconds - self._clock())
        if isinstance(state, HalfOpen) and not state.room():
            return TRIALS_TAKEN_RETRY
        return 0.0

    def status(self) -> BreakerStatus:
        """Return how the breaker stands."""
        state = self.current
        return BreakerStatus(
            name=self.name,
            state=state.kind.name.lower(),
            failures=self.fail_counter,
            successes=state.good if isinstance(state, HalfOpen) else 0,
            retry_after=self.retry_after(),
            opened=self._opened,
        )

    def reset(self) -> None:
        """Close the breaker and forget its failures, by order of an operator."""
        self.close()

    # --- the library's hooks, mended --------------------------------------------------------

    def open(self) -> None:
        """Open the breaker now, for the recovery time."""
        self._opened_at = self._clock()
        self._opened = datetime.now(UTC)
        self._state_storage.opened_at = self._opened
        self.state = self._state_storage.state = BreakerState.OPEN

    @property
    def opens_at(self) -> datetime | None:
        """When trials begin, in UTC; None when calls may pass already."""
        wait = self.retry_after()
        return datetime.now(UTC) + timedelta(seconds=wait) if wait else None

    @property
    def time_until_open(self) -> timedelta | None:
        """How long until trials begin; None when calls may pass already."""
        wait = self.retry_after()
        return timedelta(seconds=wait) if wait else None

    async def sleep_until_open(self) -> None:
        """Wait until trials begin."""
        await asyncio.sleep(self.retry_after())

    def is_system_error(self, exception: BaseException) -> bool:
        """Return whether the exception says that the dependency is ill."""
        if not isinstance(exception, Exception):
            return False  # cancellation, a closed generator, the end of the process
        for exclusion in self._excluded_exceptions:
            # `isinstance(x, type)` and not `type(x) is type`: classes may have a metaclass.
            excluded = isinstance(exception, exclusion) if isinstance(exclusion, type) else exclusion(exception)
            if excluded:
                return False
        return True

    def _create_new_state(
        self, new_state: BreakerState, prev_state: CircuitBreakerBaseState | None = None, notify: bool = False
    ) -> State:
        return STATES[new_state](self, prev_state, notify)

    # --- for the states ---------------------------------------------------------------------

    @property
    def current(self) -> State:
        """The state object in force."""
        state: State = self._state
        return state

    def refusal(self, wait: float) -> CircuitOpen:
        """Return the error for a call that may not pass."""
        self.tell("refused")
        message = f"calls to {self.name} are suspended because it keeps failing; try again in {wait:.0f} s"
        return CircuitOpen(message, retry_after=wait, metadata={"breaker": self.name})

    def count_failure(self) -> None:
        """Count one failure."""
        self._state_storage.increment_counter()

    def clear_failures(self) -> None:
        """Forget the failures counted."""
        self._state_storage.reset_counter()

    def note(self, state: State, error: BaseException | None) -> None:
        """Let the state and the listeners know of a result that counts."""
        if error is None:
            state.succeeded()
            self.tell("success")
        else:
            state.failed()
            self.tell("failure", error)

    def note_late_failure(self, state: State | None, error: BaseException) -> None:
        """Count the loss of a stream whose first message was already taken as success."""
        if state is not None and state is self.current:
            self.note(state, error)

    def tell(self, event: str, *args: Any, **kwargs: Any) -> None:
        """Call one hook of every listener; what they raise is logged and goes no further."""
        for listener in self._listeners:
            hook = getattr(listener, event, None)  # the library's listeners know no `refused`
            if hook is None:
                continue
            try:
                hook(self, *args, **kwargs)
            except Exception:  # noqa: BLE001 - a listener must never change the outcome of a call
                _log.exception("a listener of breaker %s failed in %s", self.name, event)

    def _decorate(self, func: Callable[..., Any]) -> Callable[..., Any]:
        target = func if inspect.isroutine(func) or isinstance(func, functools.partial) else cast("Any", func).__call__
        if inspect.isasyncgenfunction(target):

            async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                async with self.guard() as guard, aclosing(func(*args, **kwargs)) as messages:
                    async for message in messages:
                        guard.started()
                        yield message

            return functools.wraps(target)(stream)
        if inspect.iscoroutinefunction(target):

            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                return await self.call_async(func, *args, **kwargs)

            return functools.wraps(target)(coroutine)

        def plain(*args: Any, **kwargs: Any) -> Any:
            return self.call(func, *args, **kwargs)

        return functools.wraps(target)(plain)
