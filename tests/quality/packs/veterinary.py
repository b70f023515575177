"""Invented tools of a veterinary practice. They keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class Owner:
    """Whose animal it is."""

    name: str
    phone: str


@tool()
def book_visit(
    animal: str,
    day: date,
    at: time,
    reason: Literal["checkup", "vaccination", "dental", "injury", "surgery"] | None = None,
    vet: str | None = None,
) -> str:
    """Book an appointment at the practice for an animal.

    Args:
        animal: Name of the animal.
        day: Day of the appointment.
        at: Time of day.
        reason: Why the animal comes in.
        vet: The vet who should see it.
    """
    return f"{animal} {day} {at} {reason} {vet}"


@tool(side_effects="idempotent")
def move_visit(animal: str, to_day: date, at: time | None = None) -> str:
    """Move the appointment that an animal already has to another day.

    Args:
        animal: Name of the animal.
        to_day: The new day.
        at: The new time of day; the old one stays when left out.
    """
    return f"{animal} {to_day} {at}"


@tool()
def cancel_visit(animal: str, day: date, reason: str | None = None) -> str:
    """Cancel an animal's appointment without booking another.

    Args:
        animal: Name of the animal.
        day: Day of the appointment.
        reason: Why it is cancelled.
    """
    return f"{animal} {day} {reason}"


@tool(side_effects="none")
def list_visits(day: date, vet: str | None = None) -> list[str]:
    """List the appointments of a day.

    Args:
        day: The day.
        vet: Only those of this vet.
    """
    return [f"{day} {vet}"]


@tool()
def register_animal(
    name: str,
    species: Literal["dog", "cat", "rabbit", "bird", "horse", "reptile"],
    owner: Owner,
    born: date | None = None,
) -> str:
    """Add a new patient to the files of the practice.

    Args:
        name: Name of the animal.
        species: What kind of animal it is.
        owner: Name and phone number of the owner.
        born: Date of birth.
    """
    return f"{name} {species} {owner} {born}"


@tool()
def record_weight(animal: str, kilograms: Annotated[float, Field(gt=0)], day: date | None = None) -> str:
    """Write an animal's weight into its file.

    Args:
        animal: Name of the animal.
        kilograms: The weight in kilograms.
        day: Day on which it was weighed; today when left out.
    """
    return f"{animal} {kilograms} {day}"


@tool()
def prescribe_medicine(
    animal: str,
    medicine: str,
    milligrams: Annotated[float, Field(gt=0)],
    times_per_day: Annotated[int, Field(ge=1, le=6)],
    days: int | None = None,
) -> str:
    """Prescribe a medicine for an animal.

    Args:
        animal: Name of the animal.
        medicine: Name of the medicine.
        milligrams: Amount of a single dose, in milligrams.
        times_per_day: How many doses a day.
        days: For how many days; until further notice when left out.
    """
    return f"{animal} {medicine} {milligrams} {times_per_day} {days}"


@tool()
def log_vaccination(animal: str, against: list[str], batch: str | None = None) -> str:
    """Enter vaccines that an animal has been given into its file.

    Args:
        animal: Name of the animal.
        against: The diseases that it was vaccinated against.
        batch: Batch number on the vial.
    """
    return f"{animal} {against} {batch}"
