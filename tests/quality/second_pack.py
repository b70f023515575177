"""Eight invented tools, so that planning is not fitted to the core pack. They plan nothing real and do nothing."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@tool(
    side_effects="none",
    examples=[
        (
            "Find me a flight from Rome to Oslo on 3 March 2027",
            {"origin": "Rome", "destination": "Oslo", "date": "2027-03-03"},
        ),
        (
            "cheapest business class seats Madrid to Boston, 12 May 2027, for two",
            {"origin": "Madrid", "destination": "Boston", "date": "2027-05-12", "cabin": "business", "passengers": 2},
        ),
        (
            "I'd like to fly nonstop from Lisbon to Paris on 2027-06-01",
            {"origin": "Lisbon", "destination": "Paris", "date": "2027-06-01", "nonstop": True},
        ),
    ],
)
def search_flights(  # noqa: PLR0917  a tool's parameters are its contract
    origin: str,
    destination: str,
    date: date,
    passengers: Annotated[int, Field(ge=1, le=9)] = 1,
    cabin: Literal["economy", "premium", "business", "first"] = "economy",
    nonstop: bool = False,
) -> str:
    """Search for flights between two cities.

    Args:
        origin: City or airport of departure.
        destination: City or airport of arrival.
        date: Day of departure.
        passengers: Number of travellers.
        cabin: Class of travel.
        nonstop: Only flights without a stop.
    """
    return f"{origin}-{destination} {date} {passengers} {cabin} {nonstop}"


@tool(
    examples=[
        ("I need a room for 4 at ten", {"people": 4, "start": "10:00"}),
        (
            "book a meeting room for six people from 14:30, with a projector",
            {"people": 6, "start": "14:30", "projector": True},
        ),
        ("reserve a room at 9am for 12 of us for 2 hours", {"people": 12, "start": "09:00", "hours": 2}),
    ],
)
def book_room(
    people: Annotated[int, Field(ge=1, le=200)], start: str, hours: float = 1, projector: bool = False
) -> str:
    """Book a meeting room for today.

    Args:
        people: How many must fit.
        start: Time of day at which the meeting begins, HH:MM.
        hours: Length of the meeting.
        projector: Whether a projector is needed.
    """
    return f"room for {people} at {start}, {hours} h, projector {projector}"


@tool(
    side_effects="none",
    examples=[
        ("what can I cook with eggs and spinach", {"ingredients": ["eggs", "spinach"]}),
        (
            "vegan recipes using lentils, carrots and rice in under 30 minutes",
            {"ingredients": ["lentils", "carrots", "rice"], "diet": "vegan", "max_minutes": 30},
        ),
        ("dinner ideas with chicken", {"ingredients": ["chicken"]}),
    ],
)
def find_recipes(
    ingredients: list[str],
    diet: Literal["any", "vegetarian", "vegan", "gluten_free"] = "any",
    max_minutes: int | None = None,
) -> list[str]:
    """Find recipes that use the given ingredients.

    Args:
        ingredients: What must be in the dish.
        diet: Diet that the recipe must suit.
        max_minutes: Longest cooking time in minutes.
    """
    return [f"{ingredients} {diet} {max_minutes}"]


@tool(
    side_effects="idempotent",
    examples=[
        ("Set the bedroom to 19 degrees", {"room": "bedroom", "celsius": 19}),
        ("make the living room warmer, 22.5", {"room": "living_room", "celsius": 22.5}),
        ("turn the heating in the kitchen down to 17", {"room": "kitchen", "celsius": 17}),
    ],
)
def set_thermostat(
    room: Literal["bedroom", "kitchen", "living_room", "bathroom", "office"],
    celsius: Annotated[float, Field(ge=5, le=30)],
) -> str:
    """Set the temperature that the heating keeps in a room.

    Args:
        room: Which room.
        celsius: The wanted temperature.
    """
    return f"{room} {celsius}"


@tool(
    side_effects="none",
    examples=[
        ("Where is my package PX-4410-22?", {"tracking_number": "PX-4410-22"}),
        ("track QZ-1001-77 with express", {"tracking_number": "QZ-1001-77", "service": "express"}),
        ("has the parcel AB-9087-10 been delivered yet", {"tracking_number": "AB-9087-10"}),
    ],
)
def track_parcel(
    tracking_number: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{4}-\d{2}$")],
    service: Literal["standard", "express"] | None = None,
) -> str:
    """Tell where a parcel is and when it will be delivered.

    Args:
        tracking_number: The number on the label.
        service: Which delivery service carries it.
    """
    return f"{tracking_number} {service}"


@tool(
    examples=[
        ("Text Maria that I'm running late", {"recipient": "Maria", "message": "I'm running late"}),
        (
            'send a message to Tom: "the keys are under the mat"',
            {"recipient": "Tom", "message": "the keys are under the mat"},
        ),
        (
            "let Dr. Weber know the report is ready, urgent",
            {"recipient": "Dr. Weber", "message": "the report is ready", "urgent": True},
        ),
    ],
)
def send_message(recipient: str, message: str, urgent: bool = False) -> str:
    """Send a short text message to somebody.

    Args:
        recipient: Who gets it.
        message: What it says.
        urgent: Mark it as urgent.
    """
    return f"{recipient}: {message} {urgent}"


@tool(
    side_effects="none",
    examples=[
        ("What's the weather in Lisbon?", {"city": "Lisbon"}),
        ("5 day forecast for Helsinki", {"city": "Helsinki", "days": 5}),
        (
            "will it rain in Cardiff over the next three days, in fahrenheit",
            {"city": "Cardiff", "days": 3, "units": "fahrenheit"},
        ),
    ],
)
def weather_forecast(
    city: str, days: Annotated[int, Field(ge=1, le=14)] = 1, units: Literal["celsius", "fahrenheit"] = "celsius"
) -> str:
    """Forecast the weather for a city.

    Args:
        city: The city.
        days: How many days ahead.
        units: Unit of temperature.
    """
    return f"{city} {days} {units}"


@tool()
def add_reminder(task: str, day: date, time: str | None = None) -> str:
    """Add a reminder to do something on a day.

    Args:
        task: What to be reminded of.
        day: The day.
        time: Time of day, HH:MM.
    """
    return f"{task} {day} {time}"
