"""What is not planning: talk, results put into words, arguments filled in under a guide.

The same weights do all of that, too, and would forget how. So on such texts the model is held to what it says
without its additions (see `train`): what stands in a text matters little, its form does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from podium.inference.guided.model import GuidedProfile
from podium.inference.guided.wording import wording_messages
from training.cards import Card, Domain
from training.expand import expand

__all__ = ["talks"]

_SYSTEMS = (
    GuidedProfile().system,
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    "You are a careful assistant. Answer in English, in one or two sentences.",
)
_LONGEST = 220


class _Encoder(Protocol):
    def encode(self, text: str, /) -> list[int]: ...

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True
    ) -> list[int]: ...


def talks(domains: Sequence[Domain], seed: int, encoder: _Encoder) -> Iterator[list[int]]:
    """Yield the tokens of text after text without end; the same for the same cards and seed."""
    rng = random.Random(seed)
    while True:
        domain = rng.choice(domains)
        kind = rng.choices((_chat, _wording, _worded, _filling), (5, 2, 1, 2))[0]
        made = kind(domain, rng)
        tokens = (
            encoder.encode(made) if isinstance(made, str) else encoder.encode_chat(made, add_generation_prompt=False)
        )
        yield tokens[:_LONGEST]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _request(card: Card, rng: random.Random) -> str:
    return expand(rng.choice(card.requests), card.arguments, rng).text


def _fact(domain: Domain, rng: random.Random) -> str:
    """Return a sentence that tells a result, or one like it."""
    cards = [card for card in domain.cards if card.answers]
    if not cards or rng.random() < 0.2:
        return f"{rng.randint(2, 900)} of {rng.randint(900, 9000)} is {rng.randint(1, 99)} percent."
    card = rng.choice(cards)
    return expand(rng.choice(card.answers), (*card.returns, *card.arguments), rng).text


def _remark(domain: Domain, rng: random.Random) -> str:
    return rng.choice(domain.none) if domain.none and rng.random() < 0.7 else _request(rng.choice(domain.cards), rng)


def _said(domain: Domain, rng: random.Random) -> str:
    return " ".join(
        _fact(domain, rng) if rng.random() < 0.5 else rng.choice(rng.choice(domain.cards).says)
        for _ in range(rng.choice((1, 1, 2)))
    )


def _chat(domain: Domain, rng: random.Random) -> list[dict[str, Any]]:
    told = [_message("system", rng.choice(_SYSTEMS))]
    for _ in range(rng.choice((1, 1, 1, 2))):
        told += [_message("user", _remark(domain, rng)), _message("assistant", _said(domain, rng))]
    return told


def _wording(domain: Domain, rng: random.Random) -> list[dict[str, Any]]:
    fact = _fact(domain, rng)
    # The conversation's own examples are long, and the same each time: one of them is enough to know the form.
    system, *shots, asked = wording_messages(fact)
    first = 2 * rng.randrange(len(shots) // 2)
    return [system, *shots[first : first + 2], asked, _message("assistant", fact)]


def _worded(domain: Domain, rng: random.Random) -> list[dict[str, Any]]:
    told = f"Facts:\n{_fact(domain, rng)}\n\nAnswer in one or two sentences, with these facts only."
    asked = f"{_remark(domain, rng)}\n\n{told}"
    return [_message("system", _SYSTEMS[0]), _message("user", asked), _message("assistant", _said(domain, rng))]


def _filling(domain: Domain, rng: random.Random) -> str:
    card = rng.choice(domain.cards)
    lines = [rng.choice(card.says), f"Arguments: {', '.join(a.name for a in card.arguments)}", ""]
    for _ in range(rng.choice((1, 2, 3))):
        request = expand(rng.choice(card.requests), card.arguments, rng)
        told = json.dumps(request.values, ensure_ascii=False, separators=(",", ":"))
        lines += [f"Request: {request.text}", f"Arguments: {told}", ""]
    return "\n".join(lines).rstrip()
