"""Invented tools of a wedding planner. They invite nobody, keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Side = Literal["bride", "groom", "both"]
Diet = Literal["vegetarian", "vegan", "gluten_free", "halal", "kosher"]
Service = Literal["catering", "cake", "flowers", "photography", "music", "transport"]
Money = Annotated[float, Field(gt=0)]


@dataclass
class Supplier:
    """A business that works at the wedding."""

    company: str
    service: Service


@tool()
def add_guest(name: str, side: Side, diet: Diet | None = None, plus_one: bool = False) -> str:
    """Put somebody on the guest list.

    Args:
        name: Name of the guest.
        side: Whose guest it is: the bride's, the groom's, or a friend of both.
        diet: What the kitchen has to mind.
        plus_one: Whether the guest may bring a companion.
    """
    return f"{name} {side} {diet} {plus_one}"


@tool(side_effects="idempotent")
def record_reply(guest: str, coming: bool) -> str:
    """Enter a guest's answer to the invitation.

    Args:
        guest: Name of the guest, who is on the list already.
        coming: Whether the guest accepts.
    """
    return f"{guest} {coming}"


@tool(side_effects="none")
def list_guests(
    reply: Literal["accepted", "declined", "no_answer"] | None = None,
    side: Side | None = None,
    diet: Diet | None = None,
) -> list[str]:
    """Show the guest list, whole or in part.

    Args:
        reply: Only those who come, who do not come, or who have not answered yet.
        side: Only the bride's guests, the groom's, or the friends of both.
        diet: Only those with this diet.
    """
    return [f"{reply} {side} {diet}"]


@tool(
    examples=[
        ("ask Blue Kettle what catering would cost", {"service": "catering", "company": "Blue Kettle"}),
        (
            "I want an offer from Sweet Tiers for a cake for 70 people, by 2 May 2026",
            {"service": "cake", "company": "Sweet Tiers", "guests": 70, "answer_by": "2026-05-02"},
        ),
    ]
)
def request_quote(
    service: Service,
    company: str,
    guests: Annotated[int, Field(gt=0)] | None = None,
    answer_by: date | None = None,
) -> str:
    """Ask a business for its price, without any obligation.

    Args:
        service: What it would do.
        company: Name of the business.
        guests: For how many guests.
        answer_by: Day by which the offer should be in.
    """
    return f"{service} {company} {guests} {answer_by}"


@tool()
def book_supplier(supplier: Supplier, day: date, price: Money) -> str:
    """Engage a business firmly, at the price that was agreed.

    Args:
        supplier: Name of the business and what it does.
        day: Day on which it works.
        price: The agreed price.
    """
    return f"{supplier} {day} {price}"


@tool(side_effects="idempotent")
def seat_guests(table: Annotated[int, Field(ge=1, le=40)], guests: list[str]) -> str:
    """Give guests their seats at a table.

    Args:
        table: Number of the table.
        guests: Names of those who sit there.
    """
    return f"{table} {guests}"


@tool(
    examples=[
        ("420 for the string trio", {"item": "string trio", "amount": 420, "category": "music"}),
        (
            "veil, 95 pounds, the couple paid it on 7 June 2026",
            {"item": "veil", "amount": 95, "category": "clothes", "paid_by": "couple", "paid_on": "2026-06-07"},
        ),
    ]
)
def add_expense(
    item: str,
    amount: Money,
    category: Literal[
        "venue", "food_and_drink", "flowers", "photography", "music", "clothes", "stationery", "transport"
    ],
    paid_by: Literal["couple", "brides_parents", "grooms_parents"] | None = None,
    paid_on: date | None = None,
) -> str:
    """Enter a cost into the wedding budget.

    Args:
        item: What the money is for.
        amount: How much.
        category: Part of the budget that it belongs to.
        paid_by: Who paid.
        paid_on: Day of the payment.
    """
    return f"{item} {amount} {category} {paid_by} {paid_on}"


@tool(
    examples=[
        ("bouquet toss at 21:15", {"what": "bouquet toss", "at": "21:15:00"}),
        (
            "the registry signing is at 1 pm in the library and takes 20 minutes",
            {"what": "registry signing", "at": "13:00:00", "minutes": 20, "place": "library"},
        ),
    ]
)
def plan_moment(
    what: str, at: time, minutes: Annotated[int, Field(gt=0)] | None = None, place: str | None = None
) -> str:
    """Put something into the running order of the wedding day.

    Args:
        what: What happens.
        at: When it begins.
        minutes: How long it takes.
        place: Where it happens.
    """
    return f"{what} {at} {minutes} {place}"
