"""What a route is, and whether a model can serve a request at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from podium.inference.context_window import answer_room, surely_fits
from podium.orchestration.chat import ChatModel, ChatRequest, ModelInfo, ToolChoice

__all__ = ["Capability", "Fit", "FitKind", "Order", "RemoteAllowed", "Route", "context_fit", "lacks", "needs_of"]

RemoteAllowed = Callable[[str], bool]
"""Whether a tenant's requests may leave this machine."""


class Order(StrEnum):
    """In which order the models of a route are tried."""

    LISTED = "listed"
    FASTEST = "fastest"


class Capability(StrEnum):
    """Something that not every model can do."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    REASONING = "reasoning"
    PARALLEL_CALLS = "parallel_calls"


_LACK = {
    Capability.TOOLS: "cannot use tools",
    Capability.JSON_SCHEMA: "cannot follow a JSON Schema",
    Capability.REASONING: "does not show its reasoning",
    Capability.PARALLEL_CALLS: "makes one call at a time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An alias over several models.

    Attributes:
        name: what requests call it.
        models: names of the models, first choice first.
        order: as listed, or by how fast and sound they have been lately.
        needs: what every request through this route needs, besides what it shows itself.
        first_output_seconds: how long one model may take to its first output before the next is asked; a
            model whose answer is held back until it is checked may be silent for so long.
        total_seconds: longest turn, every attempt, pause and the answer itself included.
        retries: further rounds over the models when all of them failed and time is left.
    """

    name: str
    models: tuple[str, ...]
    order: Order = Order.LISTED
    needs: frozenset[Capability] = frozenset()
    first_output_seconds: float = 20.0
    total_seconds: float = 120.0
    retries: int = 2

    def __post_init__(self) -> None:
        if not self.name or not self.models:
            raise ValueError("a route needs a name and at least one model")
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"route {self.name!r} names a model twice")
        if self.first_output_seconds <= 0 or self.total_seconds <= 0 or self.retries < 0:
            raise ValueError(f"route {self.name!r} needs time limits above zero and retries of zero or more")


def needs_of(request: ChatRequest, route: Route) -> frozenset[Capability]:
    """Return what a model must be able to do for this request."""
    shown = set(route.needs)
    if request.tools and request.tool_choice is not ToolChoice.NONE:
        shown.add(Capability.TOOLS)
    if request.json_schema:
        shown.add(Capability.JSON_SCHEMA)
    return frozenset(shown)


def lacks(info: ModelInfo, needs: frozenset[Capability]) -> str:
    """Return what the model cannot do of what is needed, in words; "" when it can do it all."""
    return ", ".join(_LACK[need] for need in Capability if need in needs and not getattr(info, need.value))


class FitKind(StrEnum):
    """How a prompt and its answer go into a model's context."""

    FITS = "fits"
    DOUBTFUL = "doubtful"
    TIGHT = "tight"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a prompt fits: `tokens` is its length, 0 where it need not be counted.

    DOUBTFUL: it fits by an estimate that may be wrong. TIGHT: only with a shorter answer than asked for.
    """

    kind: FitKind
    tokens: int = 0


_ESTIMATE_ERROR = 1.5


async def context_fit(model: ChatModel, info: ModelInfo, request: ChatRequest) -> Fit:
    """Say how the request fits the model's context.

    Raises:
        InvalidRequest: the messages cannot be rendered for this model.
        Unavailable: the model cannot tell just now.
    """
    limit = info.context_length
    room = answer_room(request, info)
    if limit <= 0 or surely_fits(request, limit - room):
        return Fit(FitKind.FITS)
    count = await model.count_tokens(request)
    if count.tokens >= limit:
        return Fit(FitKind.TOO_LONG, count.tokens)
    if count.tokens + room > limit:
        return Fit(FitKind.TIGHT, count.tokens)
    if not count.exact and count.tokens * _ESTIMATE_ERROR + room > limit:
        return Fit(FitKind.DOUBTFUL, count.tokens)
    return Fit(FitKind.FITS, count.tokens)
