"""Invented tools of a doctors' practice. They do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@dataclass
class EmergencyContact:
    """Somebody to call in an emergency."""

    name: str
    phone: str


@tool()
def book_appointment(  # noqa: PLR0917  a tool's parameters are its contract
    patient: str, doctor: str, day: date, at: time, reason: str | None = None, video: bool = False
) -> str:
    """Book a new appointment of a patient with a doctor.

    Args:
        patient: Name of the patient.
        doctor: Name of the doctor, with "Dr." in front.
        day: Day of the appointment.
        at: Time at which it begins.
        reason: Why the patient comes.
        video: Whether it takes place by video instead of at the practice.
    """
    return f"{patient} {doctor} {day} {at} {reason} {video}"


@tool(side_effects="none")
def list_appointments(day: date, doctor: str | None = None, open_slots: bool = False) -> str:
    """List the appointments of a day.

    Args:
        day: The day.
        doctor: Only those with this doctor; name with "Dr." in front.
        open_slots: List the times that are still free instead.
    """
    return f"{day} {doctor} {open_slots}"


@tool()
def reschedule_appointment(appointment_id: str, day: date, at: time | None = None) -> str:
    """Move an appointment to another day.

    Args:
        appointment_id: Identifier of the appointment.
        day: The new day.
        at: The new time; stays as it is when left out.
    """
    return f"{appointment_id} {day} {at}"


@tool()
def cancel_appointment(appointment_id: str, cancelled_by: Literal["patient", "practice"], notify: bool = True) -> str:
    """Cancel an appointment without a new one.

    Args:
        appointment_id: Identifier of the appointment.
        cancelled_by: Who calls it off.
        notify: Whether the patient gets a message about it.
    """
    return f"{appointment_id} {cancelled_by} {notify}"


@tool()
def register_patient(
    name: str,
    born: date,
    phone: str | None = None,
    insurance: Literal["public", "private", "none"] | None = None,
    emergency_contact: EmergencyContact | None = None,
) -> str:
    """Enter a new patient into the records.

    Args:
        name: Full name.
        born: Day of birth.
        phone: Telephone number of the patient.
        insurance: Kind of health insurance.
        emergency_contact: Whom to call in an emergency.
    """
    return f"{name} {born} {phone} {insurance} {emergency_contact}"


@tool()
def record_vitals(  # noqa: PLR0917  a tool's parameters are its contract
    patient: str,
    systolic: int | None = None,
    diastolic: int | None = None,
    pulse: int | None = None,
    temperature: float | None = None,
    weight: float | None = None,
) -> str:
    """Write down what was measured on a patient.

    Args:
        patient: Name of the patient.
        systolic: Upper value of the blood pressure.
        diastolic: Lower value of the blood pressure.
        pulse: Heartbeats a minute.
        temperature: Temperature of the body in degrees Celsius.
        weight: Weight in kilograms.
    """
    return f"{patient} {systolic} {diastolic} {pulse} {temperature} {weight}"


@tool()
def renew_prescription(
    patient: str,
    medicine: str,
    packs: Annotated[int, Field(ge=1, le=10)] = 1,
    collect: Literal["practice", "pharmacy", "post"] | None = None,
) -> str:
    """Renew the prescription of a medicine that a patient already takes.

    Args:
        patient: Name of the patient.
        medicine: The medicine, with its strength where that is known.
        packs: Number of packs.
        collect: Where the prescription goes: kept at the practice, sent to the pharmacy, or sent by post.
    """
    return f"{patient} {medicine} {packs} {collect}"


@tool()
def order_lab_tests(patient: str, tests: list[str], fasting: bool = False, urgent: bool = False) -> str:
    """Order laboratory tests for a patient.

    Args:
        patient: Name of the patient.
        tests: What is to be tested, one entry each.
        fasting: Whether the patient must come on an empty stomach.
        urgent: Whether the results are needed at once.
    """
    return f"{patient} {tests} {fasting} {urgent}"
