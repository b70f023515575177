"""Invented tools for parcels and letters that go abroad. They send nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

ParcelId = Annotated[str, Field(pattern=r"^[A-Z]{2}\d{6}$")]
Purpose = Literal["gift", "sale", "return", "sample", "documents"]


@dataclass
class Addressee:
    """Who gets a letter."""

    name: str
    city: str
    country: str


@tool(
    side_effects="none",
    examples=[
        ("How much is a 90 g letter to Japan?", {"item": "letter", "grams": 90, "country": "Japan"}),
        (
            "price of an express parcel of 3 kg to Brazil",
            {"item": "parcel", "grams": 3000, "country": "Brazil", "service": "express"},
        ),
    ],
)
def postage_price(
    item: Literal["letter", "postcard", "parcel"],
    grams: Annotated[int, Field(gt=0)],
    country: str,
    service: Literal["economy", "priority", "tracked", "express"] = "economy",
) -> str:
    """Tell what it costs to post something to another country.

    Args:
        item: What is posted.
        grams: Its weight in grams.
        country: Where it goes.
        service: How it is carried.
    """
    return f"{item} {grams} {country} {service}"


@tool(
    side_effects="none",
    examples=[
        (
            "what import tax would a leather bag worth 200 euros cost in Norway",
            {"goods": "leather bag", "value": 200, "country": "Norway"},
        ),
        (
            "duty on running shoes, 85.50 EUR, going to Mexico",
            {"goods": "running shoes", "value": 85.5, "country": "Mexico"},
        ),
    ],
)
def estimate_duty(goods: str, value: Annotated[float, Field(gt=0)], country: str) -> str:
    """Estimate the customs duty and tax that the receiver pays on goods.

    Args:
        goods: What the goods are.
        value: What they are worth, in euros.
        country: Country that they are brought into.
    """
    return f"{goods} {value} {country}"


@tool(
    examples=[
        (
            "Customs form for RA104422: two scarves and a mug, 45 euros, it's a present",
            {"parcel_id": "RA104422", "contents": ["two scarves", "mug"], "value": 45, "purpose": "gift"},
        ),
        (
            "declare KD778120, contains printed contracts worth 1 euro, documents",
            {"parcel_id": "KD778120", "contents": ["printed contracts"], "value": 1, "purpose": "documents"},
        ),
    ]
)
def declare_contents(
    parcel_id: ParcelId, contents: list[str], value: Annotated[float, Field(gt=0)], purpose: Purpose
) -> str:
    """Hand in the customs declaration of a parcel.

    Args:
        parcel_id: Number of the parcel.
        contents: What is in it, thing by thing.
        value: Value of everything together, in euros.
        purpose: Why it is sent.
    """
    return f"{parcel_id} {contents} {value} {purpose}"


@tool(
    side_effects="idempotent",
    examples=[
        ("the value on RA104422's declaration should be 54", {"parcel_id": "RA104422", "value": 54}),
        ("KD778120 was declared as a gift but it's a sale, fix that", {"parcel_id": "KD778120", "purpose": "sale"}),
    ],
)
def correct_declaration(parcel_id: ParcelId, value: float | None = None, purpose: Purpose | None = None) -> str:
    """Correct a customs declaration that was handed in already.

    Args:
        parcel_id: Number of the parcel.
        value: The right value, in euros.
        purpose: The right purpose.
    """
    return f"{parcel_id} {value} {purpose}"


@tool(
    examples=[
        ("withdraw the customs form of RA104422", {"parcel_id": "RA104422"}),
        (
            "pull KD778120's declaration, the buyer changed his mind",
            {"parcel_id": "KD778120", "reason": "the buyer changed his mind"},
        ),
    ]
)
def withdraw_declaration(parcel_id: ParcelId, reason: str | None = None) -> str:
    """Take back a customs declaration altogether.

    Args:
        parcel_id: Number of the parcel.
        reason: Why it is taken back.
    """
    return f"{parcel_id} {reason}"


@tool(
    side_effects="none",
    examples=[
        ("show all my customs declarations", {}),
        ("which declarations for Canada are stuck at customs", {"status": "held", "country": "Canada"}),
    ],
)
def list_declarations(
    status: Literal["submitted", "held", "cleared", "rejected"] | None = None, country: str | None = None
) -> list[str]:
    """List customs declarations.

    Args:
        status: Only those in this state: handed in and waiting, held at customs, let through, or refused.
        country: Only those for this country.
    """
    return [f"{status} {country}"]


@tool(
    examples=[
        (
            'Send a letter to Ana Prado in Lisbon, Portugal: "The lease is signed."',
            {"to": {"name": "Ana Prado", "city": "Lisbon", "country": "Portugal"}, "text": "The lease is signed."},
        ),
        (
            "registered letter saying 'please call me back' to Olaf Berg, Oslo, Norway",
            {
                "to": {"name": "Olaf Berg", "city": "Oslo", "country": "Norway"},
                "text": "please call me back",
                "registered": True,
            },
        ),
    ]
)
def send_letter(to: Addressee, text: str, registered: bool = False) -> str:
    """Print a letter and post it abroad.

    Args:
        to: Name, city and country of the addressee.
        text: What the letter says, word for word.
        registered: Whether it must be signed for.
    """
    return f"{to} {text} {registered}"


@tool(
    examples=[
        ("have 3 parcels fetched on 6 July 2026", {"parcels": 3, "day": "2026-07-06"}),
        (
            "courier for one parcel on 2026-10-01, not before 2pm",
            {"parcels": 1, "day": "2026-10-01", "earliest": "14:00:00"},
        ),
    ]
)
def order_pickup(parcels: Annotated[int, Field(ge=1)], day: date, earliest: time | None = None) -> str:
    """Have parcels collected from home.

    Args:
        parcels: How many.
        day: The day.
        earliest: Not before this time of day.
    """
    return f"{parcels} {day} {earliest}"
