"""Which models of a route can serve a request, best first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from podium.errors import FailedPrecondition, InvalidRequest, PodiumError
from podium.inference.routing.latency import LatencyBook
from podium.inference.routing.policy import (
    Capability,
    FitKind,
    Order,
    RemoteAllowed,
    Route,
    context_fit,
    lacks,
    needs_of,
)
from podium.orchestration.chat import ChatModel, ChatRequest, ModelInfo
from podium.resilience.breakers import Breakers

__all__ = ["Candidate", "Survey"]

_log = logging.getLogger(__name__)

_INFO_SECONDS = 1.0
_COUNT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be asked.

    Attributes:
        info: what it last said of itself; None when it has never answered.
        may_be_too_long: whether the prompt may turn out not to fit, so that its refusal may mean that.
        well: whether it is ready and its breaker lets calls through.
    """

    model: ChatModel
    info: ModelInfo | None
    may_be_too_long: bool = False
    tight: bool = False
    well: bool = True

    @property
    def context_length(self) -> float:
        """Tokens that it holds, as far as is known."""
        return self.info.context_length if self.info and self.info.context_length else float("inf")


@dataclass(frozen=True, slots=True)
class _Lack:
    """Why a model cannot serve a request."""

    what: str
    away: bool = False
    too_long: bool = False


@dataclass(slots=True)
class _Known:
    info: ModelInfo | None
    asked: float


class Survey:
    """Knows the models of one route, and picks among them.

    What models say of themselves is kept for a second: it is read for every turn.
    """

    def __init__(
        self,
        route: Route,
        models: Sequence[ChatModel],
        *,
        breakers: Breakers,
        latencies: LatencyBook,
        remote_allowed: RemoteAllowed,
    ) -> None:
        self._route = route
        self._models = tuple(models)
        self._breakers = breakers
        self._latencies = latencies
        self._remote_allowed = remote_allowed
        self._known: dict[str, _Known] = {}

    async def infos(self) -> list[ModelInfo | None]:
        """Return what each model says of itself, in the route's order; None where one does not answer."""
        now = asyncio.get_running_loop().time()
        old = [m for m in self._models if m.name not in self._known or now - self._known[m.name].asked >= _INFO_SECONDS]
        if old:
            async with asyncio.TaskGroup() as group:
                for model in old:
                    known = self._known.get(model.name)
                    if known is not None:
                        known.asked = now  # others go on with what is known while this one asks
                    group.create_task(self._ask(model), name=f"model-info:{model.name}")
        return [known.info if (known := self._known.get(model.name)) else None for model in self._models]

    async def candidates(self, request: ChatRequest) -> list[Candidate]:
        """Return the models that can serve the request, in the order in which to ask them.

        Those that are ill, and those that hold the prompt but not the whole answer, come last.

        Raises:
            InvalidRequest: no model can serve it; the message says what each lacks.
            FailedPrecondition: only models that are switched off for this caller could.
        """
        needs = needs_of(request, self._route)
        found: list[Candidate] = []
        ruled_out: dict[str, _Lack] = {}
        for model, info in zip(self._models, await self.infos(), strict=True):
            judged = await self._judge(model, info, request, needs)
            if isinstance(judged, Candidate):
                found.append(judged)
            else:
                ruled_out[model.name] = judged
        if not found:
            raise self._nobody(ruled_out)
        return self._ordered(found)

    async def _judge(
        self, model: ChatModel, info: ModelInfo | None, request: ChatRequest, needs: frozenset[Capability]
    ) -> Candidate | _Lack:
        well = self._breakers.get(f"model:{model.name}").retry_after() <= 0
        if info is None:
            return Candidate(model, None, well=False)
        if info.remote and not self._remote_allowed(request.tenant):
            return _Lack("would leave this machine, which is not allowed", away=True)
        lack = lacks(info, needs)
        return _Lack(lack) if lack else await self._measure(model, info, request, well=well and info.ready)

    async def _measure(
        self, model: ChatModel, info: ModelInfo, request: ChatRequest, *, well: bool
    ) -> Candidate | _Lack:
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                fit = await context_fit(model, info, request)
        except InvalidRequest as error:
            return _Lack(error.message)
        except (PodiumError, TimeoutError, OSError):
            return Candidate(model, info, may_be_too_long=True, well=False)
        if fit.kind is FitKind.TOO_LONG:
            return _Lack(f"holds {info.context_length} tokens and the prompt has {fit.tokens}", too_long=True)
        tight = fit.kind is FitKind.TIGHT
        doubtful = tight or fit.kind is FitKind.DOUBTFUL
        return Candidate(model, info, may_be_too_long=doubtful, tight=tight, well=well)

    def _ordered(self, found: list[Candidate]) -> list[Candidate]:
        now = asyncio.get_running_loop().time()

        def rank(candidate: Candidate) -> tuple[bool, bool, float]:
            fastest = self._route.order is Order.FASTEST
            return (
                not candidate.well,
                candidate.tight,
                self._latencies.score(candidate.model.name, now) if fastest else 0.0,
            )

        return sorted(found, key=rank)  # stable: equals stay as listed

    def _nobody(self, ruled_out: dict[str, _Lack]) -> PodiumError:
        why = "; ".join(f"{name}: {lack.what}" for name, lack in ruled_out.items())
        message = f"no model of {self._route.name!r} can serve this request ({why})"
        if any(lack.away for lack in ruled_out.values()):
            return FailedPrecondition(f"{message}; allow remote models, or ask for less")
        too_long = any(lack.too_long for lack in ruled_out.values())
        return InvalidRequest(
            f"{message}; change the request or choose another model",
            metadata={"limit": "context_length"} if too_long else None,
        )

    async def _ask(self, model: ChatModel) -> None:
        known = self._known.get(model.name)
        try:
            async with asyncio.timeout(_INFO_SECONDS):
                info: ModelInfo | None = await model.info()
        except Exception as error:  # noqa: BLE001 - one model's fault must not take the route's others with it
            _log.warning("model %s does not describe itself (%s)", model.name, type(error).__name__)
            info = known.info if known else None  # what it said before holds
        self._known[model.name] = _Known(info, asyncio.get_running_loop().time())
