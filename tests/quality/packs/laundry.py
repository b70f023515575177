"""Invented tools of a laundry with a delivery van and a self-service room. They wash nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Service = Literal["wash_and_fold", "dry_cleaning", "ironing", "mending"]
OrderNumber = Annotated[int, Field(ge=1000, le=99999)]


@dataclass
class Item:
    """Some pieces of one kind."""

    garment: str
    pieces: Annotated[int, Field(ge=1)]


@tool()
def book_collection(
    day: date,
    bags: Annotated[int, Field(ge=1, le=10)],
    earliest: time | None = None,
    ring_at: str | None = None,
) -> str:
    """Have the van fetch dirty laundry from the customer's home; this opens a new order.

    Args:
        day: Day on which it is fetched.
        bags: How many bags there are.
        earliest: Not before this time of day.
        ring_at: Name on the doorbell.
    """
    return f"{day} {bags} {earliest} {ring_at}"


@tool(
    examples=[
        ("bring order 4410 back on 6 March 2026", {"order": 4410, "day": "2026-03-06"}),
        (
            "deliver 20871 on 2026-08-19, after 5 pm, the neighbours can take it",
            {"order": 20871, "day": "2026-08-19", "earliest": "17:00:00", "neighbour_may_sign": True},
        ),
    ]
)
def book_delivery(order: OrderNumber, day: date, earliest: time | None = None, neighbour_may_sign: bool = False) -> str:
    """Have the van bring a finished order back to the customer's home.

    Args:
        order: Number of the order.
        day: Day on which it is brought.
        earliest: Not before this time of day.
        neighbour_may_sign: Whether it can be left with a neighbour.
    """
    return f"{order} {day} {earliest} {neighbour_may_sign}"


@tool(
    examples=[
        (
            "put four bath towels on order 5120, wash and fold",
            {"order": 5120, "service": "wash_and_fold", "items": [{"garment": "bath towel", "pieces": 4}]},
        ),
        (
            "order 7733: a coat and two scarves for dry cleaning",
            {
                "order": 7733,
                "service": "dry_cleaning",
                "items": [{"garment": "coat", "pieces": 1}, {"garment": "scarf", "pieces": 2}],
            },
        ),
    ]
)
def add_items(order: OrderNumber, service: Service, items: list[Item]) -> str:
    """Enter pieces into an order that is already open.

    Args:
        order: Number of the order.
        service: What is done with them: washed and folded, cleaned chemically, only ironed, or sewn.
        items: The pieces, each kind in the singular with its number.
    """
    return f"{order} {service} {items}"


@tool(side_effects="none")
def quote_price(
    garment: str, service: Service, pieces: Annotated[int, Field(ge=1)] = 1, express: bool = False
) -> float:
    """Say what it would cost to have something done.

    Args:
        garment: What it is, in the singular.
        service: What is done with it: washed and folded, cleaned chemically, only ironed, or sewn.
        pieces: How many of them.
        express: Whether it has to be ready within a day, at a surcharge.
    """
    return 0.0


@tool(side_effects="none")
def order_status(order: OrderNumber) -> str:
    """Tell how far an order is: fetched, in the wash, ready, or on the van.

    Args:
        order: Number of the order.
    """
    return f"{order}"


@tool()
def file_complaint(
    order: OrderNumber, garment: str, problem: Literal["missing", "torn", "shrunk", "stain_left", "not_mine"]
) -> str:
    """Complain about a piece that came back with an order.

    Args:
        order: Number of the order.
        garment: The piece in question.
        problem: What is wrong with it: it did not come back, has a rip, became smaller, is still dirty, or belongs
            to another customer.
    """
    return f"{order} {garment} {problem}"


@tool(
    side_effects="idempotent",
    examples=[
        ("wash my things with the hypoallergenic stuff from now on", {"detergent": "sensitive"}),
        (
            "eco detergent at 40 degrees, no softener",
            {"detergent": "eco", "celsius": 40, "softener": False},
        ),
    ],
)
def set_preferences(
    detergent: Literal["standard", "sensitive", "eco"],
    celsius: Literal[20, 30, 40, 60, 90] | None = None,
    softener: bool | None = None,
) -> str:
    """Set how the customer's laundry is washed from now on.

    Args:
        detergent: What it is washed with: the usual powder, one without perfume for delicate skin, or a green one.
        celsius: Temperature of the water.
        softener: Whether fabric softener is added.
    """
    return f"{detergent} {celsius} {softener}"


@tool()
def reserve_machine(
    machine: Literal["washer", "large_washer", "dryer", "steam_press"],
    start: datetime,
    minutes: Annotated[int, Field(ge=15)],
) -> str:
    """Keep a machine in the self-service room free for the customer.

    Args:
        machine: Which kind of machine.
        start: Day and time from which it is needed.
        minutes: For how long.
    """
    return f"{machine} {start} {minutes}"
