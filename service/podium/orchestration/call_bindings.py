"""Where the arguments of a call come from: how to make the same call again with another run's particulars.

A template says of every argument that it is taken from an earlier call's result or arguments, from a
span of the request, or is always the same. Learning explains a call by all templates that fit; which of
them is the habit shows over several runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Final

from podium.orchestration.call_values import Steps, copied, leaves_of, subtree_key, walk
from podium.orchestration.request_shape import RequestShape, after_word, word_before

__all__ = ["Binding", "PastCall", "Template", "explain", "fill"]

_SOURCES: Final = 8  # latest calls
_CANDIDATES: Final = 4  # of one argument
_TEMPLATES: Final = 8  # of one call
_LONGEST_WORDS: Final = 400
_LONGEST_CONSTANT: Final = 512  # bytes
_LONGEST_KEY: Final = 128


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call that ended well. `result` is the parsed JSON, None if it is not JSON; turns count from 0."""

    tool: str
    arguments: Mapping[str, Any]
    result: Any
    turn: int


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one value comes from. `key` tells bindings apart, `words` says it to people, `take` fetches it.

    `take` gets the earlier calls, the latest first, and the request; it raises `LookupError` if nothing is there.
    """

    key: str
    words: str
    take: Callable[[Sequence[PastCall], RequestShape], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """One way to make a call. Of two that have held as often, the one of lower `rank` is likelier."""

    key: str
    tool: str
    slots: tuple[tuple[Steps, Binding], ...]
    rank: int

    @property
    def words(self) -> str:
        """The call in words; constants are not quoted."""
        said = ", ".join([f"{'.'.join(map(str, steps))} {binding.words}" for steps, binding in self.slots])
        return f"{self.tool}({said if len(said) <= _LONGEST_WORDS else said[:_LONGEST_WORDS] + '...'})"


def explain(
    made: PastCall,
    leaves: Sequence[tuple[Steps, Any]],
    sources: Sequence[tuple[PastCall, Mapping[Any, list[Steps]]]],
    request: RequestShape,
) -> list[Template]:
    """Return the templates that would have made a call, the likeliest first, at most 8.

    Args:
        made: the call.
        leaves: its arguments, see `leaves_of`.
        sources: the earlier calls, the latest first, each with the places of values in its result.
        request: what the run was asked.
    """
    counted = _counted(call for call, _ in sources[:_SOURCES])
    ranked = [(call, nth, places) for (call, nth), (_, places) in zip(counted, sources, strict=False)]
    choices: list[list[tuple[str, tuple[Steps, Binding]]]] = []
    for steps, value in _with_subtrees(made.arguments, leaves, sources):
        candidates = _candidates(value, ranked, request)
        if not candidates:
            return []
        name = "/".join(map(_escaped, steps))
        choices.append([(f"{name} {binding.key}", (steps, binding)) for binding in candidates])
    return [_template(made.tool, choices, picks) for picks in _picks([len(each) for each in choices])]


def fill(template: Template, latest: Sequence[PastCall], request: RequestShape) -> dict[str, Any]:
    """Return the arguments that a template makes of this run; `latest` are its calls, the latest first.

    Raises:
        LookupError: something it needs is not there, or is of another kind.
    """
    arguments: dict[str, Any] = {}
    for steps, binding in template.slots:
        value = binding.take(latest, request)
        if len(steps) == 1:
            arguments[str(steps[0])] = value
        else:
            _put(arguments, steps, value)
    return arguments


def _with_subtrees(
    arguments: Mapping[str, Any],
    leaves: Sequence[tuple[Steps, Any]],
    sources: Sequence[tuple[PastCall, Mapping[Any, list[Steps]]]],
) -> Sequence[tuple[Steps, Any]]:
    """Return the leaves, but whole what is an array or object of an earlier result."""
    whole: dict[str | int, Any] = {}
    for name, value in arguments.items():
        key = subtree_key(value) if isinstance(value, (dict, list)) else None
        if key is not None and any(key in places for _, places in sources[:_SOURCES]):
            whole[name] = value
    if not whole:
        return leaves
    found: dict[Steps, Any] = {}
    for steps, value in leaves:
        top = steps[0]
        found.update({(top,): whole[top]} if top in whole else {steps: value})
    return list(found.items())


def _candidates(
    value: Any, sources: Sequence[tuple[PastCall, int, Mapping[Any, list[Steps]]]], request: RequestShape
) -> list[Binding]:
    """Return what may explain a value, by preference; what is found everywhere is rather a constant."""
    if isinstance(value, (dict, list)) and value:
        return [
            _from_result(call.tool, nth, steps, whole=True)
            for call, nth, places in sources
            for steps in places.get(subtree_key(value), ())
        ]
    constant = _constant(value)
    if constant is not None and (isinstance(value, bool) or not copied(value)):
        return [constant]
    found: list[Binding] = []
    if copied(value):
        for call, nth, places in sources:
            found += [
                _from_result(call.tool, nth, steps)
                for steps in places.get(value, ())
                if type(walk(call.result, steps)) is type(value)
            ]
        for call, nth, _ in sources:
            for key, argument in call.arguments.items():
                if type(argument) is type(value) and argument == value and len(key) <= _LONGEST_KEY:
                    found.append(_from_arguments(call.tool, nth, key))
        found += _in_request(value, request)
    if constant is None:
        return found[:_CANDIDATES]
    if _commonplace(value):
        return [constant, *found[: _CANDIDATES - 1]]
    return [*found[: _CANDIDATES - 1], constant]


def _commonplace(value: str | float) -> bool:
    return len(value) <= 2 if isinstance(value, str) else abs(value) < 100


def _constant(value: Any) -> Binding | None:
    if isinstance(value, str):
        if len(value) > _LONGEST_CONSTANT or (not value.isascii() and len(_encoded(value)) > _LONGEST_CONSTANT):
            return None
        key = "=" + value
    elif isinstance(value, (dict, list)):
        kind = type(value)
        key = f"{kind()}"
        return Binding(key, "as before", lambda _, __: kind())
    elif value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63):
        key = f"{value!r}"
    else:
        return None
    return Binding(key, "as before", lambda _, __: value)


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")


def _from_result(tool: str, nth: int, steps: Steps, *, whole: bool = False) -> Binding:
    checked = _small_subtree if whole else _scalar
    pointer = "".join(f"/{_escaped(step)}" for step in steps)

    def take(latest: Sequence[PastCall], _: RequestShape) -> Any:
        return checked(walk(_nth_of(tool, nth, latest).result, steps))

    kind = "R" if whole else "r"
    return Binding(f"{kind}{nth} {tool} {pointer}", f"from {pointer or 'the result'} of {tool}", take)


def _from_arguments(tool: str, nth: int, name: str) -> Binding:
    def take(latest: Sequence[PastCall], _: RequestShape) -> Any:
        return _scalar(_nth_of(tool, nth, latest).arguments[name])

    return Binding(f"a{nth} {tool} {name}", f"from the {name} given to {tool}", take)


def _in_request(value: Any, request: RequestShape) -> Iterator[Binding]:
    """Yield the spans that a value is; a text may also be all of the request, or what follows one word."""
    text = isinstance(value, str)
    for span in request.spans:
        found = span.text if text else span.number
        if type(found) is type(value) and found == value:
            yield _from_span(span.kind, span.index, text=text)
    if not text:
        return
    if value == request.text:
        yield Binding("q", "from the request", lambda _, request: request.text)
    elif (word := word_before(request.text, value)) is not None:
        yield _from_tail(word)


def _from_span(kind: str, index: int, *, text: bool) -> Binding:
    def take(_: Sequence[PastCall], request: RequestShape) -> Any:
        span = request.span(kind, index)
        if span is None:
            raise LookupError(kind)
        return span.text if text else span.number

    form = "text" if text else "value"
    return Binding(f"s {kind} {index} {form}", f"from {kind} {index + 1} of the request", take)


def _from_tail(word: str) -> Binding:
    def take(_: Sequence[PastCall], request: RequestShape) -> Any:
        tail = after_word(request.text, word)
        if tail is None:
            raise LookupError(word)
        return tail

    return Binding(f"t {word}", f"from the request after '{word}'", take)


def _nth_of(tool: str, nth: int, latest: Sequence[PastCall]) -> PastCall:
    for call in latest[:_SOURCES]:
        if call.tool == tool:
            if nth == 0:
                return call
            nth -= 1
    raise LookupError(tool)


def _counted(latest: Iterator[PastCall]) -> Iterator[tuple[PastCall, int]]:
    """Yield each call with how many later ones there are of its tool."""
    counts: dict[str, int] = {}
    for call in latest:
        nth = counts.get(call.tool, 0)
        counts[call.tool] = nth + 1
        yield call, nth


def _scalar(value: Any) -> Any:
    if copied(value):
        return value
    raise LookupError("no scalar to copy")


def _small_subtree(value: Any) -> Any:
    if isinstance(value, (dict, list)) and value and leaves_of({"": value}) is not None:
        return value
    raise LookupError("no small array or object to copy")


def _escaped(step: str | int) -> str:
    """Return a step as RFC 6901 writes it."""
    return str(step) if isinstance(step, int) else step.replace("~", "~0").replace("/", "~1")


def _picks(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield which candidate each argument takes: all combinations, or else those one step from the likeliest."""
    count = 1
    for size in sizes:
        count *= size
        if count > _TEMPLATES:
            break
    else:
        yield from product(*(range(size) for size in sizes))
        return
    first = (0,) * len(sizes)
    yield first
    yielded = 1
    for rank in range(1, max(sizes)):
        for place, size in enumerate(sizes):
            if rank < size:
                yield (*first[:place], rank, *first[place + 1 :])
                yielded += 1
                if yielded == _TEMPLATES:
                    return


def _template(
    tool: str, choices: Sequence[Sequence[tuple[str, tuple[Steps, Binding]]]], picks: tuple[int, ...]
) -> Template:
    chosen = [options[pick] for options, pick in zip(choices, picks, strict=True)]
    key = "\0".join([tool, *[part for part, _ in chosen]])
    return Template(key, tool, tuple([slot for _, slot in chosen]), sum(picks))


def _put(arguments: dict[str, Any], steps: Steps, value: Any) -> None:
    node: Any = arguments
    for step, following in pairwise(steps):
        missing: Any = {} if isinstance(following, str) else []
        if isinstance(node, list):
            if step == len(node):
                node.append(missing)
            node = node[int(step)]
        else:
            node = node.setdefault(step, missing)
    if isinstance(node, list):
        node.append(value)
    else:
        node[steps[-1]] = value
