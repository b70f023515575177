"""Invented tools of a museum. They do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class Institution:
    """A museum, gallery or school elsewhere."""

    name: str
    city: str


@tool(
    side_effects="none",
    examples=[
        ("any Vermeer paintings in the collection?", {"kind": "painting", "artist": "Vermeer"}),
        ("18th century coins that are out on show", {"kind": "coin", "century": 18, "on_display": True}),
        ("look for works with dogs in them", {"subject": "dogs"}),
    ],
)
def search_collection(
    kind: Literal["painting", "drawing", "sculpture", "photograph", "textile", "coin"] | None = None,
    artist: str | None = None,
    subject: str | None = None,
    century: Annotated[int, Field(ge=1, le=21)] | None = None,
    on_display: bool = False,
) -> str:
    """Search the catalogue of works that the museum owns.

    Args:
        kind: Type of work.
        artist: Who made it.
        subject: What it shows.
        century: Century in which it was made, 17 for the 17th.
        on_display: Only works that visitors can see at present.
    """
    return f"{kind} {artist} {subject} {century} {on_display}"


@tool(
    side_effects="none",
    examples=[
        ("In which room is 1954.21?", {"inventory_number": "1954.21"}),
        ("find the storage shelf of object GR-118", {"inventory_number": "GR-118"}),
    ],
)
def locate_object(inventory_number: str) -> str:
    """Tell in which room or store an object of the museum is.

    Args:
        inventory_number: Number of the object in the inventory.
    """
    return inventory_number


@tool(
    side_effects="none",
    examples=[
        ("What exhibitions are on at the moment?", {}),
        ("anything about Vikings on 2027-03-14?", {"topic": "Vikings", "on_date": "2027-03-14"}),
        ("shows on glass that cost nothing", {"topic": "glass", "free_entry": True}),
    ],
)
def find_exhibitions(topic: str | None = None, on_date: date | None = None, free_entry: bool = False) -> str:
    """List the museum's exhibitions, those open now when no day is given.

    Args:
        topic: What the exhibition is about.
        on_date: Day on which it must be open.
        free_entry: Only exhibitions without an entrance fee.
    """
    return f"{topic} {on_date} {free_entry}"


@tool(
    examples=[
        ("Two adult tickets for 8 January 2027", {"visit_date": "2027-01-08", "adults": 2}),
        (
            "entry for one grown-up and three kids on 2027-02-20, with one audio guide",
            {"visit_date": "2027-02-20", "adults": 1, "children": 3, "audio_guides": 1},
        ),
    ],
)
def buy_tickets(
    visit_date: date,
    adults: Annotated[int, Field(ge=0)],
    children: Annotated[int, Field(ge=0)] = 0,
    audio_guides: Annotated[int, Field(ge=0)] = 0,
) -> str:
    """Buy entrance tickets to the museum.

    Args:
        visit_date: Day of the visit.
        adults: Number of tickets for adults.
        children: Number of tickets for children.
        audio_guides: Number of audio guides.
    """
    return f"{visit_date} {adults} {children} {audio_guides}"


@tool(
    examples=[
        (
            "German tour for 12 people on 5 March 2027 at 11:00",
            {"language": "german", "people": 12, "visit_date": "2027-03-05", "start": "11:00:00"},
        ),
        (
            "book us a guide in Spanish, family tour, 4 of us, 2027-04-01, half past two",
            {
                "language": "spanish",
                "people": 4,
                "visit_date": "2027-04-01",
                "start": "14:30:00",
                "theme": "family",
            },
        ),
    ],
)
def book_guided_tour(
    language: Literal["english", "french", "german", "spanish", "italian"],
    people: Annotated[int, Field(ge=1, le=40)],
    visit_date: date,
    start: time,
    theme: Literal["highlights", "architecture", "family", "modern_art"] = "highlights",
) -> str:
    """Book a tour of the museum led by a guide.

    Args:
        language: Language of the guide.
        people: Size of the group.
        visit_date: Day of the tour.
        start: Time at which it begins.
        theme: What the tour is about.
    """
    return f"{language} {people} {visit_date} {start} {theme}"


@tool(
    examples=[
        ("Move booking MB-1020 to 9 May 2027", {"booking_code": "MB-1020", "new_date": "2027-05-09"}),
        (
            "MB-7781: we'll be 9 and come at 10:15",
            {"booking_code": "MB-7781", "new_people": 9, "new_start": "10:15:00"},
        ),
    ],
)
def change_booking(
    booking_code: str,
    new_date: date | None = None,
    new_start: time | None = None,
    new_people: Annotated[int, Field(ge=1)] | None = None,
) -> str:
    """Change a booking of tickets or of a tour that was made before.

    Args:
        booking_code: Code of the booking.
        new_date: Day to which it moves.
        new_start: Time to which it moves.
        new_people: Number of people from now on.
    """
    return f"{booking_code} {new_date} {new_start} {new_people}"


@tool(
    examples=[
        ("Please cancel MB-3005", {"booking_code": "MB-3005"}),
        ("we can't make it, scrap MB-6120 and send a voucher", {"booking_code": "MB-6120", "refund": "voucher"}),
    ],
)
def cancel_booking(booking_code: str, refund: Literal["card", "voucher", "donate"] | None = None) -> str:
    """Cancel a booking of tickets or of a tour.

    Args:
        booking_code: Code of the booking.
        refund: How the money goes back: to the card, as a voucher, or as a gift to the museum.
    """
    return f"{booking_code} {refund}"


@tool(
    examples=[
        (
            "lend GR-118 to the Stadtmuseum in Graz from 2027-01-10 until 2027-06-10",
            {
                "borrower": {"name": "Stadtmuseum", "city": "Graz"},
                "inventory_numbers": ["GR-118"],
                "start": "2027-01-10",
                "end": "2027-06-10",
            },
        ),
        (
            "Loan for the Hall Gallery, Leeds: 1954.21 and 1954.22, 1 May 2027 to 31 July 2027",
            {
                "borrower": {"name": "Hall Gallery", "city": "Leeds"},
                "inventory_numbers": ["1954.21", "1954.22"],
                "start": "2027-05-01",
                "end": "2027-07-31",
            },
        ),
    ],
)
def request_loan(borrower: Institution, inventory_numbers: list[str], start: date, end: date) -> str:
    """Request that objects of the museum be lent to another institution.

    Args:
        borrower: Who borrows them.
        inventory_numbers: Numbers of the objects in the inventory.
        start: First day of the loan.
        end: Last day of the loan.
    """
    return f"{borrower} {inventory_numbers} {start} {end}"
