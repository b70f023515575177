"""More invented tools, with the argument types that the other packs lack: lists, nested objects, money, e-mail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class Address:
    """Where something goes."""

    street: str
    city: str


@tool(
    examples=[
        (
            "Reserve a table for two at Luigi's tomorrow at 19:30",
            {"restaurant": "Luigi's", "guests": 2, "at": "19:30:00"},
        ),
        (
            "table for 6 at The Old Mill, 8pm, outside if possible",
            {"restaurant": "The Old Mill", "guests": 6, "at": "20:00:00", "outdoors": True},
        ),
    ]
)
def reserve_table(restaurant: str, guests: int, at: time, outdoors: bool = False) -> str:
    """Reserve a table at a restaurant.

    Args:
        restaurant: Name of the restaurant.
        guests: Number of guests.
        at: Time of day.
        outdoors: Whether to sit outside.
    """
    return f"{restaurant} {guests} {at} {outdoors}"


@tool(
    side_effects="none",
    examples=[
        ("what is the mean of 3, 5 and 9", {"numbers": [3, 5, 9], "statistic": "mean"}),
        ("median of 12 4 7 19", {"numbers": [12, 4, 7, 19], "statistic": "median"}),
    ],
)
def describe_numbers(numbers: list[float], statistic: Literal["mean", "median", "maximum", "minimum"]) -> float:
    """Compute a statistic over a list of numbers.

    Args:
        numbers: The numbers.
        statistic: Which statistic.
    """
    return numbers[0] + len(statistic)


@tool(
    examples=[
        (
            "Transfer 250 euros to Maria Lopez for the rent",
            {"amount": 250, "payee": "Maria Lopez", "reference": "the rent"},
        ),
        ("pay Jonas 19.99", {"amount": 19.99, "payee": "Jonas"}),
    ]
)
def transfer_money(amount: Annotated[float, Field(gt=0)], payee: str, reference: str | None = None) -> str:
    """Send money to somebody.

    Args:
        amount: How much, in euros.
        payee: Who receives it.
        reference: What it is for.
    """
    return f"{amount} {payee} {reference}"


@tool(
    examples=[
        (
            "ship 3 boxes to 12 Elm Street, Bristol",
            {"boxes": 3, "address": {"street": "12 Elm Street", "city": "Bristol"}},
        )
    ]
)
def ship_boxes(boxes: int, address: Address) -> str:
    """Ship boxes to an address.

    Args:
        boxes: How many.
        address: Where to.
    """
    return f"{boxes} {address}"


@tool(
    side_effects="none",
    examples=[
        ("Translate 'good night' into Italian", {"text": "good night", "language": "Italian"}),
        ("how do you say thank you in Japanese", {"text": "thank you", "language": "Japanese"}),
    ],
)
def translate(text: str, language: str) -> str:
    """Translate a text into another language.

    Args:
        text: What to translate.
        language: The language that is wanted.
    """
    return f"{text} {language}"


@tool(side_effects="none")
def trains_between(origin: str, destination: str, after: time | None = None, day: date | None = None) -> list[str]:
    """List trains between two stations.

    Args:
        origin: Station of departure.
        destination: Station of arrival.
        after: Earliest time of departure.
        day: Day of travel; today when left out.
    """
    return [f"{origin} {destination} {after} {day}"]


@tool(side_effects="none")
def word_meaning(word: str) -> str:
    """Look up what a word means in the dictionary.

    Args:
        word: The word.
    """
    return word


@tool()
def switch_light(room: str, state: Literal["on", "off"], brightness: int | None = None) -> str:
    """Switch the lights in a room on or off.

    Args:
        room: The room.
        state: on or off.
        brightness: Brightness in percent.
    """
    return f"{room} {state} {brightness}"
