"""Invented tools of a fitness diary and its gym. They keep nothing and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool

Activity = Literal["running", "cycling", "swimming", "rowing", "strength", "yoga"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


@dataclass
class Race:
    """What somebody trains for."""

    name: str
    day: date


@tool(
    examples=[
        ("I ran 8 km in 47 minutes", {"activity": "running", "minutes": 47, "distance_km": 8}),
        ("half an hour of yoga done, felt easy", {"activity": "yoga", "minutes": 30, "effort": "easy"}),
        ("put down 20 min on the rowing machine", {"activity": "rowing", "minutes": 20}),
    ]
)
def log_workout(
    activity: Activity,
    minutes: Annotated[int, Field(gt=0)],
    distance_km: float | None = None,
    effort: Literal["easy", "moderate", "hard"] | None = None,
) -> str:
    """Enter a finished workout into the diary.

    Args:
        activity: What was done.
        minutes: How long it took.
        distance_km: Distance covered, in kilometres.
        effort: How hard it felt.
    """
    return f"{activity} {minutes} {distance_km} {effort}"


@tool(
    side_effects="none",
    examples=[
        ("show my workouts since 1 June 2026", {"since": "2026-06-01"}),
        (
            "what rides have I done from 2026-04-15 on, last 5 only",
            {"since": "2026-04-15", "activity": "cycling", "limit": 5},
        ),
    ],
)
def list_workouts(since: date, activity: Activity | None = None, limit: int | None = None) -> list[str]:
    """List the workouts in the diary, newest first.

    Args:
        since: First day to include.
        activity: Only workouts of this kind.
        limit: At most so many.
    """
    return [f"{since} {activity} {limit}"]


@tool(
    examples=[
        ("remove workout 88 from my diary", {"workout_id": 88}),
        ("entry 140 is a duplicate, get rid of it", {"workout_id": 140}),
    ]
)
def delete_workout(workout_id: int) -> str:
    """Delete a workout from the diary.

    Args:
        workout_id: Number of the entry.
    """
    return f"{workout_id}"


@tool(
    side_effects="idempotent",
    examples=[
        ("my aim is 9000 steps a day", {"metric": "steps", "target": 9000}),
        ("goal: 25 km per week", {"metric": "distance_km", "target": 25, "per": "week"}),
    ],
)
def set_goal(
    metric: Literal["steps", "active_minutes", "distance_km", "sleep_hours", "water_litres"],
    target: Annotated[float, Field(gt=0)],
    per: Literal["day", "week"] = "day",
) -> str:
    """Set a personal goal, in place of the earlier one for the same thing.

    Args:
        metric: What is counted.
        target: How much is to be reached.
        per: Over which span.
    """
    return f"{metric} {target} {per}"


@tool(
    examples=[
        (
            "book me into spin class at the Harbour studio on 4 May 2026, 6pm",
            {"class_name": "spin", "studio": "Harbour", "day": "2026-05-04", "at": "18:00:00"},
        ),
        (
            "Is there a place in pilates, Northside, 2026-07-12 at 08:30? Sign me up",
            {"class_name": "pilates", "studio": "Northside", "day": "2026-07-12", "at": "08:30:00"},
        ),
    ]
)
def book_class(class_name: str, studio: str, day: date, at: time) -> str:
    """Book a place in a class at one of the studios.

    Args:
        class_name: What is taught.
        studio: Name of the studio.
        day: Day of the class.
        at: When the class begins.
    """
    return f"{class_name} {studio} {day} {at}"


@tool(
    examples=[
        ("I can't make barre on 9 March 2027", {"class_name": "barre", "day": "2027-03-09"}),
        ("drop my spin place for 2026-11-02", {"class_name": "spin", "day": "2026-11-02"}),
    ]
)
def cancel_class(class_name: str, day: date) -> str:
    """Give up a place that was booked in a class.

    Args:
        class_name: What is taught.
        day: Day of the class.
    """
    return f"{class_name} {day}"


@tool(
    examples=[
        (
            "training plan for the Leeds Half on 10 May 2026, 4 sessions a week",
            {"race": {"name": "Leeds Half", "day": "2026-05-10"}, "sessions_per_week": 4},
        ),
        (
            "I've entered the Lakes Triathlon, 2026-08-30. Three sessions weekly please, Mondays off",
            {
                "race": {"name": "Lakes Triathlon", "day": "2026-08-30"},
                "sessions_per_week": 3,
                "rest_days": ["monday"],
            },
        ),
    ]
)
def make_plan(
    race: Race, sessions_per_week: Annotated[int, Field(ge=1, le=14)], rest_days: list[Weekday] | None = None
) -> str:
    """Draw up a training plan that leads to a race.

    Args:
        race: Name and day of the race.
        sessions_per_week: How many sessions in a week.
        rest_days: Weekdays without any training.
    """
    return f"{race} {sessions_per_week} {rest_days}"


@tool(
    examples=[
        ("porridge and a banana for breakfast", {"foods": ["porridge", "banana"], "meal": "breakfast"}),
        (
            "lunch was lentil soup, about 420 kcal",
            {"foods": ["lentil soup"], "meal": "lunch", "calories": 420},
        ),
    ]
)
def log_meal(
    foods: list[str], meal: Literal["breakfast", "lunch", "dinner", "snack"], calories: int | None = None
) -> str:
    """Enter something eaten into the food diary.

    Args:
        foods: What was eaten.
        meal: Which meal it was.
        calories: Calories of the whole meal.
    """
    return f"{foods} {meal} {calories}"
