"""What usually follows what: counts of next calls by the calls before them, and how sure they make us."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from podium.orchestration.call_bindings import Template

__all__ = ["Context", "Likelihood", "Patterns", "wilson"]

# The tools called so far, or a part of that; what else belongs to the situation stands before them.
Context = tuple[str | bytes | int, ...]

_HALF_LIFE: Final = 200.0  # observations of one situation
_GROWTH: Final = 2.0 ** (1.0 / _HALF_LIFE)
_LARGEST_UNIT: Final = 2.0**40
_FADED: Final = 0.05  # of an observation
_TEMPLATES: Final = 64  # of one tool in one situation
_TOOLS: Final = 64  # of one situation
_LEAST_SHARE: Final = 0.2
_CANDIDATES: Final = 16
_Z_LOWER: Final = 1.0
_Z_DIFFERENT: Final = 1.645  # an interval of 90 %


@lru_cache(maxsize=1_024)  # templates that explain the same calls are equally likely
def wilson(share: float, count: float, z: float) -> tuple[float, float]:
    """Return the interval in which the true share lies after `count` observations, at `z` standard errors.

    The score interval of E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927), 209-212:
    `(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`. At z = 1 the lower end of 3 out of 3 is 0.75.
    """
    if count <= 0:
        return 0.0, 1.0
    square = z * z / count
    middle = share + square / 2
    spread = z * math.sqrt(max(share * (1 - share), 0.0) / count + square / (4 * count))
    return max((middle - spread) / (1 + square), 0.0), min((middle + spread) / (1 + square), 1.0)


@dataclass(slots=True)
class Likelihood:
    """How often a template held: `share` of `count` observations in the situation `context`.

    `calls` is how many calls of its tool came there on average; `confidence` is a share that the true one
    exceeds five times in six. Counts fade, so they need not be whole.
    """

    template: Template
    context: Context
    share: float
    count: float
    calls: float
    confidence: float


class _Held:
    """A template and how often it held."""

    __slots__ = ("template", "weight")

    def __init__(self, template: Template) -> None:
        self.template = template
        self.weight = 0.0


class _Tool:
    """What is known of one tool in one situation. Weights are in the situation's units."""

    __slots__ = ("calls", "templates")

    def __init__(self) -> None:
        self.calls = 0.0
        self.templates: dict[str, _Held] = {}


class _Situation:
    """Counts of what came next. Old ones fade: rather, the unit in which new ones are counted grows."""

    __slots__ = ("seen", "size", "tools", "total", "unit")

    def __init__(self) -> None:
        self.seen = 0
        self.size = 1
        self.total = 0.0
        self.unit = 1.0
        self.tools: dict[str, _Tool] = {}

    def observe(self, calls: Iterable[tuple[str, Sequence[Template]]]) -> None:
        """Count what one turn brought: every call with the templates that fit it; nothing, if the run ended."""
        self.unit *= _GROWTH
        self.seen += 1
        self.total += self.unit
        held: set[str] = set()
        for name, templates in calls:
            tool = self.tools.get(name) or self._new_tool(name)
            tool.calls += self.unit
            for template in templates:
                if template.key not in held:
                    held.add(template.key)
                    self._count(tool, template)
        if self.unit > _LARGEST_UNIT:
            self._rescale()

    def calls(self, name: str) -> float:
        """Return how many calls of a tool came on average."""
        tool = self.tools.get(name)
        return tool.calls / self.total if tool else 0.0

    def _new_tool(self, name: str) -> _Tool:
        if len(self.tools) == _TOOLS:
            rarest = min(self.tools, key=lambda each: self.tools[each].calls)
            self.size -= len(self.tools.pop(rarest).templates) + 1
        tool = self.tools[name] = _Tool()
        self.size += 1
        return tool

    def _count(self, tool: _Tool, template: Template) -> None:
        held = tool.templates.get(template.key)
        if held is None:
            if len(tool.templates) == _TEMPLATES:
                # Half of them at once: a tool whose arguments are always new would else pay for a search each time.
                kept = sorted(tool.templates.items(), key=lambda item: item[1].weight)[_TEMPLATES // 2 :]
                tool.templates = dict(kept)
                self.size -= _TEMPLATES - len(kept)
            held = tool.templates[template.key] = _Held(template)
            self.size += 1
        held.weight += self.unit

    def _rescale(self) -> None:
        unit, self.unit = self.unit, 1.0
        self.total /= unit
        for name, tool in list(self.tools.items()):
            tool.calls /= unit
            for held in tool.templates.values():
                held.weight /= unit
            tool.templates = {key: held for key, held in tool.templates.items() if held.weight > _FADED}
            if tool.calls < _FADED:
                del self.tools[name]
        self.size = 1 + sum(1 + len(tool.templates) for tool in self.tools.values())


class Patterns:
    """The situations of one tenant, those not met for longest forgotten first.

    Args:
        limit: how many patterns are kept: situations, tools in them and templates of those.
        least_seen: how often a situation must have been met before it tells anything.
    """

    __slots__ = ("_least_seen", "_limit", "_situations", "size")

    def __init__(self, limit: int, least_seen: int) -> None:
        self._limit, self._least_seen = limit, least_seen
        self._situations: OrderedDict[Context, _Situation] = OrderedDict()
        self.size = 0

    def observe(self, context: Context, calls: Sequence[tuple[str, Sequence[Template]]]) -> None:
        """Count what came next in a situation."""
        situation = self._situations.get(context)
        if situation is None:
            situation = self._situations[context] = _Situation()
        else:
            self._situations.move_to_end(context)
            self.size -= situation.size
        situation.observe(calls)
        self.size += situation.size
        while self.size > self._limit:
            self.size -= self._situations.popitem(last=False)[1].size

    def likely(self, contexts: Iterable[Context], tools: Collection[str]) -> list[Likelihood]:
        """Return what comes next in a situation that is seen ever more specially, the likeliest first.

        Backs off from the special to the general as n-gram models do (S. Katz, IEEE Transactions on
        Acoustics, Speech, and Signal Processing 35 (1987), 400-401), and prefers the special only where
        it truly differs, as context trees are pruned (P. Buehlmann and A. Wyner, "Variable length Markov
        chains", Annals of Statistics 27 (1999), 480-513): the general share stands unless it lies outside
        the special one's 90 % interval.
        """
        known = [
            (context, situation)
            for context in contexts
            if (situation := self._situations.get(context)) is not None and situation.seen >= self._least_seen
        ]
        candidates: dict[str, Template] = {}
        for _, situation in reversed(known):
            _gather(situation, tools, candidates)
        found = [_weigh(template, known) for template in candidates.values()]
        found.sort(key=lambda each: (-each.confidence, each.template.rank))
        return found


def _gather(situation: _Situation, tools: Collection[str], candidates: dict[str, Template]) -> None:
    least = situation.total * _LEAST_SHARE
    for name, tool in situation.tools.items():
        if tool.calls >= least and name in tools:
            for key, held in tool.templates.items():
                if held.weight >= least and len(candidates) < _CANDIDATES:
                    candidates[key] = held.template


def _weigh(template: Template, known: Sequence[tuple[Context, _Situation]]) -> Likelihood:
    name, key = template.tool, template.key
    chosen = known[0]
    chosen_share = _share(chosen[1], name, key)
    for each in known[1:]:
        share = _share(each[1], name, key)
        if share != chosen_share:
            low, high = wilson(share, each[1].total / each[1].unit, _Z_DIFFERENT)
            if not low <= chosen_share <= high:
                chosen, chosen_share = each, share
    context, situation = chosen
    count = situation.total / situation.unit
    confidence = wilson(chosen_share, count, _Z_LOWER)[0]
    return Likelihood(template, context, chosen_share, count, situation.calls(name), confidence)


def _share(situation: _Situation, name: str, key: str) -> float:
    tool = situation.tools.get(name)
    held = None if tool is None else tool.templates.get(key)
    return 0.0 if held is None else held.weight / situation.total
