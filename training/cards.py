"""Tool cards: invented tools with the ways in which people ask for them, read from `cards/*.toml`.

A card is a tool in several guises (synonymous names and descriptions), its arguments, and
templates of requests. What a template may hold is described in `training/README.md`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.pools import POOLS

__all__ = ["Argument", "Card", "CardError", "Chain", "Domain", "load_domain", "load_domains"]

CARDS = Path(__file__).parent / "cards"
_SINGLE_KINDS = (
    "text", "integer", "number", "date", "time", "datetime", "boolean", "enum", "email", "url", "path", "code",
)  # fmt: skip
_LISTABLE_KINDS = ("text", "integer", "number", "email", "code", "date", "enum")
KINDS = frozenset([*_SINGLE_KINDS, *(f"list {kind}" for kind in _LISTABLE_KINDS)])
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ARGUMENT = re.compile(
    r"(?P<names>[a-z][\w.|]*)(?P<optional>\?)?\s*:\s*(?P<kind>list \w+|\w+)\s*(?P<rest>.*?)\s*=\s*(?P<about>[^=]+)",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)")
_OPTION = re.compile(r"([^\s(]+)(?:\(([^)]*)\))?")
_SLOT = re.compile(r"\{([\w.#]+)\}")


class CardError(ValueError):
    """A card that does not say what it must; the message names the file, the tool and what is wrong."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a card. `names[0]` is what templates call it; `options` maps values to what people say."""

    names: tuple[str, ...]
    kind: str
    required: bool
    about: str
    low: float = 0
    high: float = 0
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What templates call it."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Card:
    """One invented tool."""

    domain: str
    names: tuple[str, ...]
    says: tuple[str, ...]
    arguments: tuple[Argument, ...]
    requests: tuple[str, ...]
    partial: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    returns: tuple[Argument, ...] = ()
    answers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its first name, by which chains call it."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Chain:
    """A second call that needs a field of the first one's result."""

    first: str
    second: str
    argument: str
    result: str
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """The cards of one file, and what is said in its field without asking for a tool."""

    name: str
    cards: tuple[Card, ...]
    none: tuple[str, ...]
    chains: tuple[Chain, ...]


def _argument(text: str, values: Mapping[str, Sequence[str]], where: str) -> Argument:
    match = _ARGUMENT.fullmatch(text.strip())
    if match is None:
        raise CardError(f"{where}: cannot read the argument {text!r}")
    names, kind, rest = tuple(match["names"].split("|")), match["kind"], match["rest"]
    if kind not in KINDS:
        raise CardError(f"{where}: unknown type {kind!r} in {text!r}")
    if kind in {"integer", "number", "list integer", "list number"}:
        bounds = _RANGE.search(rest)
        low, high = (float(bounds[1]), float(bounds[2])) if bounds else (1.0, 100.0)
        return Argument(names, kind, match["optional"] is None, match["about"].strip(), low, high)
    if kind in {"enum", "list enum", "boolean"}:
        options = {}
        for option, phrases in _OPTION.findall(rest):
            said = tuple(part.strip() for part in phrases.split(";") if part.strip())
            options[option] = said or (option.replace("_", " "),)
        if kind == "boolean" and not set(options) <= {"yes", "no"}:
            raise CardError(f"{where}: a boolean takes yes(...) and no(...): {text!r}")
        if not options or (kind != "boolean" and len(options) < 2):
            raise CardError(f"{where}: no options in {text!r}")
        return Argument(names, kind, match["optional"] is None, match["about"].strip(), options=options)
    pool = re.search(r"@(\w+)", rest)
    own = tuple(str(value) for value in values.get(names[0], ()))
    if pool:
        if pool[1] not in POOLS:
            raise CardError(f"{where}: unknown pool @{pool[1]}")
        own += POOLS[pool[1]]
    if not own and kind in {"text", "list text", "path", "list code"}:
        raise CardError(f"{where}: values.{names[0]} is missing")
    return Argument(names, kind, match["optional"] is None, match["about"].strip(), values=own)


def _check_template(template: str, arguments: Sequence[Argument], where: str, *, whole: bool) -> None:
    known = {argument.name for argument in arguments}
    used = [name.partition("#")[0] for name in _SLOT.findall(template)]
    if strange := set(used) - known:
        raise CardError(f"{where}: {template!r} uses unknown {sorted(strange)}")
    fixed = re.sub(r"\[[^\]]*\]", "", template)
    if whole:
        certain = {name.partition("#")[0] for name in _SLOT.findall(fixed)}
        if lacking := {argument.name for argument in arguments if argument.required} - certain:
            raise CardError(f"{where}: {template!r} lacks the required {sorted(lacking)}")
    for opening, closing in ("()", "[]", "{}"):
        if template.count(opening) != template.count(closing):
            raise CardError(f"{where}: unbalanced {opening}{closing} in {template!r}")


def _card(domain: str, entry: Mapping[str, Any]) -> Card:
    names = tuple(entry.get("names", ()))
    where = f"{domain}.{names[0] if names else '?'}"
    if not names or not all(_NAME.fullmatch(name) for name in names):
        raise CardError(f"{where}: names must be snake_case")
    if not entry.get("says") or not entry.get("requests"):
        raise CardError(f"{where}: needs says and requests")
    values = entry.get("values", {})
    arguments = tuple(_argument(text, values, where) for text in entry.get("args", ()))
    requests, partial, twice = (tuple(entry.get(key, ())) for key in ("requests", "partial", "twice"))
    for template in requests:
        _check_template(template, arguments, where, whole=True)
    for template in partial:
        _check_template(template, arguments, where, whole=False)
    for template in twice:
        _check_template(template, arguments, where, whole=True)
        if "#1}" not in template or "#2}" not in template:
            raise CardError(f"{where}: twice {template!r} needs {{arg#1}} and {{arg#2}}")
    returns = tuple(
        _argument(text if "=" in text else f"{text} = result", values, where) for text in entry.get("returns", ())
    )
    answers = tuple(entry.get("answers", ()))
    for template in answers:
        _check_template(template, [*arguments, *returns], where, whole=False)
    return Card(domain, names, tuple(entry["says"]), arguments, requests, partial, twice, returns, answers)


def load_domain(path: Path) -> Domain:
    """Read one file of cards.

    Raises:
        CardError: something in it cannot be used.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"{path.stem}: {error}") from error
    cards = tuple(_card(path.stem, entry) for entry in content.get("tool", ()))
    by_name = {card.name: card for card in cards}
    chains = []
    for entry in content.get("chain", ()):
        where = f"{path.stem}.chain"
        for end in ("first", "second"):
            if entry[end] not in by_name:
                raise CardError(f"{where}: no tool {entry[end]!r}")
        argument, _, result = entry["link"].partition("=")
        result = result or argument
        if argument not in {a.name for a in by_name[entry["second"]].arguments}:
            raise CardError(f"{where}: {entry['second']} has no argument {argument!r}")
        if result not in {a.name for a in by_name[entry["first"]].returns}:
            raise CardError(f"{where}: {entry['first']} returns no {result!r}")
        for template in entry["requests"]:
            _check_chain(template, by_name[entry["first"]], by_name[entry["second"]], argument, where)
        chains.append(Chain(entry["first"], entry["second"], argument, result, tuple(entry["requests"])))
    return Domain(path.stem, cards, tuple(content.get("none", {}).get("requests", ())), tuple(chains))


def _check_chain(template: str, first: Card, second: Card, linked: str, where: str) -> None:
    fixed = re.sub(r"\[[^\]]*\]", "", template)
    ends = {"first": first, "second": second}
    for name in _SLOT.findall(template):
        end, _, argument = name.partition(".")
        if end not in ends or argument not in {a.name for a in ends[end].arguments}:
            raise CardError(f"{where}: {template!r} uses unknown {name!r}")
    certain = set(_SLOT.findall(fixed))
    for end, card in ends.items():
        for argument in card.arguments:
            wanted = f"{end}.{argument.name}"
            if argument.required and wanted not in certain and not (end == "second" and argument.name == linked):
                raise CardError(f"{where}: {template!r} lacks the required {wanted}")


def load_domains(folder: Path = CARDS) -> list[Domain]:
    """Read all files of cards, by name."""
    return [load_domain(path) for path in sorted(folder.glob("*.toml"))]
