"""Invented tools of a car hire company. They do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class Driver:
    """Somebody who drives."""

    name: str
    licence: str
    age: int | None = None


@tool(
    side_effects="none",
    examples=[
        (
            "what can I hire in Malaga from 2 June 2027 to 9 June 2027",
            {"city": "Malaga", "pickup": "2027-06-02", "dropoff": "2027-06-09"},
        ),
        (
            "automatic van in Nice, 2027-08-01 until 2027-08-04, at most 90 a day",
            {
                "city": "Nice",
                "pickup": "2027-08-01",
                "dropoff": "2027-08-04",
                "category": "van",
                "automatic": True,
                "max_daily_price": 90,
            },
        ),
    ],
)
def find_cars(  # noqa: PLR0917  a tool's parameters are its contract
    city: str,
    pickup: date,
    dropoff: date,
    category: Literal["small", "estate", "suv", "van", "convertible"] | None = None,
    automatic: bool = False,
    max_daily_price: float | None = None,
) -> str:
    """Find cars that are free in a city for certain days.

    Args:
        city: Where the car is collected.
        pickup: Day on which it is collected.
        dropoff: Day on which it is brought back.
        category: Kind of car.
        automatic: Only cars with automatic gears.
        max_daily_price: Most that a day may cost, in euros.
    """
    return f"{city} {pickup} {dropoff} {category} {automatic} {max_daily_price}"


@tool(
    examples=[
        (
            "I'll take car FC-204 from 3 May 2027 for 5 days, name is Petra Holm",
            {"car_code": "FC-204", "customer": "Petra Holm", "pickup": "2027-05-03", "days": 5},
        ),
        (
            "reserve VN-031 for Otto Lang, 2027-02-11, a week, with snow chains",
            {
                "car_code": "VN-031",
                "customer": "Otto Lang",
                "pickup": "2027-02-11",
                "days": 7,
                "extras": ["snow_chains"],
            },
        ),
    ],
)
def reserve_car(
    car_code: str,
    customer: str,
    pickup: date,
    days: Annotated[int, Field(ge=1)],
    extras: list[Literal["child_seat", "navigation", "roof_rack", "snow_chains"]] | None = None,
) -> str:
    """Reserve a certain car for a customer.

    Args:
        car_code: Code of the car in our list.
        customer: Name of the customer.
        pickup: First day.
        days: For how many days.
        extras: Equipment that is added.
    """
    return f"{car_code} {customer} {pickup} {days} {extras}"


@tool(
    examples=[
        ("cancel reservation R-55120", {"reservation": "R-55120"}),
        ("R-60981 is off, my holiday was moved", {"reservation": "R-60981", "reason": "my holiday was moved"}),
    ],
)
def cancel_reservation(reservation: str, reason: str | None = None) -> str:
    """Cancel a reservation before the car was collected.

    Args:
        reservation: Number of the reservation.
        reason: Why it is cancelled.
    """
    return f"{reservation} {reason}"


@tool(
    examples=[
        ("Can I keep the car of R-41000 for two more days?", {"reservation": "R-41000", "extra_days": 2}),
        (
            "R-41377, another day, and charge it to the company account",
            {"reservation": "R-41377", "extra_days": 1, "bill_to": "company"},
        ),
    ],
)
def extend_rental(
    reservation: str,
    extra_days: Annotated[int, Field(ge=1)],
    bill_to: Literal["customer", "company", "insurer"] = "customer",
) -> str:
    """Let a customer keep a car for longer than reserved.

    Args:
        reservation: Number of the reservation.
        extra_days: How many days are added.
        bill_to: Who pays for them.
    """
    return f"{reservation} {extra_days} {bill_to}"


@tool(
    examples=[
        (
            "put Jean Roux, licence FR-88231, on R-30411 as well",
            {"reservation": "R-30411", "driver": {"name": "Jean Roux", "licence": "FR-88231"}},
        ),
        (
            "second driver for R-30560: Lea Brun, 24, licence 771-A",
            {"reservation": "R-30560", "driver": {"name": "Lea Brun", "licence": "771-A", "age": 24}},
        ),
    ],
)
def add_driver(reservation: str, driver: Driver) -> str:
    """Allow somebody else to drive a reserved car too.

    Args:
        reservation: Number of the reservation.
        driver: Name, number of the driving licence and, if known, age of the person.
    """
    return f"{reservation} {driver}"


@tool(
    examples=[
        ("there's a crack in the windscreen of KL 204 B", {"plate": "KL 204 B", "part": "windscreen"}),
        (
            "flat tyre on MX 77 TT, we can't drive any further",
            {"plate": "MX 77 TT", "part": "tyre", "drivable": False},
        ),
    ],
)
def report_damage(
    plate: str, part: Literal["windscreen", "bumper", "door", "tyre", "mirror", "engine"], drivable: bool | None = None
) -> str:
    """Report that something on a car is broken.

    Args:
        plate: Number plate of the car.
        part: What is broken.
        drivable: Whether the car can still be driven, if that is said.
    """
    return f"{plate} {part} {drivable}"


@tool(
    examples=[
        ("Car KL 204 B is back, 48210 km on the clock", {"plate": "KL 204 B", "odometer": 48210}),
        (
            "check in MX 77 TT: returned 17:30, odometer 9100, tank half full",
            {"plate": "MX 77 TT", "odometer": 9100, "fuel_percent": 50, "at": "17:30:00"},
        ),
    ],
)
def return_car(
    plate: str,
    odometer: int,
    fuel_percent: Annotated[int, Field(ge=0, le=100)] | None = None,
    at: time | None = None,
) -> str:
    """Record that a customer has brought a car back.

    Args:
        plate: Number plate of the car.
        odometer: Kilometres that the car shows.
        fuel_percent: How full the tank is, 100 for a full one.
        at: Time at which it came back.
    """
    return f"{plate} {odometer} {fuel_percent} {at}"


@tool(
    side_effects="none",
    examples=[
        ("What would a convertible cost for 3 days?", {"category": "convertible", "days": 3}),
        (
            "price of a small car for ten days incl. full insurance",
            {"category": "small", "days": 10, "full_insurance": True},
        ),
    ],
)
def estimate_price(
    category: Literal["small", "estate", "suv", "van", "convertible"],
    days: Annotated[int, Field(ge=1)],
    full_insurance: bool = False,
    one_way_to: str | None = None,
) -> str:
    """Estimate what hiring a car costs, without looking for a certain car.

    Args:
        category: Kind of car.
        days: For how many days.
        full_insurance: With insurance that pays for every damage.
        one_way_to: City in which it is handed back, if not where it was collected.
    """
    return f"{category} {days} {full_insurance} {one_way_to}"
