"""Invented tools of a bike sharing scheme. They unlock no bike and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

BikeType = Literal["classic", "electric", "cargo", "tandem"]
RideId = Annotated[str, Field(pattern=r"^R-\d{5}$")]


@dataclass
class Rider:
    """Somebody who rides on another member's account."""

    name: str
    born: date


@tool(
    side_effects="none",
    examples=[
        ("any bikes free around the opera house?", {"near": "opera house"}),
        (
            "e-bikes within 600 m of Canal Street please",
            {"near": "Canal Street", "bike_type": "electric", "within_metres": 600},
        ),
    ],
)
def find_bikes(
    near: str,
    bike_type: BikeType | None = None,
    within_metres: Annotated[int, Field(ge=50)] | None = None,
) -> list[str]:
    """Find stations that have a bike to take right now.

    Args:
        near: Place to search around.
        bike_type: Only bikes of this type: without a motor, with one, with a box for loads, or for two riders.
        within_metres: How far from the place a station can be.
    """
    return [f"{near} {bike_type} {within_metres}"]


@tool(side_effects="none")
def find_docks(near: str, spaces: Annotated[int, Field(ge=1)]) -> list[str]:
    """Find stations with empty docks, to hand bikes back.

    Args:
        near: Place to search around.
        spaces: How many empty docks are needed.
    """
    return [f"{near} {spaces}"]


@tool()
def reserve_bike(
    station: str,
    pick_up: datetime,
    bike_type: BikeType = "classic",
    extras: list[Literal["helmet", "child_seat", "basket", "rain_cape"]] | None = None,
) -> str:
    """Hold a bike at a station for later.

    Args:
        station: Name of the station.
        pick_up: Day and time at which it will be taken.
        bike_type: Type of bike.
        extras: What should be handed out with it.
    """
    return f"{station} {pick_up} {bike_type} {extras}"


@tool(
    examples=[
        ("bike 3320 has a puncture", {"bike_number": 3320, "parts": ["tyre"]}),
        (
            "brakes and chain of number 871 are shot, nobody can ride it",
            {"bike_number": 871, "parts": ["brakes", "chain"], "rideable": False},
        ),
        (
            "the light on 1406 flickers, otherwise it rides fine",
            {"bike_number": 1406, "parts": ["lights"], "rideable": True},
        ),
    ]
)
def report_fault(
    bike_number: int,
    parts: list[Literal["tyre", "brakes", "chain", "lights", "saddle", "battery", "lock"]],
    rideable: bool | None = None,
) -> str:
    """Tell the workshop that something on a bike is broken.

    Args:
        bike_number: Number painted on the frame.
        parts: What is broken; several parts can be named.
        rideable: Whether the bike can still be ridden.
    """
    return f"{bike_number} {parts} {rideable}"


@tool(
    examples=[
        ("a monthly pass from 1 April 2026", {"kind": "month", "starts_on": "2026-04-01"}),
        (
            "pass for a whole year, starting 2026-09-15, renew it by itself, code STUDENT",
            {"kind": "year", "starts_on": "2026-09-15", "auto_renew": True, "promo_code": "STUDENT"},
        ),
    ]
)
def buy_pass(
    kind: Literal["day", "week", "month", "year"],
    starts_on: date,
    auto_renew: bool = False,
    promo_code: str | None = None,
) -> str:
    """Buy a pass with which short rides cost nothing extra.

    Args:
        kind: How long it is valid.
        starts_on: First day on which it is valid.
        auto_renew: Whether it is bought again when it runs out.
        promo_code: Code for a discount.
    """
    return f"{kind} {starts_on} {auto_renew} {promo_code}"


@tool(side_effects="none")
def list_rides(
    since: date, until: date | None = None, min_minutes: Annotated[int, Field(ge=1)] | None = None
) -> list[str]:
    """List the rides on the account with what each cost.

    Args:
        since: First day to include.
        until: Last day to include.
        min_minutes: Leave out rides that were shorter than this.
    """
    return [f"{since} {until} {min_minutes}"]


@tool()
def dispute_charge(
    ride_id: RideId, reason: Literal["charged_twice", "never_unlocked", "return_not_registered", "bike_faulty"]
) -> str:
    """Ask for the money of a ride back.

    Args:
        ride_id: Number of the ride, such as R-40718.
        reason: What went wrong: it was charged twice, the bike never came loose from its dock, the dock did not
            notice the return, or the bike broke down.
    """
    return f"{ride_id} {reason}"


@tool()
def add_rider(rider: Rider, monthly_limit: Annotated[float, Field(gt=0)]) -> str:
    """Let somebody else ride on the member's account.

    Args:
        rider: Name and date of birth of the person.
        monthly_limit: Most that the person can spend in a month, in euros.
    """
    return f"{rider} {monthly_limit}"
