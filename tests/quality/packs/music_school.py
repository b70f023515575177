"""Invented tools of a music school. They keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Instrument = Literal["piano", "violin", "cello", "guitar", "flute", "clarinet", "trumpet", "drums", "voice"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]


@dataclass
class Guardian:
    """The grown-up who answers for a student."""

    name: str
    phone: str


@tool()
def enrol_student(
    name: str,
    instrument: Instrument,
    level: Literal["beginner", "intermediate", "advanced"] | None = None,
    guardian: Guardian | None = None,
) -> str:
    """Take a new student into the school.

    Args:
        name: Name of the student.
        instrument: What the student is going to learn; voice for singing.
        level: How far along the student is.
        guardian: Parent or other adult to ring, with name and phone number; for children.
    """
    return f"{name} {instrument} {level} {guardian}"


@tool()
def schedule_lesson(
    student: str,
    teacher: str,
    starts: datetime,
    minutes: Annotated[int, Field(ge=15, le=120)] = 30,
    online: bool = False,
) -> str:
    """Put a lesson into the timetable.

    Args:
        student: Who is taught.
        teacher: Who teaches.
        starts: Day and time at which the lesson begins.
        minutes: How long it lasts.
        online: Whether it is held by video call instead of at the school.
    """
    return f"{student} {teacher} {starts} {minutes} {online}"


@tool(
    examples=[
        (
            "practice room B2, 11 May 2026, 14:00 to 15:30",
            {"room": "B2", "day": "2026-05-11", "start": "14:00:00", "end": "15:30:00"},
        ),
        (
            "can I have the Elgar room from 9 to 10 in the morning on 2026-08-03 to practise",
            {"room": "Elgar", "day": "2026-08-03", "start": "09:00:00", "end": "10:00:00"},
        ),
    ]
)
def reserve_room(room: str, day: date, start: time, end: time) -> str:
    """Reserve a room for practising alone or for a rehearsal.

    Args:
        room: Name or number of the room.
        day: Day on which it is needed.
        start: From when.
        end: Until when.
    """
    return f"{room} {day} {start} {end}"


@tool()
def lend_instrument(
    student: str,
    inventory_no: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{3}$")],
    due_back: date,
    deposit: Annotated[float, Field(ge=0)] | None = None,
) -> str:
    """Lend a student one of the school's own instruments.

    Args:
        student: Who takes it home.
        inventory_no: Number on the instrument's label, such as VN-014.
        due_back: Day by which it has to be returned.
        deposit: Money that the student leaves as security.
    """
    return f"{student} {inventory_no} {due_back} {deposit}"


@tool(
    examples=[
        ("Nora should practise the Gavotte", {"student": "Nora", "pieces": ["Gavotte"]}),
        (
            "homework for Emil: Etude No. 3 and Clair de Lune, 25 min a day, till 8 June 2026",
            {
                "student": "Emil",
                "pieces": ["Etude No. 3", "Clair de Lune"],
                "minutes_per_day": 25,
                "due": "2026-06-08",
            },
        ),
    ]
)
def set_homework(
    student: str,
    pieces: list[str],
    minutes_per_day: Annotated[int, Field(gt=0)] | None = None,
    due: date | None = None,
) -> str:
    """Give a student something to practise at home.

    Args:
        student: Who has to practise.
        pieces: The pieces, scales or exercises.
        minutes_per_day: How long to practise each day.
        due: Day by which they should be ready.
    """
    return f"{student} {pieces} {minutes_per_day} {due}"


@tool()
def write_lesson_note(student: str, note: str, visible_to_parents: bool = False) -> str:
    """Write down for the teachers how a student is getting on.

    Args:
        student: Whom the note is about.
        note: The text, word for word.
        visible_to_parents: Whether the parents can read it too.
    """
    return f"{student} {note} {visible_to_parents}"


@tool(
    examples=[
        (
            "enter Sofie for grade 2 theory, sitting of 14 June 2026",
            {"student": "Sofie", "exam": "theory", "grade": 2, "sitting": "2026-06-14"},
        ),
        (
            "Marek wants to take his 6th grade playing exam on 2026-03-21",
            {"student": "Marek", "exam": "practical", "grade": 6, "sitting": "2026-03-21"},
        ),
    ]
)
def register_exam(
    student: str,
    exam: Literal["practical", "theory", "sight_reading"],
    grade: Annotated[int, Field(ge=1, le=8)],
    sitting: date,
) -> str:
    """Enter a student for a graded exam.

    Args:
        student: Who takes the exam.
        exam: Playing for the examiner, written music theory, or playing unknown music at first sight.
        grade: Which grade, from 1 to 8.
        sitting: Day of the exam.
    """
    return f"{student} {exam} {grade} {sitting}"


@tool(side_effects="none")
def find_teachers(
    instrument: Instrument, weekdays: list[Weekday] | None = None, max_fee: Annotated[float, Field(gt=0)] | None = None
) -> list[str]:
    """Find teachers who still take on students.

    Args:
        instrument: What they teach; voice for singing.
        weekdays: Only those who are free on all of these days.
        max_fee: The most that an hour may cost.
    """
    return [f"{instrument} {weekdays} {max_fee}"]
