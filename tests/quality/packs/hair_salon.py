"""Invented tools of a hairdresser's. They keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Service = Literal["cut", "colour", "highlights", "blow_dry", "perm", "treatment"]


@dataclass
class Shade:
    """One colour out of a tube, and how much of it."""

    code: str
    grams: Annotated[float, Field(gt=0)]


@tool()
def book_appointment(client: str, service: Service, day: date, at: time, stylist: str | None = None) -> str:
    """Write a client into the appointment book at a fixed time.

    Args:
        client: Name of the client.
        service: What is done: a cut, colour all over, highlights (strands lightened in foil), a blow_dry (washed
            and styled, nothing cut off), a perm (lasting curls), or a treatment for dry or damaged hair.
        day: Day of the appointment.
        at: When it begins.
        stylist: Who does the client's hair; whoever is free when left out.
    """
    return f"{client} {service} {day} {at} {stylist}"


@tool(
    examples=[
        (
            "Jo Marsh would take any perm that comes up from 2026-03-02 on",
            {
                "client": "Jo Marsh",
                "service": "perm",
                "earliest": "2026-03-02",
            },
        ),
        (
            "waiting list: Ed Lowe, cut, 4 to 9 May 2026, mornings",
            {
                "client": "Ed Lowe",
                "service": "cut",
                "earliest": "2026-05-04",
                "latest": "2026-05-09",
                "part_of_day": "morning",
            },
        ),
    ]
)
def join_waitlist(
    client: str,
    service: Service,
    earliest: date,
    latest: date | None = None,
    part_of_day: Literal["morning", "afternoon", "evening"] | None = None,
) -> str:
    """Note a client who has no appointment and wants to be called when somebody else drops out.

    Args:
        client: Name of the client.
        service: What is to be done, as in the appointment book.
        earliest: First day that suits the client.
        latest: Last day that suits the client.
        part_of_day: When in the day it has to be.
    """
    return f"{client} {service} {earliest} {latest} {part_of_day}"


@tool()
def cancel_appointment(client: str, day: date) -> str:
    """Strike a client's appointment out of the book.

    Args:
        client: Name of the client.
        day: Day of the appointment.
    """
    return f"{client} {day}"


@tool(side_effects="none")
def free_slots(service: Service, day: date) -> list[str]:
    """Look up the times of a day at which a service can still be booked.

    Args:
        service: What is to be done.
        day: The day.
    """
    return [f"{service} {day}"]


@tool(
    examples=[
        (
            "Ann Reed got 30 g of 5.0 with 9 % developer",
            {
                "client": "Ann Reed",
                "mixture": [{"code": "5.0", "grams": 30}],
                "developer_percent": 9,
            },
        ),
        (
            "colour card Liz Ford: 7.1 15g + 8.3 45g, dev 3%",
            {
                "client": "Liz Ford",
                "mixture": [{"code": "7.1", "grams": 15}, {"code": "8.3", "grams": 45}],
                "developer_percent": 3,
            },
        ),
    ]
)
def record_formula(client: str, mixture: list[Shade], developer_percent: Annotated[float, Field(ge=0, le=12)]) -> str:
    """Write the colour that was mixed for a client on the client's card, so that it can be mixed again.

    Args:
        client: Name of the client.
        mixture: The shades that went into the bowl: the number on each tube, and grams.
        developer_percent: Strength of the developer.
    """
    return f"{client} {mixture} {developer_percent}"


@tool(
    examples=[
        ("one curl cream sold to Bea Hart", {"product": "curl cream", "client": "Bea Hart"}),
        ("ring up 3 x dry shampoo, 20 % off", {"product": "dry shampoo", "quantity": 3, "discount_percent": 20}),
    ]
)
def sell_product(
    product: str,
    quantity: Annotated[int, Field(ge=1)] = 1,
    client: str | None = None,
    discount_percent: Annotated[float, Field(gt=0, le=100)] | None = None,
    gift_wrapped: bool = False,
) -> str:
    """Enter something that is sold over the counter into the till.

    Args:
        product: What is sold.
        quantity: How many pieces of it.
        client: Name of the client who buys it.
        discount_percent: How much is taken off the price, in percent.
        gift_wrapped: Whether it is wrapped as a present.
    """
    return f"{product} {quantity} {client} {discount_percent} {gift_wrapped}"


@tool(side_effects="idempotent")
def set_working_hours(stylist: str, day: date, starts: time, ends: time) -> str:
    """Put into the rota from when to when a stylist works on a day, in place of what was there.

    Args:
        stylist: Who works.
        day: The day.
        starts: Beginning of the shift.
        ends: End of the shift.
    """
    return f"{stylist} {day} {starts} {ends}"


@tool()
def send_reminder(
    client: str,
    send_at: datetime,
    channel: Literal["text", "email", "phone"] = "text",
    note: str | None = None,
) -> str:
    """Have a client reminded of the next appointment.

    Args:
        client: Name of the client.
        send_at: Day and time at which the reminder goes out.
        channel: How it reaches the client: as a text message on the mobile, by email, or by a phone call.
        note: Words to add to the reminder.
    """
    return f"{client} {send_at} {channel} {note}"
