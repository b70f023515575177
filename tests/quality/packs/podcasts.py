"""Invented tools of a podcast player. They play nothing and do nothing."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from podium.tools import tool


@tool(side_effects="none")
def search_podcasts(
    topic: str,
    language: Literal["english", "french", "german", "spanish"] | None = None,
    max_minutes: int | None = None,
) -> str:
    """Search the catalogue for podcasts about a topic.

    Args:
        topic: What the podcast should be about.
        language: Language that is spoken in it.
        max_minutes: Longest length of an episode in minutes.
    """
    return f"{topic} {language} {max_minutes}"


@tool(side_effects="none")
def list_episodes(show: str, since: date | None = None, limit: Annotated[int, Field(ge=1, le=100)] = 10) -> str:
    """List the episodes of one show, newest first.

    Args:
        show: Title of the show.
        since: Only episodes published on this day or later.
        limit: How many episodes to list at most.
    """
    return f"{show} {since} {limit}"


@tool()
def follow_show(show: str, auto_download: bool = False) -> str:
    """Subscribe to a show, so that its new episodes appear in the feed.

    Args:
        show: Title of the show.
        auto_download: Whether to download every new episode by itself.
    """
    return f"{show} {auto_download}"


@tool()
def unfollow_show(show: str, delete_downloads: bool = False) -> str:
    """End the subscription to a show.

    Args:
        show: Title of the show.
        delete_downloads: Whether to delete its downloaded episodes too.
    """
    return f"{show} {delete_downloads}"


@tool()
def play_episode(show: str, number: int | None = None, speed: Annotated[float, Field(ge=0.5, le=3)] = 1.0) -> str:
    """Start playing an episode of a show now.

    Args:
        show: Title of the show.
        number: Number of the episode; the newest one when left out.
        speed: Playback speed, 1 is normal.
    """
    return f"{show} {number} {speed}"


@tool()
def queue_episode(show: str, number: int, place: Literal["next", "last"] = "last") -> str:
    """Put an episode of a show in the queue, to be played later.

    Args:
        show: Title of the show.
        number: Number of the episode.
        place: Right after what is playing now, or at the end of the queue.
    """
    return f"{show} {number} {place}"


@tool(side_effects="idempotent")
def set_sleep_timer(minutes: Annotated[int, Field(ge=1, le=480)], fade_out: bool = False) -> str:
    """Stop the playback by itself after some time.

    Args:
        minutes: After how many minutes.
        fade_out: Whether to lower the volume slowly before the end.
    """
    return f"{minutes} {fade_out}"


@tool()
def make_playlist(name: str, shows: list[str], public: bool = False) -> str:
    """Make a playlist of the newest episodes of several shows.

    Args:
        name: Name of the new playlist.
        shows: Titles of the shows.
        public: Whether other people can see it.
    """
    return f"{name} {shows} {public}"
