"""Tools without examples: names, descriptions and schemas are all that a planner has to go by."""

from __future__ import annotations

from datetime import date
from typing import Literal

from podium.tools import tool


@tool(side_effects="none")
def currency_rate(base: str, quote: str) -> float:
    """Look up the exchange rate between two currencies.

    Args:
        base: Three-letter code of the currency to sell, such as EUR.
        quote: Three-letter code of the currency to buy.
    """
    return float(len(base) + len(quote))


@tool()
def create_ticket(title: str, priority: Literal["low", "normal", "high"] = "normal") -> str:
    """Open a support ticket.

    Args:
        title: What is wrong, in a few words.
        priority: How pressing it is.
    """
    return f"{title} {priority}"


@tool()
def play_music(artist: str, volume: int | None = None, shuffle: bool = False) -> str:
    """Play songs by an artist.

    Args:
        artist: The musician or band.
        volume: Loudness from 0 to 100.
        shuffle: Play in random order.
    """
    return f"{artist} {volume} {shuffle}"


@tool(side_effects="none")
def stock_level(sku: str) -> int:
    """Tell how many pieces of a product are in stock.

    Args:
        sku: Article code such as AB-1200.
    """
    return len(sku)


@tool()
def order_taxi(pickup: str, destination: str, passengers: int = 1) -> str:
    """Order a taxi.

    Args:
        pickup: Where the ride begins.
        destination: Where it ends.
        passengers: How many people ride.
    """
    return f"{pickup} {destination} {passengers}"


@tool(side_effects="none")
def sunrise_time(city: str, day: date) -> str:
    """Tell when the sun rises in a city on a day.

    Args:
        city: The city.
        day: The day.
    """
    return f"{city} {day}"


@tool()
def invite_people(emails: list[str], subject: str) -> str:
    """Invite people to a meeting by e-mail.

    Args:
        emails: Addresses of the guests.
        subject: What the meeting is called.
    """
    return f"{emails} {subject}"
