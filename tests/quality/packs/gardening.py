"""Invented tools of a garden plan with its watering. They do nothing."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@tool()
def add_plant(plant: str, bed: str, count: Annotated[int, Field(ge=1)] = 1, planted_on: date | None = None) -> str:
    """Enter plants that were put into a bed into the garden plan.

    Args:
        plant: What was planted.
        bed: The bed it stands in.
        count: How many plants.
        planted_on: Day on which it was planted.
    """
    return f"{plant} {bed} {count} {planted_on}"


@tool(side_effects="none")
def list_plants(
    bed: str | None = None, needs: Literal["water", "feeding", "pruning", "frost_cover"] | None = None
) -> str:
    """List what grows in the garden.

    Args:
        bed: Only plants in this bed.
        needs: Only plants that are due for this care.
    """
    return f"{bed} {needs}"


@tool()
def move_plant(plant: str, from_bed: str, to_bed: str, count: Annotated[int, Field(ge=1)] | None = None) -> str:
    """Record in the garden plan that plants change from one bed to another.

    Args:
        plant: What is moved.
        from_bed: The bed it leaves.
        to_bed: The bed it goes to.
        count: How many plants; all of them when left out.
    """
    return f"{plant} {from_bed} {to_bed} {count}"


@tool()
def remove_plant(plant: str, bed: str, reason: Literal["died", "harvested", "given_away"] | None = None) -> str:
    """Take plants that no longer stand in a bed off the garden plan.

    Args:
        plant: What is gone.
        bed: The bed it stood in.
        reason: Why it is gone.
    """
    return f"{plant} {bed} {reason}"


@tool(side_effects="idempotent")
def schedule_watering(
    bed: str, at: time, minutes: Annotated[int, Field(ge=1, le=120)], every_days: Annotated[int, Field(ge=1)] = 1
) -> str:
    """Set when and for how long the sprinklers water a bed.

    Args:
        bed: The bed.
        at: Time of day at which it begins.
        minutes: How long it lasts.
        every_days: Days from one watering to the next, 1 for daily.
    """
    return f"{bed} {at} {minutes} {every_days}"


@tool(side_effects="idempotent")
def stop_watering(bed: str, until: date | None = None) -> str:
    """Switch off the watering of a bed.

    Args:
        bed: The bed.
        until: Day on which it goes on again; for good when left out.
    """
    return f"{bed} {until}"


@tool()
def log_harvest(
    crop: str, kilograms: Annotated[float, Field(gt=0)], bed: str | None = None, picked_on: date | None = None
) -> str:
    """Note in the harvest book how much of a crop was picked.

    Args:
        crop: What was picked.
        kilograms: Its weight.
        bed: The bed it came from.
        picked_on: Day on which it was picked.
    """
    return f"{crop} {kilograms} {bed} {picked_on}"


@tool(side_effects="none")
def diagnose_plant(plant: str, symptoms: list[str], indoors: bool = False) -> str:
    """Find out which disease or pest a plant may have.

    Args:
        plant: The plant.
        symptoms: What is seen on it, one entry each.
        indoors: Whether it stands in the house.
    """
    return f"{plant} {symptoms} {indoors}"
