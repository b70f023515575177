"""Invented tools of a warehouse. They move nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Bin = Annotated[str, Field(pattern=r"^[A-Z]\d{1,3}$")]


@dataclass
class Destination:
    """Where a shipment goes."""

    company: str
    city: str


@tool(side_effects="none")
def stock_level(product: str, hall: Literal["north", "south", "harbour"] | None = None) -> str:
    """Tell how many pieces of a product are in stock.

    Args:
        product: The product.
        hall: Only count this hall; all halls when left out.
    """
    return f"{product} {hall}"


@tool()
def receive_goods(
    product: str,
    quantity: Annotated[int, Field(ge=1)],
    supplier: str | None = None,
    damaged: Annotated[int, Field(ge=0)] = 0,
) -> str:
    """Book in goods that have arrived from outside.

    Args:
        product: The product.
        quantity: Number of pieces that arrived.
        supplier: Who delivered them.
        damaged: How many of them are damaged.
    """
    return f"{product} {quantity} {supplier} {damaged}"


@tool()
def move_stock(product: str, quantity: Annotated[int, Field(ge=1)], source: Bin, target: Bin) -> str:
    """Move pieces of a product from one bin to another inside the warehouse.

    Args:
        product: The product.
        quantity: Number of pieces.
        source: Bin where they are now, such as A12.
        target: Bin where they should go.
    """
    return f"{product} {quantity} {source} {target}"


@tool()
def create_shipment(
    order: int,
    destination: Destination,
    transport: Literal["road", "rail", "sea", "air"] = "road",
    ship_on: date | None = None,
) -> str:
    """Create a shipment that brings an order to a customer.

    Args:
        order: Number of the order.
        destination: Company and city that receive it.
        transport: How it travels.
        ship_on: Day on which it leaves; as soon as possible when left out.
    """
    return f"{order} {destination} {transport} {ship_on}"


@tool()
def reschedule_shipment(shipment: int, ship_on: date) -> str:
    """Change the day on which an existing shipment leaves.

    Args:
        shipment: Number of the shipment.
        ship_on: The new day.
    """
    return f"{shipment} {ship_on}"


@tool()
def cancel_shipment(shipment: int, reason: str | None = None) -> str:
    """Cancel a shipment that has not left yet.

    Args:
        shipment: Number of the shipment.
        reason: Why it is cancelled.
    """
    return f"{shipment} {reason}"


@tool(side_effects="none")
def list_shipments(
    status: Literal["waiting", "on_the_way", "delivered", "cancelled"] | None = None, leaving_on: date | None = None
) -> str:
    """List shipments, all of them or those that match.

    Args:
        status: Only shipments with this status.
        leaving_on: Only shipments that leave on this day.
    """
    return f"{status} {leaving_on}"


@tool()
def plan_stocktake(aisles: list[str], day: date, start: time | None = None) -> str:
    """Plan a count of the stock in some aisles.

    Args:
        aisles: Letters of the aisles.
        day: Day of the count.
        start: Time of day at which the count begins.
    """
    return f"{aisles} {day} {start}"
