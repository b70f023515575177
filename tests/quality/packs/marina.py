"""Invented tools of a marina. They keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Berth = Annotated[str, Field(pattern=r"^[A-Z]\d{1,3}$")]


@dataclass
class Vessel:
    """A boat that comes to visit."""

    name: str
    length_m: Annotated[float, Field(gt=0)]


@tool(
    examples=[
        (
            "berth for Kestrel, 8 m, from 2026-05-02, 4 nights",
            {"vessel": {"name": "Kestrel", "length_m": 8}, "arrival": "2026-05-02", "nights": 4},
        ),
        (
            "The 12.2 metre Blue Fox arrives 9 July 2026 for one night, needs electricity",
            {
                "vessel": {"name": "Blue Fox", "length_m": 12.2},
                "arrival": "2026-07-09",
                "nights": 1,
                "shore_power": True,
            },
        ),
    ]
)
def book_berth(
    vessel: Vessel,
    arrival: date,
    nights: Annotated[int, Field(ge=1)],
    shore_power: bool = False,
    pontoon: str | None = None,
) -> str:
    """Reserve a visitor's berth for a boat that is not in the marina yet.

    Args:
        vessel: Name of the boat and its length over all, in metres.
        arrival: Day on which it comes in.
        nights: How many nights it stays.
        shore_power: Whether it wants to be plugged in to electricity.
        pontoon: Letter of the pontoon that the skipper prefers.
    """
    return f"{vessel} {arrival} {nights} {shore_power} {pontoon}"


@tool()
def extend_stay(vessel: str, extra_nights: Annotated[int, Field(ge=1)]) -> str:
    """Let a visiting boat that already has its berth keep it for longer.

    Args:
        vessel: Name of the boat.
        extra_nights: How many nights are added.
    """
    return f"{vessel} {extra_nights}"


@tool()
def schedule_haul_out(
    vessel: str,
    day: date,
    purpose: Literal["antifouling", "survey", "repair", "winter_storage"],
    at: time | None = None,
    pressure_wash: bool = False,
) -> str:
    """Arrange for a boat to be lifted out of the water by the crane.

    Args:
        vessel: Name of the boat.
        day: Day of the lift.
        purpose: What it comes ashore for: new antifouling paint on the bottom, a survey by an inspector, a repair,
            or to stand on land over the winter.
        at: Time of the lift; the yard chooses it when left out.
        pressure_wash: Whether the hull is hosed down with high pressure straight after the lift.
    """
    return f"{vessel} {day} {purpose} {at} {pressure_wash}"


@tool()
def order_fuel(vessel: str, fuel: Literal["diesel", "petrol"], litres: Annotated[float, Field(gt=0)], day: date) -> str:
    """Have the fuel barge come alongside a boat.

    Args:
        vessel: Name of the boat.
        fuel: Which fuel.
        litres: How much of it.
        day: Day on which the barge comes.
    """
    return f"{vessel} {fuel} {litres} {day}"


@tool(
    side_effects="none",
    examples=[
        ("tides at Crow Point 2026-08-01", {"port": "Crow Point", "day": "2026-08-01"}),
        (
            "how low does the water get in Easthaven on 5 May 2026",
            {"port": "Easthaven", "day": "2026-05-05", "state": "low"},
        ),
    ],
)
def tide_times(port: str, day: date, state: Literal["high", "low"] | None = None) -> list[str]:
    """Look up times and heights of the tide.

    Args:
        port: Name of the harbour.
        day: The day.
        state: Only high water, or only low water.
    """
    return [f"{port} {day} {state}"]


@tool(
    examples=[
        ("no water at F6", {"berth": "F6", "kind": "water"}),
        (
            "E20's lamp flickers, and it's pressing. note: seen after rain",
            {"berth": "E20", "kind": "lighting", "urgent": True, "note": "seen after rain"},
        ),
    ]
)
def report_fault(
    berth: Berth,
    kind: Literal["water", "electricity", "lighting", "mooring", "decking"],
    urgent: bool = False,
    note: str | None = None,
) -> str:
    """Tell the maintenance crew that something at a berth is broken.

    Args:
        berth: Letter of the pontoon and number of the berth, such as B7.
        kind: What is broken: the water tap, the electricity socket, a lamp, what boats are moored to (cleats,
            rings, chains), or the boards one walks on.
        urgent: Whether it cannot wait.
        note: Remark to pass on to the crew word for word, where one is dictated.
    """
    return f"{berth} {kind} {urgent} {note}"


@tool()
def log_meter_reading(berth: Berth, kilowatt_hours: Annotated[float, Field(ge=0)], read_at: datetime) -> str:
    """Enter what the electricity meter of a berth shows.

    Args:
        berth: Letter of the pontoon and number of the berth, such as B7.
        kilowatt_hours: The figure on the meter.
        read_at: Day and time of the reading.
    """
    return f"{berth} {kilowatt_hours} {read_at}"


@tool(side_effects="idempotent")
def file_crew_list(vessel: str, skipper: str, crew: list[str]) -> str:
    """Hand the harbour office the names of everybody on board a boat.

    Args:
        vessel: Name of the boat.
        skipper: Who is in charge of the boat.
        crew: Names of the others on board, without the skipper.
    """
    return f"{vessel} {skipper} {crew}"
