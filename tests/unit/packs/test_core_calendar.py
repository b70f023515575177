"""`current_time` and `days_between`: places and dates by the names that people use."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._dates import DateReader
from podium.packs.core._zone_names import ABBREVIATIONS, CAPITALS, CITIES, MAIN_ZONES, REGIONS
from podium.packs.core._zones import ZoneNames
from podium.packs.core.calendar import calendar_tools

NOW = datetime(2026, 7, 15, 22, 30, 5, 999, tzinfo=UTC)  # a Wednesday
ZONES = ZoneNames()
TIME, DAYS = calendar_tools(lambda: NOW)


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("berlin time", "Europe/Berlin"),
        ("time in Berlin", "Europe/Berlin"),
        ("Berlin, Germany", "Europe/Berlin"),
        ("Germany", "Europe/Berlin"),
        ("Munich", "Europe/Berlin"),
        ("München", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("new_york", "America/New_York"),
        ("NYC", "America/New_York"),
        ("Washington, D.C.", "America/New_York"),
        ("San Francisco", "America/Los_Angeles"),
        ("Portland, Oregon", "America/Los_Angeles"),
        ("Paris, Texas", "America/Chicago"),
        ("Paris, France", "Europe/Paris"),
        ("California", "America/Los_Angeles"),
        ("Tokyo", "Asia/Tokyo"),
        ("Japan", "Asia/Tokyo"),
        ("Osaka", "Asia/Tokyo"),
        ("India", "Asia/Kolkata"),
        ("Mumbai", "Asia/Kolkata"),
        ("Beijing", "Asia/Shanghai"),
        ("China", "Asia/Shanghai"),
        ("São Paulo", "America/Sao_Paulo"),
        ("Brazil", "America/Sao_Paulo"),
        ("Zürich", "Europe/Zurich"),
        ("Kraków", "Europe/Warsaw"),
        ("Kiev", "Europe/Kyiv"),
        ("the UK", "Europe/London"),
        ("Scotland", "Europe/London"),
        ("Melbourne, Australia", "Australia/Melbourne"),
        ("Ho Chi Minh City", "Asia/Ho_Chi_Minh"),
        ("St. Petersburg", "Europe/Moscow"),
        ("Abu Dhabi", "Asia/Dubai"),
        ("South Africa", "Africa/Johannesburg"),
        ("Singapore", "Asia/Singapore"),
        ("Hong Kong", "Asia/Hong_Kong"),
        ("Iceland", "Atlantic/Reykjavik"),
        ("UTC", "UTC"),
        ("GMT", "UTC"),
        ("EST", "America/New_York"),
        ("PST", "America/Los_Angeles"),
        ("CET", "Europe/Paris"),
        ("Eastern time", "America/New_York"),
        ("utc+2", "Etc/GMT-2"),
        ("GMT-5", "Etc/GMT+5"),
        ("UTC+0", "UTC"),
    ],
)
def test_places_are_time_zones(written: str, zone: str) -> None:
    assert ZONES.resolve(written) == zone
    assert ZONES.resolve(zone) == zone


def test_every_entry_of_the_tables_is_a_real_zone() -> None:
    for table in (CITIES, REGIONS, ABBREVIATIONS, CAPITALS):
        for name, zone in table.items():
            ZoneInfo(zone)
            assert name in CAPITALS or ZONES.resolve(name), name
    for zone in (*MAIN_ZONES, *ZONES.known):
        assert ZONES.resolve(zone) == zone


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Europe/Berln", "nearest: .*Europe/Berlin"),
        ("Tokio", "nearest: .*Asia/Tokyo"),
        ("Atlantis Prime", "no time zone that is known"),
        ("USA", "several time zones; name a city there, or one of America/New_York, .*America/Los_Angeles"),
        ("Australia", "several time zones.*Australia/Sydney"),
        ("x" * 81, "at most 80 characters"),
        ("../../etc/passwd", "no time zone"),
        ("utc+15", "no time zone"),
        ("posix/Europe/Berlin", "no time zone"),
    ],
)
def test_unknown_and_ambiguous_places_are_refused_with_choices(written: str, said: str) -> None:
    with pytest.raises(ToolFailure, match=said) as caught:
        TIME.arguments.normalise({"timezone": written})
    assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS


def test_the_time_is_told_in_every_form() -> None:
    made = TIME.bind({"timezone": "Tokyo"})()
    assert (made.timezone, made.iso) == ("Asia/Tokyo", "2026-07-16T07:30:05+09:00")
    assert (made.local_time, made.weekday) == ("Thursday, 16 July 2026, 07:30", "Thursday")
    assert made.utc_offset == "+09:00"
    assert TIME.bind({"timezone": "UTC"})().utc_offset == "+00:00"
    assert TIME.bind({"timezone": "St. John's, Newfoundland"})().utc_offset == "-02:30"


def test_the_schema_says_what_it_wants() -> None:
    zone = TIME.spec.input_schema["properties"]["timezone"]
    assert (zone["format"], zone["x-podium-kind"]) == ("iana-timezone", "timezone")
    day = DAYS.spec.input_schema["properties"]["start_date"]
    assert (day["format"], day["x-podium-kind"]) == ("date", "date")


READER = DateReader(NOW.date)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("2026-03-31", "2026-03-31"),
        ("2026/3/1", "2026-03-01"),
        ("20260331", "2026-03-31"),
        ("2026-03-31T10:00:00Z", "2026-03-31"),
        ("March 3, 2025", "2025-03-03"),
        ("Mar 3 2025", "2025-03-03"),
        ("Sept. 5, 2024", "2024-09-05"),
        ("3 March 2025", "2025-03-03"),
        ("the 3rd of March 2025", "2025-03-03"),
        ("Monday, 3 March 2025", "2025-03-03"),
        ("on Tuesday March 4th, 2025", "2025-03-04"),
        ("2024 Jan 5", "2024-01-05"),
        ("03/04/2025", "2025-03-04"),
        ("25/12/2025", "2025-12-25"),
        ("12/25/2025", "2025-12-25"),
        ("3.4.2025", "2025-04-03"),
        ("3-4-2025", "2025-04-03"),
        ("12.25.2025", "2025-12-25"),
        ("3/4/25", "2025-03-04"),
        ("29 February 2024", "2024-02-29"),
        ("5 May", "2026-05-05"),
        ("today", "2026-07-15"),
        ("Tomorrow", "2026-07-16"),
        ("yesterday", "2026-07-14"),
        ("in 3 days", "2026-07-18"),
        ("two weeks ago", "2026-07-01"),
        ("10 days from now", "2026-07-25"),
        ("next Friday", "2026-07-17"),
        ("last Monday", "2026-07-13"),
        ("Wednesday", "2026-07-22"),
        ("Christmas", "2026-12-25"),
        ("new year's day", "2027-01-01"),
        ("Christmas Eve 2025", "2025-12-24"),
    ],
)
def test_dates_are_read(written: str, day: str) -> None:
    assert READER.read(written) == date.fromisoformat(day)
    assert READER.read(day) == date.fromisoformat(day)


def test_day_first_turns_the_rule_for_slashes_round() -> None:
    reader = DateReader(NOW.date, day_first=True)
    assert reader.read("3/4/2026") == date(2026, 4, 3)
    assert reader.read("12/25/2026") == date(2026, 12, 25)
    days = calendar_tools(lambda: NOW, day_first=True)[1]
    assert days.arguments.normalise({"start_date": "3/4/2026", "end_date": "4/4/2026"})["start_date"] == "2026-04-03"


@pytest.mark.parametrize("written", ["30 February 2025", "2026-13-01", "13/13/2025", "0/1/2025", "99999999 weeks ago"])
def test_days_that_do_not_exist_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a day of the calendar|no date that is understood"):
        READER.read(written)


@pytest.mark.parametrize("written", ["", "soon", "March", "2026", "the day", "5 Mayhem 2025", "2026 " * 50])
def test_what_is_no_date_is_refused(written: str) -> None:
    with pytest.raises(ToolFailure, match="write it as 2026-03-31") as caught:
        DAYS.arguments.normalise({"start_date": written, "end_date": "2026-01-01"})
    assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS


@pytest.mark.parametrize(
    ("start", "end", "days", "signed"),
    [
        ("2026-01-01", "2026-03-15", 73, 73),
        ("2026-03-15", "2026-01-01", 73, -73),
        ("2024-02-28", "2024-03-01", 2, 2),
        ("2026-03-28", "2026-03-30", 2, 2),  # over the change to summer time
        ("today", "today", 0, 0),
        ("today", "Christmas", 163, 163),
        ("0001-01-01", "9999-12-31", 3652058, 3652058),
    ],
)
def test_days_are_counted(start: str, end: str, days: int, signed: int) -> None:
    made = DAYS.bind({"start_date": start, "end_date": end})()
    assert (made.days, made.signed_days) == (days, signed)
