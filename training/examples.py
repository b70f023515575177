"""Training examples: blocks of tools with requests asked of them, and what the model should write."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podium.inference.planner.call_lines import FROM_RESULT, NO, UNSAID, write_call
from podium.inference.planner.prompt import tool_line
from podium.orchestration.tool import ToolExample, ToolSpec
from training.cards import Argument, Card, Domain
from training.expand import Piece, Request, expand
from training.guises import Guise, guise_of
from training.said import say
from training.wording import bare, joined, roughened

__all__ = ["Block", "Item", "Scene", "scenes", "tool_scenes"]

# How often each kind is tried; what cannot be made is tried anew with another kind.
_KINDS = {"single": 0.45, "compound": 0.27, "none": 0.14, "partial": 0.08, "chain": 0.06}
_TOOLS_SHOWN = (2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 10, 12)


# A tool's name, and the values of a call as they are written.
Call = tuple[str, dict[str, str]]
# A request, and the calls that it asks for.
_Made = tuple[Request, list[Call]]


@dataclass(frozen=True, slots=True)
class Item:
    """A request put to one tool, and the lines that answer it."""

    kind: str
    request: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class Block:
    """A tool, as it is shown, and requests put to it."""

    tool: str
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Scene:
    """Tools of a field, and requests with the calls that they ask for."""

    tools: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, list[Call]]] = field(default_factory=list)


def _values(guise: Guise, values: Mapping[str, str | list[str]]) -> dict[str, str]:
    """Return a call's values by the tool's own names, in its order."""
    told = {}
    for argument in guise.card.arguments:
        value = values.get(argument.name)
        if value is not None and argument.name in guise.names:
            told[guise.names[argument.name]] = ", ".join(value) if isinstance(value, list) else value
    order = list(guise.names.values())
    return dict(sorted(told.items(), key=lambda pair: order.index(pair[0])))


def _fits(guise: Guise, request: Request) -> bool:
    """Tell whether everything that is said belongs to an argument that the guise has."""
    return all(slot.partition("#")[0] in guise.names for slot in request.values)


def _expanded(guise: Guise, templates: Sequence[str], rng: random.Random) -> Request | None:
    for _ in range(6):
        request = expand(rng.choice(templates), guise.card.arguments, rng)
        if request.pieces and _fits(guise, request):
            return request
    return None


def _single(guise: Guise, rng: random.Random) -> _Made | None:
    request = _expanded(guise, guise.card.requests, rng)
    if request is None:
        return None
    request = roughened(request, rng)
    return request, [(guise.spec.name, _values(guise, request.values))]


def _partial(guise: Guise, rng: random.Random) -> _Made | None:
    if not guise.card.partial:
        return None
    request = _expanded(guise, guise.card.partial, rng)
    if request is None:
        return None
    request = roughened(request, rng)
    unsaid = {argument.name: UNSAID for argument in guise.card.arguments if argument.required}
    return request, [(guise.spec.name, _values(guise, {**unsaid, **request.values}))]


def _twice(guise: Guise, rng: random.Random) -> _Made | None:
    if not guise.card.twice:
        return None
    request = _expanded(guise, guise.card.twice, rng)
    if request is None:
        return None
    request = roughened(request, rng)
    lines = []
    for end in ("#1", "#2"):
        own = {n.removesuffix(end): v for n, v in request.values.items() if n.endswith(end) or "#" not in n}
        lines.append((guise.spec.name, _values(guise, own)))
    return request, lines


# How people ask for the same once more, with one thing another.
_ECHOES = (
    ", and the same for {}", " and the same for {}", ", same for {}", ", and {} as well", " and also {}",
    ", and {} too", " and then {}", ". And {}?", ". {} too please", ", ditto for {}",
    " and another one for {}", ", and for {}",
)  # fmt: skip


def _echoed(guise: Guise, rng: random.Random) -> _Made | None:
    """Ask for a call, and for another that differs in one value: "... on Monday, and the same for Friday"."""
    request = _expanded(guise, guise.card.requests, rng)
    if request is None:
        return None
    places = Counter(piece.slot for piece in request.pieces if piece.slot)
    arguments = [a for a in guise.card.arguments if places[a.name] == 1 and a.name not in request.listed]
    if not arguments:
        return None
    argument = rng.choice(arguments)
    front, pieces, fixed = say(argument, "", rng)
    again = f"{argument.name}#2"
    if isinstance(fixed, list) or "".join(piece for piece, _ in pieces) in request.text:
        return None
    before, after = rng.choice(_ECHOES).split("{}")
    # "and the same for on Monday" is nobody's English.
    before = re.sub(r"( for)? \Z", " ", before) if front else before
    echo = [Piece(before), *([Piece(front)] if front else []), *(Piece(p, again if own else "") for p, own in pieces)]
    whole = Request([*bare(request).pieces, *echo, *([Piece(after)] if after else [])], dict(request.fixed))
    whole.listed |= request.listed
    if fixed is not None:
        whole.fixed[again] = fixed
    whole = roughened(whole, rng)
    values = whole.values
    if values.get(again) in {None, values.get(argument.name)}:
        return None
    first = {name: value for name, value in values.items() if name != again}
    second = {**first, argument.name: values[again]}
    return whole, [(guise.spec.name, _values(guise, first)), (guise.spec.name, _values(guise, second))]


def _once(request: Request, argument: Argument) -> bool:
    """Tell whether a request says an argument once, in words that the call copies."""
    places = [piece for piece in request.pieces if piece.slot == argument.name]
    return len(places) == 1 and argument.name not in request.listed and argument.name not in request.fixed


def _pointed(chosen: Sequence[Guise], made: list[Request], rng: random.Random) -> tuple[str, str] | None:
    """Say a value of the second wish by pointing at the first one: "that day", "the same hotel".

    Returns:
        The arguments of the second and of the first; None where nothing suits.
    """
    alike = [
        (mine, other)
        for mine in chosen[1].card.arguments
        for other in chosen[0].card.arguments
        if mine.kind == other.kind
        and (mine.kind in {"date", "time"} or (mine.name == other.name and mine.kind in {"text", "code"}))
        and _once(made[1], mine)
        and _once(made[0], other)
    ]
    if not alike:
        return None
    mine, other = rng.choice(alike)
    noun = {"date": "day", "time": "time"}.get(mine.kind)
    noun = noun or re.sub(r"_(id|name|number|code)\Z", "", mine.name.rpartition(".")[2]).replace("_", " ")
    said = f"{rng.choice(('that', 'the same', 'the same'))} {noun}"
    pieces = [replace(piece, text=said) if piece.slot == mine.name else piece for piece in made[1].pieces]
    made[1] = replace(made[1], pieces=pieces)
    return mine.name, other.name


def _joined(guises: Sequence[Guise], rng: random.Random) -> _Made | None:
    chosen = rng.sample(guises, min(len(guises), rng.choice((2, 2, 2, 2, 3))))
    made = [request for guise in chosen if (request := _expanded(guise, guise.card.requests, rng))]
    if len(made) < 2 or len(made) < len(chosen):
        return None
    pointed = _pointed(chosen, made, rng) if rng.random() < 0.3 else None
    request = roughened(joined(made, rng), rng)
    lines = []
    for number, guise in enumerate(chosen):
        own = {n.removesuffix(f"@{number}"): v for n, v in request.values.items() if n.endswith(f"@{number}")}
        if number == 1 and pointed is not None:
            own[pointed[0]] = request.values[f"{pointed[1]}@0"]
        lines.append((guise.spec.name, _values(guise, own)))
    return request, lines


def _chain(domains: Sequence[Domain], guises: Sequence[Guise], rng: random.Random) -> _Made | None:
    by_card = {(guise.card.domain, guise.card.name): guise for guise in guises}
    chains = [
        (chain, by_card[domain.name, chain.first], by_card[domain.name, chain.second])
        for domain in domains
        for chain in domain.chains
        if (domain.name, chain.first) in by_card and (domain.name, chain.second) in by_card
    ]
    if not chains:
        return None
    chain, first, second = rng.choice(chains)
    if chain.argument not in second.names:
        return None
    both = [*_prefixed(first.card, "first."), *_prefixed(second.card, "second.")]
    request = expand(rng.choice(chain.requests), both, rng)
    request = roughened(request, rng)
    lines = []
    for end, guise in (("first.", first), ("second.", second)):
        own: dict[str, str | list[str]] = {
            name.removeprefix(end): value for name, value in request.values.items() if name.startswith(end)
        }
        if not set(own) <= set(guise.names):
            return None
        if guise is second:
            own[chain.argument] = FROM_RESULT
        lines.append((guise.spec.name, _values(guise, own)))
    return request, lines


def _prefixed(card: Card, prefix: str) -> list[Argument]:
    """Return a card's arguments by the names that the templates of chains give them."""
    return [replace(argument, names=(prefix + argument.name, *argument.names)) for argument in card.arguments]


def _none(domains: Sequence[Domain], every: Sequence[Domain], shown: set[str], rng: random.Random) -> _Made | None:
    way = rng.random()
    if way < 0.6:
        pool = rng.choice(domains if rng.random() < 0.6 else every).none
        if not pool:
            return None
        return roughened(Request([Piece(rng.choice(pool))]), rng), []
    # A wish that none of the tools shown can do: of a neighbour that is missing, or of another field.
    domain = rng.choice(domains if rng.random() < 0.3 else every)
    absent = [card for card in domain.cards if f"{domain.name}.{card.name}" not in shown]
    if not absent or (domain not in domains and rng.random() < 0.3):
        return None
    guise = guise_of(rng.choice(absent), rng)
    made = _single(guise, rng)
    return (made[0], []) if made else None


def _chosen(domains: Sequence[Domain], rng: random.Random) -> list[Card]:
    """Choose the cards of a block."""
    cards = [card for domain in domains for card in domain.cards]
    count = min(len(cards), rng.choice(_TOOLS_SHOWN))
    chosen = rng.sample(cards, count)
    # A chain needs both of its ends.
    for domain in domains:
        if domain.chains and rng.random() < 0.5:
            chain = rng.choice(domain.chains)
            ends = [card for card in domain.cards if card.name in {chain.first, chain.second}]
            chosen = ends + [card for card in chosen if card not in ends][: max(0, count - 2)]
    rng.shuffle(chosen)
    return chosen


def _guises(cards: Sequence[Card], rng: random.Random) -> list[Guise]:
    """Dress cards up; what would have a name that is taken is left out."""
    guises: list[Guise] = []
    for card in cards:
        guise = guise_of(card, rng)
        if guise.spec.name not in {other.spec.name for other in guises}:
            guises.append(guise)
    return guises


def _shown(guises: Sequence[Guise], rng: random.Random) -> dict[str, str]:
    """Return the line of each tool by its name; in some scenes with example requests."""
    shots = rng.choice((0, 0, 1, 1, 2))
    shown = {}
    for guise in guises:
        told = []
        for _ in range(shots if rng.random() < 0.85 else 0):
            request = _expanded(guise, guise.card.requests, rng)
            if request is not None:
                told.append((request.text, _values(guise, request.values)))
        shown[guise.spec.name] = tool_line(guise.spec, told)
    return shown


def _scene(every: Sequence[Domain], rng: random.Random, size: int) -> Scene:
    return _scene_with_tools(every, rng, size)[1]


def _scene_with_tools(every: Sequence[Domain], rng: random.Random, size: int) -> tuple[list[Guise], Scene]:
    domains = rng.sample(every, min(len(every), rng.choice((1, 1, 1, 2, 2, 3))))
    guises = _guises(_chosen(domains, rng), rng)
    scene = Scene(_shown(guises, rng))
    shown = {f"{guise.card.domain}.{guise.card.name}" for guise in guises}
    kinds, weights = list(_KINDS), list(_KINDS.values())
    seen: set[str] = set()
    for _ in range(6 * size):
        if len(scene.requests) == size:
            break
        kind = rng.choices(kinds, weights)[0]
        match kind:
            case "single":
                made = _single(rng.choice(guises), rng)
            case "compound":
                way = rng.choices((_twice, _echoed, None), (0.35, 0.25, 0.4))[0]
                made = _joined(guises, rng) if way is None else way(rng.choice(guises), rng)
            case "partial":
                made = _partial(rng.choice(guises), rng)
            case "chain":
                made = _chain(domains, guises, rng)
            case _:
                made = _none(domains, every, shown, rng)
        if made is not None and made[0].text.strip() and made[0].text not in seen:
            seen.add(made[0].text)
            scene.requests.append((kind, made[0].text, made[1]))
    return guises, scene


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{4,}", text.lower()))


def _rivals(request: str, others: list[str], tools: Mapping[str, str], most: int, rng: random.Random) -> list[str]:
    """Choose tools that a request does not mean, rather those that share words with it."""
    left = list(others)
    chosen: list[str] = []
    said = _words(request)
    while left and len(chosen) < most:
        some = rng.sample(left, min(len(left), 3))
        name = max(some, key=lambda name: len(said & _words(tools[name]))) if rng.random() < 0.7 else some[0]
        left.remove(name)
        chosen.append(name)
    return chosen


def blocks_of(scene: Scene, rng: random.Random) -> list[Block]:
    """Put each request to the tools that it asks for, and to a few that it does not."""
    blocks = {name: Block(line) for name, line in scene.tools.items()}
    for kind, request, calls in scene.requests:
        meant = {name for name, _ in calls}
        for name in meant:
            lines = tuple(write_call(values) for tool, values in calls if tool == name)
            blocks[name].items.append(Item(kind, request, lines))
        others = [name for name in blocks if name not in meant]
        for name in _rivals(request, others, scene.tools, 1 if meant else 2, rng):
            blocks[name].items.append(Item("not", request, (NO,)))
    return [block for block in blocks.values() if block.items]


def scenes(domains: Sequence[Domain], seed: int, size: int = 12) -> Iterator[list[Block]]:
    """Yield the blocks of scene after scene without end; the same for the same cards and seed.

    Args:
        domains: the cards.
        seed: of all choices.
        size: requests a scene.
    """
    rng = random.Random(seed)
    while True:
        yield blocks_of(_scene(domains, rng, size), rng)


def tool_scenes(
    domains: Sequence[Domain], seed: int, size: int = 16
) -> Iterator[tuple[list[ToolSpec], list[tuple[str, set[str]]]]]:
    """Yield scenes as tools and requests with the names of the tools that they ask for."""
    rng = random.Random(seed)
    while True:
        guises, scene = _scene_with_tools(domains, rng, size)
        specs = []
        for guise in guises:
            shots = rng.choice((0, 0, 0, 2, 3))
            told = [request for _ in range(shots) if (request := _expanded(guise, guise.card.requests, rng))]
            examples = tuple(ToolExample(request.text, dict(_values(guise, request.values))) for request in told)
            specs.append(replace(guise.spec, examples=examples))
        yield specs, [(text, {name for name, _ in calls}) for _, text, calls in scene.requests]
