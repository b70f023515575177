"""What people do to sentences: greetings, lower case, lost punctuation, typos, two wishes in one breath."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from training.expand import Piece, Request

__all__ = ["bare", "joined", "roughened"]

_LEADS = (
    "hi, ", "hey, ", "Hello! ", "Good morning. ", "ok so ", "quick one: ", "Hey there, ", "One more thing: ",
    "Sorry to bother you again. ", "I'm in a hurry. ", "Right, ", "so, ", "Just back from lunch. ",
    "My boss is asking. ", "It's been a long day. ", "Thanks for earlier. ", "Small favour: ", "Next: ", "urgent: ",
    "I nearly forgot: ", "There are three of us at home now. ", "My sister is visiting, so it's chaos here. ",
    "We've had this for two years and I still don't know how it works. ", "I tried it twice myself and gave up. ",
    "My phone is at 4 percent, so quickly: ", "Ruth told me to ask you. ", "I've only got five minutes. ",
    "Last week went badly enough. ", "I promised it to a colleague. ", "Before I go to bed: ", "After all that rain: ",
    "My back hurts, I can't do it myself. ", "The kids are asleep at last. ", "I was told that you can do this. ",
    "It's my first day here. ", "Don't ask why, but ", "I can't find the button for it. ", "as discussed, ",
)  # fmt: skip
_TAILS = (
    " please", " pls", ", please", " thanks", ", thanks!", " thank you", ", cheers", " if you can", " asap",
    " when you get a chance", ". I'd do it myself, but I'm driving.", ". It's urgent.", ". My boss keeps asking.",
    ". Sorry for the short notice!", ". I hope that's all you need.", ". You're a star.", ", I keep forgetting.",
    ". We talked about it yesterday.", ", no rush", ". There are two of us waiting for it.", ", will you?",
    ". I've been putting it off for weeks.", ", that would help a lot", ". Otherwise my wife will kill me.",
)  # fmt: skip
_JOINTS = (
    " and ", " and ", ", and ", ". Also, ", ". ", ". Then ", "; ", ", then ", " and then ", ". And ", " plus ",
    ", also ", " as well as ",
)  # fmt: skip
_NEIGHBOURS = dict(zip("qwertyuiopasdfghjklzxcvbnm", "wertyuiopqsdfghjklaxcvbnmz", strict=True))


def _typo(text: str, rng: random.Random) -> str:
    places = [match.start() for match in re.finditer(r"(?<=[a-z]{2})[a-z](?=[a-z])", text)]
    if not places:
        return text
    at = rng.choice(places)
    match rng.randrange(4):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + text[at] + text[at:]
        case 2:
            return text[: at - 1] + text[at] + text[at - 1] + text[at + 1 :]
        case _:
            return text[:at] + _NEIGHBOURS[text[at]] + text[at + 1 :]


def _with_typos(request: Request, rng: random.Random) -> Request:
    own = [index for index, piece in enumerate(request.pieces) if not piece.slot and len(piece.text) > 4]
    made = list(request.pieces)
    for index in rng.sample(own, min(len(own), rng.choice((1, 1, 2)))):
        made[index] = replace(made[index], text=_typo(made[index].text, rng))
    return replace(request, pieces=made)


def _capital(request: Request) -> Request:
    first = request.pieces[0]
    # A value keeps its own case, or it would no longer be what was meant.
    if first.slot and first.slot not in request.fixed and first.text[:1].isupper():
        return request
    return replace(request, pieces=[replace(first, text=first.text[:1].upper() + first.text[1:]), *request.pieces[1:]])


def _uncapped(request: Request) -> Request:
    first = request.pieces[0]
    if first.slot or re.match(r"I\b|[A-Z]{2}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day", first.text):
        return request
    return replace(request, pieces=[replace(first, text=first.text[:1].lower() + first.text[1:]), *request.pieces[1:]])


def bare(request: Request) -> Request:
    """Return a request without its final punctuation."""
    last = request.pieces[-1]
    if last.slot:
        return request
    text = last.text.rstrip(" .!?")
    return replace(request, pieces=[*request.pieces[:-1], *([replace(last, text=text)] if text else [])])


def joined(requests: list[Request], rng: random.Random) -> Request:
    """Join the wishes of several calls; the slots of wish n are named `name@n`."""
    pieces: list[Piece] = []
    fixed: dict[str, str] = {}
    listed: set[str] = set()
    for number, request in enumerate(requests):
        if not request.pieces:
            continue
        made = request
        if number:
            joint = rng.choice(_JOINTS)
            question = pieces[-1].text.endswith("?") if pieces else False
            if question and rng.random() < 0.5:
                joint = " " if rng.random() < 0.7 else " And "
            elif not pieces[-1].slot:
                pieces[-1] = replace(pieces[-1], text=pieces[-1].text.rstrip(" .!?"))
            pieces.append(Piece(joint))
            made = _capital(request) if joint.endswith((". ", "? ")) or joint == " " else _uncapped(request)
        pieces += [replace(piece, slot=f"{piece.slot}@{number}" if piece.slot else "") for piece in made.pieces]
        fixed |= {f"{slot}@{number}": value for slot, value in made.fixed.items()}
        listed |= {f"{slot}@{number}" for slot in made.listed}
    return Request(pieces, fixed, listed)


def roughened(request: Request, rng: random.Random) -> Request:
    """Write a request the way one person or another would."""
    if not request.pieces:
        return request
    if rng.random() < 0.12:
        lead = rng.choice(_LEADS)
        body = _capital(request) if lead.endswith((". ", "! ")) else _uncapped(request)
        request = replace(body, pieces=[Piece(lead), *body.pieces])
    if rng.random() < 0.12 and request.pieces:
        kept = bare(request)
        request = replace(kept, pieces=[*kept.pieces, Piece(rng.choice(_TAILS))]) if kept.pieces else request
    if rng.random() < 0.1:
        request = _with_typos(request, rng)
    style = rng.random()
    if style < 0.15:
        # All small letters, values too: the call copies what is there.
        lowered = [replace(piece, text=piece.text.lower()) for piece in request.pieces]
        request = bare(replace(request, pieces=lowered))
    elif style < 0.75:
        request = _capital(request)
    if rng.random() < 0.25 and len(request.pieces) > 1:
        request = bare(request)
    return request
