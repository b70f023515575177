"""Invented tools of a repair shop, with examples. They mend nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class Customer:
    """Who brings something in."""

    name: str
    phone: str


@tool(
    examples=[
        (
            "New repair: toaster from Ida Berg, 555-0101",
            {"item": "toaster", "customer": {"name": "Ida Berg", "phone": "555-0101"}},
        ),
        (
            "Ravi Nair left his espresso machine here, phone 555-0177, and needs it back urgently",
            {"item": "espresso machine", "customer": {"name": "Ravi Nair", "phone": "555-0177"}, "urgent": True},
        ),
    ]
)
def open_repair(item: str, customer: Customer, urgent: bool = False) -> str:
    """Take in an item of a customer for repair.

    Args:
        item: What is to be repaired.
        customer: Name and phone number of the owner.
        urgent: Whether it must be done before the others.
    """
    return f"{item} {customer} {urgent}"


@tool(
    side_effects="none",
    examples=[
        ("what are we working on at the moment", {"status": "in_progress"}),
        ("all repairs that Yusuf has", {"technician": "Yusuf"}),
        ("which of Hanna's jobs are done?", {"status": "done", "technician": "Hanna"}),
    ],
)
def list_repairs(
    status: Literal["new", "in_progress", "waiting_for_parts", "done"] | None = None, technician: str | None = None
) -> str:
    """List the repairs in the shop, all of them or those that match.

    Args:
        status: Only repairs with this status.
        technician: Only repairs of this technician.
    """
    return f"{status} {technician}"


@tool(
    side_effects="idempotent",
    examples=[
        ("Yusuf should do repair 2001", {"repair": 2001, "technician": "Yusuf"}),
        ("hand job 2002 over to Hanna", {"repair": 2002, "technician": "Hanna"}),
    ],
)
def assign_technician(repair: int, technician: str) -> str:
    """Give a repair to a technician.

    Args:
        repair: Number of the repair.
        technician: Who does it.
    """
    return f"{repair} {technician}"


@tool(
    examples=[
        ("order a pump and two-way valve", {"parts": ["pump", "two-way valve"]}),
        ("Repair 2003 needs a new fuse, express please", {"parts": ["fuse"], "repair": 2003, "express": True}),
    ]
)
def order_parts(parts: list[str], repair: int | None = None, express: bool = False) -> str:
    """Order spare parts from the wholesaler.

    Args:
        parts: The parts that are needed.
        repair: Number of the repair that they are for.
        express: Delivery by the next day.
    """
    return f"{parts} {repair} {express}"


@tool(
    examples=[
        ("I spent 2 hours on repair 2004", {"repair": 2004, "hours": 2}),
        (
            "put down 0.5 h for 2005, note: cleaned the filter",
            {"repair": 2005, "hours": 0.5, "note": "cleaned the filter"},
        ),
    ]
)
def log_work(repair: int, hours: Annotated[float, Field(gt=0, le=24)], note: str | None = None) -> str:
    """Write down the time that was worked on a repair.

    Args:
        repair: Number of the repair.
        hours: How many hours.
        note: What was done.
    """
    return f"{repair} {hours} {note}"


@tool(
    examples=[
        (
            "Ida Berg collects 2001 on 5 March 2027 at 16:00",
            {"repair": 2001, "day": "2027-03-05", "at": "16:00:00"},
        ),
        ("2002 can be picked up on 2027-03-09", {"repair": 2002, "day": "2027-03-09"}),
    ]
)
def schedule_pickup(repair: int, day: date, at: time | None = None) -> str:
    """Set the day on which the customer collects a repaired item.

    Args:
        repair: Number of the repair.
        day: Day of the pickup.
        at: Time of day.
    """
    return f"{repair} {day} {at}"


@tool(
    examples=[
        ("2003 works again, close it, 80 euros", {"repair": 2003, "outcome": "fixed", "charge": 80}),
        ("nothing to be done about 2004, it goes to scrap", {"repair": 2004, "outcome": "beyond_repair"}),
        ("Repair 2005 was withdrawn by the customer", {"repair": 2005, "outcome": "withdrawn"}),
    ]
)
def close_repair(
    repair: int, outcome: Literal["fixed", "beyond_repair", "withdrawn"], charge: float | None = None
) -> str:
    """Finish a repair for good.

    Args:
        repair: Number of the repair.
        outcome: Mended, not worth or not possible to mend, or taken back by the customer.
        charge: What the customer pays, in euros.
    """
    return f"{repair} {outcome} {charge}"


@tool(
    side_effects="none",
    examples=[
        (
            "Is a Borela mixer with serial number BX100 still under guarantee?",
            {"brand": "Borela", "serial_number": "BX100"},
        ),
        (
            "warranty of serial T-77 by Kanto, bought on 2025-08-01",
            {"brand": "Kanto", "serial_number": "T-77", "bought_on": "2025-08-01"},
        ),
    ],
)
def check_warranty(brand: str, serial_number: str, bought_on: date | None = None) -> str:
    """Tell whether the maker's warranty still covers an item.

    Args:
        brand: The maker.
        serial_number: Serial number on the item.
        bought_on: Day on which it was bought.
    """
    return f"{brand} {serial_number} {bought_on}"
