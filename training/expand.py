"""Expands templates into requests, keeping track of which characters are whose value."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from training.cards import Argument, CardError
from training.said import say

__all__ = ["Piece", "Request", "choose", "expand"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a request.

    `slot` names the argument whose value it is (or a part of its value), `item` is what it adds to a list when that is
    not the text itself.
    """

    text: str
    slot: str = ""
    item: str = ""


@dataclass(slots=True)
class Request:
    """A request in pieces. `fixed` holds values that are not copied: options of an enum, and yes or no."""

    pieces: list[Piece] = field(default_factory=list)
    fixed: dict[str, str] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        """What the person says."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def values(self) -> dict[str, str | list[str]]:
        """The values by slot, copied from the request as it now stands."""
        found: dict[str, str | list[str]] = {}
        lists: dict[str, list[str]] = {}
        for piece in self.pieces:
            if piece.slot in self.listed:
                found[piece.slot] = lists.setdefault(piece.slot, [])
                lists[piece.slot].append(piece.item or piece.text)
            elif piece.slot:
                found[piece.slot] = self.fixed.get(piece.slot, piece.text)
        return found

    def mapped(self, change: Callable[[Piece], Piece]) -> Request:
        """Return a copy whose pieces were changed."""
        return Request([change(piece) for piece in self.pieces], dict(self.fixed), set(self.listed))


def choose(template: str, rng: random.Random) -> str:
    """Settle the alternatives and the optional parts of a template; slots stay."""
    innermost = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")
    while match := innermost.search(template):
        if match[1] is not None:
            instead = rng.choice(match[1].split("|"))
        elif rng.random() < 0.5:
            instead = match[2]
        else:
            instead = ""
        template = template[: match.start()] + instead + template[match.end() :]
    return template


def expand(template: str, arguments: Sequence[Argument], rng: random.Random, prefix: str = "") -> Request:
    """Make a request of a template.

    Args:
        template: with slots like `{city}`, `{city#1}` or (with `prefix` "first.") `{first.city}`.
        arguments: whose values may stand in the slots.
        rng: chooses.
        prefix: the slots with it are filled, others are left alone.
    """
    by_name: Mapping[str, Argument] = {prefix + argument.name: argument for argument in arguments}
    request = Request()
    written: dict[str, str] = {}
    text = ""
    for part in re.split(r"(\{[\w.#]+\})", choose(template, rng)):
        if not (part.startswith("{") and part.endswith("}")):
            request.pieces.append(Piece(part))
            text += part
            continue
        slot = part[1:-1]
        argument = by_name.get(slot.partition("#")[0])
        if argument is None:
            raise CardError(f"{template!r}: no argument {slot!r}")
        if slot in written:  # said twice: once is enough for the call
            request.pieces.append(Piece(written[slot]))
            continue
        for _ in range(8):
            front, pieces, fixed = say(argument, text, rng)
            said = "".join(piece for piece, _ in pieces)
            rivals = [value for other, value in written.items() if other.partition("#")[0] == slot.partition("#")[0]]
            # "From feet to feet" is no wish: two arguments of one kind differ.
            alike = [request.fixed.get(o) for o in written if _alike(by_name[o.partition("#")[0]], argument)]
            if said not in rivals and (fixed is None or fixed not in alike):
                break
        if front:
            request.pieces.append(Piece(front))
        if isinstance(fixed, list):
            request.listed.add(slot)
        elif fixed is not None:
            request.fixed[slot] = fixed
        items = iter(fixed if isinstance(fixed, list) and argument.options else ())
        request.pieces.extend(Piece(piece, slot, next(items, "")) if own else Piece(piece) for piece, own in pieces)
        written[slot] = said
        text += front + said
    return _tidied(request)


def _alike(one: Argument, other: Argument) -> bool:
    return one.kind == "enum" and tuple(one.options) == tuple(other.options)


_GAPS = re.compile(r"\s+")


def _tidied(request: Request) -> Request:
    """Close the gaps that left-out parts leave."""
    pieces: list[Piece] = []
    text = ""
    for piece in request.pieces:
        made = piece.text if piece.slot else _GAPS.sub(" ", piece.text)
        if not piece.slot:
            made = re.sub(r" +([,.?!;])", r"\1", made)
            if (not text or text.endswith(" ")) and made.startswith(" "):
                made = made[1:]
            if made[:1] in set(",.?!") and text.endswith(" ") and pieces and not pieces[-1].slot:
                pieces[-1] = Piece(pieces[-1].text.rstrip())
        text += made
        if made:
            pieces.append(Piece(made, piece.slot, piece.item))
    while pieces and not pieces[-1].slot and not pieces[-1].text.strip():
        pieces.pop()
    return Request(pieces, request.fixed, request.listed)
