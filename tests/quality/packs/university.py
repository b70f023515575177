"""Invented tools of a student portal, with examples. They enrol nobody and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

CourseCode = Annotated[str, Field(pattern=r"^[A-Z]{2,4}\d{3}$")]


@dataclass
class Recipient:
    """Who receives a document."""

    name: str
    email: str


@tool(
    side_effects="none",
    examples=[
        ("which courses are there in botany", {"subject": "botany"}),
        (
            "Show me master's courses on robotics that run in autumn",
            {"subject": "robotics", "level": "master", "term": "autumn"},
        ),
    ],
)
def find_courses(
    subject: str,
    level: Literal["bachelor", "master", "doctoral"] | None = None,
    term: Literal["autumn", "spring", "summer"] | None = None,
) -> str:
    """Search the course catalogue by subject.

    Args:
        subject: What the course is about.
        level: Level of study.
        term: Term in which the course runs.
    """
    return f"{subject} {level} {term}"


@tool(
    examples=[
        ("Sign me up for MAT110", {"course": "MAT110"}),
        ("I'd like to sit in on PHIL230 without the exam, just as an auditor", {"course": "PHIL230", "audit": True}),
    ]
)
def enrol_in_course(course: CourseCode, audit: bool = False) -> str:
    """Enrol the student in a course.

    Args:
        course: Code of the course, in capitals.
        audit: Attend without exam and credits.
    """
    return f"{course} {audit}"


@tool(
    examples=[
        ("take me off MAT110", {"course": "MAT110"}),
        ("withdraw from GEO301, reason: illness", {"course": "GEO301", "reason": "illness"}),
    ]
)
def drop_course(course: CourseCode, reason: str | None = None) -> str:
    """Withdraw the student from a course.

    Args:
        course: Code of the course, in capitals.
        reason: Why the student leaves it.
    """
    return f"{course} {reason}"


@tool(
    side_effects="none",
    examples=[
        ("when do I sit the exam for CHE105?", {"course": "CHE105"}),
        ("resit dates LAW220", {"course": "LAW220", "resit": True}),
    ],
)
def exam_dates(course: CourseCode, resit: bool = False) -> str:
    """Tell when and where the exam of a course is held.

    Args:
        course: Code of the course, in capitals.
        resit: The resit in place of the first exam.
    """
    return f"{course} {resit}"


@tool(
    examples=[
        (
            "Get me an appointment with Dr. Weber on 3 March 2027 at 10:15",
            {"advisor": "Dr. Weber", "day": "2027-03-03", "at": "10:15:00"},
        ),
        (
            "can I talk to Ms Adeyemi by video on 2027-04-20, 2pm",
            {"advisor": "Ms Adeyemi", "day": "2027-04-20", "at": "14:00:00", "online": True},
        ),
    ]
)
def book_advisor(advisor: str, day: date, at: time, online: bool = False) -> str:
    """Make an appointment with a study advisor or teacher.

    Args:
        advisor: Name of the advisor, with the title if one is given.
        day: Day of the appointment.
        at: Time of day.
        online: Whether to meet by video.
    """
    return f"{advisor} {day} {at} {online}"


@tool(
    examples=[
        ("I can't make it to Dr. Weber after all, cancel that", {"advisor": "Dr. Weber"}),
        (
            "call off my meeting with Ms Adeyemi on 2027-04-20",
            {"advisor": "Ms Adeyemi", "day": "2027-04-20"},
        ),
    ]
)
def cancel_advisor(advisor: str, day: date | None = None) -> str:
    """Cancel an appointment with a study advisor or teacher.

    Args:
        advisor: Name of the advisor, with the title if one is given.
        day: Day of the appointment; the next one when left out.
    """
    return f"{advisor} {day}"


@tool(
    examples=[
        (
            "study room for three on 8 February 2027 from 13:00",
            {"people": 3, "day": "2027-02-08", "start": "13:00:00"},
        ),
        (
            "We are five and need a room with a whiteboard on 2027-02-09 at 9am for two hours",
            {"people": 5, "day": "2027-02-09", "start": "09:00:00", "hours": 2, "whiteboard": True},
        ),
    ]
)
def reserve_study_room(
    people: Annotated[int, Field(ge=1, le=30)], day: date, start: time, hours: float = 1, whiteboard: bool = False
) -> str:
    """Reserve a room in the library to study together.

    Args:
        people: How many people must fit.
        day: Day of the reservation.
        start: Time of day from which the room is needed.
        hours: For how long.
        whiteboard: Whether a whiteboard is needed.
    """
    return f"{people} {day} {start} {hours} {whiteboard}"


@tool(
    examples=[
        (
            "send my transcript to Petra Holm, petra.holm@example.org",
            {"recipient": {"name": "Petra Holm", "email": "petra.holm@example.org"}},
        ),
        (
            "A certified transcript in German for Hotel Adler please, jobs@adler.example",
            {
                "recipient": {"name": "Hotel Adler", "email": "jobs@adler.example"},
                "language": "german",
                "certified": True,
            },
        ),
    ]
)
def send_transcript(
    recipient: Recipient, language: Literal["english", "german", "french"] = "english", certified: bool = False
) -> str:
    """Send the student's transcript of grades to somebody by e-mail.

    Args:
        recipient: Name and e-mail address of the one who receives it.
        language: Language of the transcript.
        certified: With the stamp of the registry.
    """
    return f"{recipient} {language} {certified}"
