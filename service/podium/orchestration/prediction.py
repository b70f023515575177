"""Which calls a model will probably make next, judged by what it did in earlier runs of the same tenant.

After a search most runs open the first result; requests of one shape start with the same calls. Such habits
are mined from runs that ended well, as patterns of calls and of where their arguments come from (PASTE,
arXiv 2603.18897). Whether a prediction is worth starting (arXiv 2510.04371) is for the caller to say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from podium.orchestration.call_bindings import PastCall, explain, fill
from podium.orchestration.call_patterns import Context, Likelihood, Patterns
from podium.orchestration.call_values import Steps, Wanted, leaves_of, places_of
from podium.orchestration.request_shape import LONGEST_REQUEST, RequestShape, shape_of
from podium.orchestration.tool import SideEffects

__all__ = ["PastCall", "Prediction", "Predictor", "may_be_predicted", "may_start_when_sealed"]

_CALLS: Final = 64  # of one run
_NODES: Final = 8_000  # of all results of one run
_NODES_EACH: Final = 2_000
_LONGEST_CONTEXT: Final = 8  # calls
_SHAPES: Final = 256
_BESIDE: Final = 1

# A turn's calls, each with its arguments taken apart and the places of values in its result.
_Known = tuple[PastCall, Mapping[Any, list[Steps]]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A call that the model will probably make; `basis` says in words why, and quotes no constant.

    `confidence` is the lower end of an interval for the share of such runs in which it does.
    """

    tool: str
    arguments: Mapping[str, Any]
    confidence: float
    basis: str


def may_be_predicted(side_effects: SideEffects) -> bool:
    """Say whether a call may be made that the model has not asked for."""
    return side_effects is SideEffects.NONE


def may_start_when_sealed(side_effects: SideEffects) -> bool:
    """Say whether a call may start while the model is still writing its turn."""
    return side_effects is not SideEffects.EFFECTFUL


class Predictor:
    """Habits of tenants, each kept apart. One for a process; belongs to its event loop.

    Everything is in memory and bounded; no argument value of more than 512 bytes is kept.

    Args:
        max_tenants: tenants kept; the one that has learnt nothing for longest goes first.
        max_patterns_per_tenant: patterns kept of each; one takes about 750 bytes, more with long constants.
        least_seen: how often a situation must have been met before anything is predicted from it.
        most: predictions made at once.

    Raises:
        ValueError: a bound is below 1.
    """

    def __init__(
        self, *, max_tenants: int = 256, max_patterns_per_tenant: int = 4_096, least_seen: int = 3, most: int = 8
    ) -> None:
        if min(max_tenants, max_patterns_per_tenant, least_seen, most) < 1:
            raise ValueError("every bound of a predictor must be at least 1")
        self._max_tenants, self._limit, self._least_seen = max_tenants, max_patterns_per_tenant, least_seen
        self._most = most
        self._tenants: OrderedDict[str, Patterns] = OrderedDict()
        self._shapes: dict[str, RequestShape] = {}

    def patterns(self, tenant: str) -> int:
        """Return how many patterns of a tenant are kept."""
        patterns = self._tenants.get(tenant)
        return 0 if patterns is None else patterns.size

    def forget(self, tenant: str) -> None:
        """Forget all habits of a tenant."""
        self._tenants.pop(tenant, None)
        self._shapes.clear()

    def predict(
        self,
        tenant: str,
        request: str,
        calls: Sequence[PastCall],
        *,
        tools: Collection[str],
        turn_open: bool = False,
    ) -> list[Prediction]:
        """Return the calls that the model will probably make in its next turn, the likeliest first.

        Calls equal to one of `calls` are never among them.

        Args:
            tenant: whose run it is.
            request: what the run was asked.
            calls: those that ended well so far, in order of sealing.
            tools: the tools that may be predicted.
            turn_open: the turn of the last call is still being written; what usually comes beside that call
                is predicted as well.
        """
        patterns = self._tenants.get(tenant)
        if patterns is None or not tools:
            return []
        shape = self._shape(request)
        latest = list(reversed(calls))
        found = self._fill(patterns.likely(_contexts(_turns(calls), shape.digest), tools), latest, shape)
        if turn_open and latest:
            earlier = [call for call in latest if call.turn < latest[0].turn]
            beside = patterns.likely([(_BESIDE, latest[0].tool)], tools)
            found = _merged(found, self._fill(beside, earlier, shape))
        for call in calls if found else ():
            found.pop(_identity(call.tool, call.arguments), None)
        return list(found.values())[: self._most]

    def learn(self, tenant: str, request: str, calls: Sequence[PastCall]) -> None:
        """Remember what a run did that ended well; `calls` in order of sealing, of which the first 64 count."""
        patterns = self._of(tenant)
        shape = self._shape(request)
        turns = _turns(calls[:_CALLS])
        leaves = [[leaves_of(call.arguments) for call in turn] for turn in turns]
        wanted = Wanted()
        for turn, parted in zip(turns[1:], leaves[1:], strict=True):
            for call, parts in zip(turn, parted, strict=True):
                wanted.add(call.arguments, parts or ())
        nodes = min(_NODES_EACH, _NODES // max(len(calls[:_CALLS]), 1))
        sources: list[_Known] = []
        for nth, turn in enumerate(turns):
            made = [
                (call.tool, [] if parts is None else explain(call, parts, sources, shape))
                for call, parts in zip(turn, leaves[nth], strict=True)
            ]
            for context in _all_contexts(turns[:nth], shape.digest):
                patterns.observe(context, made)
            for place, call in enumerate(turn):
                patterns.observe((_BESIDE, call.tool), made[place + 1 :])
            known = [(call, places_of(call.result, wanted, nodes)) for call in reversed(turn)]
            sources = known + sources
        for context in _all_contexts(turns, shape.digest):
            patterns.observe(context, ())

    def _of(self, tenant: str) -> Patterns:
        patterns = self._tenants.get(tenant)
        if patterns is None:
            patterns = self._tenants[tenant] = Patterns(self._limit, self._least_seen)
            if len(self._tenants) > self._max_tenants:
                self._tenants.popitem(last=False)
        self._tenants.move_to_end(tenant)
        return patterns

    def _shape(self, request: str) -> RequestShape:
        request = request[:LONGEST_REQUEST]
        shape = self._shapes.get(request)
        if shape is None:
            if len(self._shapes) == _SHAPES:
                self._shapes.clear()
            # Taken apart alike for everybody: what is kept here tells no tenant of another.
            shape = self._shapes[request] = shape_of(request)
        return shape

    def _fill(
        self, likely: Sequence[Likelihood], latest: Sequence[PastCall], shape: RequestShape
    ) -> dict[bytes, Prediction]:
        """Return the predicted calls, each once.

        Templates that all fit the same earlier calls are rivals, of which only the first is taken: together
        they cannot hold oftener than the tool was called.
        """
        found: dict[bytes, Prediction] = {}
        taken: dict[str, float] = {}
        for each in likely:
            template = each.template
            share = taken.get(template.tool, 0.0) + each.share
            if share > each.calls + 1e-9 or len(found) == self._most:
                continue
            try:
                arguments = fill(template, latest, shape)
            except LookupError:
                continue
            identity = _identity(template.tool, arguments)
            if identity and identity not in found:
                taken[template.tool] = share
                found[identity] = Prediction(template.tool, arguments, each.confidence, _basis(each))
        return found


def _identity(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """Return what equal calls have in common; nothing for arguments that are not JSON."""
    plain = arguments if isinstance(arguments, dict) else dict(arguments)
    try:
        return tool.encode() + orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return b""


def _merged(one: dict[bytes, Prediction], other: dict[bytes, Prediction]) -> dict[bytes, Prediction]:
    both = other | one
    for identity, prediction in other.items():
        if prediction.confidence > both[identity].confidence:
            both[identity] = prediction
    return dict(sorted(both.items(), key=lambda item: -item[1].confidence))


def _turns(calls: Sequence[PastCall]) -> list[list[PastCall]]:
    turns: dict[int, list[PastCall]] = {}
    for call in calls:
        turns.setdefault(call.turn, []).append(call)
    return [turns[turn] for turn in sorted(turns)]


def _contexts(turns: Sequence[Sequence[PastCall]], digest: bytes) -> list[Context]:
    """Return the situation after some turns, from the general to the special.

    Calls of one turn have no order; and where two of them are of one tool, that tool alone says too little.
    """
    tools: list[str] = []
    for turn in turns[-_LONGEST_CONTEXT:]:
        tools += sorted(call.tool for call in turn)
    if not tools:
        return [(), (digest,)]
    alone = len(tools) == 1 or len(turns[-1]) == 1 or tools[-1] != tools[-2]
    contexts: list[Context] = [tuple(tools[-length:]) for length in range(1 if alone else 2, min(len(tools), 3) + 1)]
    return [*contexts, (digest, *tools[-_LONGEST_CONTEXT:])]


def _all_contexts(turns: Sequence[Sequence[PastCall]], digest: bytes) -> Iterator[Context]:
    """Yield the situations to learn for: also as it is when only one call of the last turn has ended."""
    contexts = _contexts(turns, digest)
    yield from contexts
    if turns and len(turns[-1]) > 1:
        tools = [call.tool for call in turns[-1]]
        for tool in set(tools):
            if tools.count(tool) == 1 and (tool,) != contexts[0]:
                yield (tool,)


def _basis(likelihood: Likelihood) -> str:
    context, count = likelihood.context, likelihood.count
    times = f"{likelihood.share * count:.0f} of {count:.0f} times {likelihood.template.words}"
    tools = ", ".join([each for each in context if isinstance(each, str)])
    if context and context[0] == _BESIDE:
        return f"beside {tools}, {times}"
    where = f"after {tools}" if tools else "at the start"
    such = " in such a request" if context and isinstance(context[0], bytes) else ""
    return f"{where}{such}, {times}"
