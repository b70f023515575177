"""`current_time` and `days_between`: clocks and calendars, by the names that people use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field

from podium.packs.core._dates import DateReader
from podium.packs.core._zones import ZoneNames
from podium.tools import Tool, tool, tool_of

__all__ = ["CurrentTime", "DaysBetween", "calendar_tools"]

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class CurrentTime:
    """A moment in one time zone."""

    timezone: str
    iso: str
    local_time: str
    weekday: str
    utc_offset: str


@dataclass(frozen=True, slots=True)
class DaysBetween:
    """A number of days, and the same with its sign: negative when the end is before the start."""

    start_date: date
    end_date: date
    days: int
    signed_days: int


def calendar_tools(clock: Clock, *, day_first: bool = False) -> list[Tool]:
    """Return the tools of this module.

    Args:
        clock: gives the current time, with a time zone.
        day_first: whether 3/4/2026 is the third of April.
    """
    made = (tool_of(_current_time(clock)), tool_of(_days_between(clock, day_first=day_first)))
    return [one for one in made if one is not None]


def _current_time(clock: Clock) -> Callable[..., CurrentTime]:
    hints = {"format": "iana-timezone", "x-podium-kind": "timezone"}
    zone = Annotated[
        str, Field(min_length=1, max_length=80, json_schema_extra=hints), AfterValidator(ZoneNames().resolve)
    ]

    @tool(
        answer="In {timezone} it is {local_time} (UTC{utc_offset}).",
        side_effects="none",
        type="compute",
        examples=[
            ("What time is it in Berlin?", {"timezone": "Europe/Berlin"}),
            ("current time in Tokyo please", {"timezone": "Asia/Tokyo"}),
            ("what's the time in New York right now", {"timezone": "America/New_York"}),
            ("Tell me the time in India", {"timezone": "Asia/Kolkata"}),
            ("is it already morning in Sydney", {"timezone": "Australia/Sydney"}),
            ("what day is it in London", {"timezone": "Europe/London"}),
            ("I have to phone San Francisco, how late is it there?", {"timezone": "America/Los_Angeles"}),
            ("show the clock for Sao Paulo", {"timezone": "America/Sao_Paulo"}),
            ("time now in UTC", {"timezone": "UTC"}),
            ("what hour is it for my colleagues in Nairobi", {"timezone": "Africa/Nairobi"}),
        ],
    )
    def current_time(timezone: zone) -> CurrentTime:
        """Tell the current time, date and weekday in a city, country or time zone.

        Args:
            timezone: IANA time zone such as Europe/Berlin; a city, a country or an abbreviation is understood.
        """
        now = clock().astimezone(ZoneInfo(timezone)).replace(microsecond=0)
        offset = now.strftime("%z")
        return CurrentTime(
            timezone=timezone,
            iso=now.isoformat(),
            local_time=f"{now:%A}, {now.day} {now:%B %Y}, {now:%H:%M}",
            weekday=f"{now:%A}",
            utc_offset=f"{offset[:3]}:{offset[3:5]}",
        )

    return current_time


def _days_between(clock: Clock, *, day_first: bool) -> Callable[..., DaysBetween]:
    reader = DateReader(lambda: clock().date(), day_first=day_first)
    day = Annotated[date, BeforeValidator(reader.read), Field(json_schema_extra={"x-podium-kind": "date"})]

    @tool(
        answer="From {start_date} to {end_date} it is {days} days.",
        side_effects="none",
        type="compute",
        examples=[
            (
                "How many days are there between 2026-01-01 and 2026-03-15?",
                {"start_date": "2026-01-01", "end_date": "2026-03-15"},
            ),
            ("days from March 3, 2025 to April 10, 2025", {"start_date": "2025-03-03", "end_date": "2025-04-10"}),
            (
                "count the days from 1 May 2026 until 30 June 2026",
                {"start_date": "2026-05-01", "end_date": "2026-06-30"},
            ),
            (
                "how long is it from 24 December 2025 to 6 January 2026, in days",
                {"start_date": "2025-12-24", "end_date": "2026-01-06"},
            ),
            (
                "The project ran 2024-02-10 to 2024-11-30. How many days?",
                {"start_date": "2024-02-10", "end_date": "2024-11-30"},
            ),
            ("days between 7/4/2025 and 12/25/2025", {"start_date": "2025-07-04", "end_date": "2025-12-25"}),
            (
                "how many days passed since August 15, 2025 as of September 1, 2025",
                {"start_date": "2025-08-15", "end_date": "2025-09-01"},
            ),
            (
                "number of days separating 2023-06-01 from 2023-06-20",
                {"start_date": "2023-06-01", "end_date": "2023-06-20"},
            ),
            (
                "What is the gap in days from the 5th of February 2026 to the 9th of October 2026?",
                {"start_date": "2026-02-05", "end_date": "2026-10-09"},
            ),
            (
                "how many days until 31 October 2027 from 1 October 2027",
                {"start_date": "2027-10-01", "end_date": "2027-10-31"},
            ),
        ],
    )
    def days_between(start_date: day, end_date: day) -> DaysBetween:
        """Count the days between two dates.

        Args:
            start_date: The first date, as 2026-03-31; other common forms are understood (3/4/2026 is March 4).
            end_date: The second date, likewise.
        """
        signed = (end_date - start_date).days
        return DaysBetween(start_date, end_date, abs(signed), signed)

    return days_between
