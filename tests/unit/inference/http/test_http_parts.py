"""Server-sent events, keys, waiting times, zones."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from pathlib import Path

import pytest

from podium.errors import DeadlineExceeded, FailedPrecondition, PodiumError, Unavailable
from podium.inference.http import ApiKeySource, EgressPolicy, HttpEndpoint
from podium.inference.http.egress import Zone, zone_of_host
from podium.inference.http.http_errors import Upstream, fault_of, retry_after_of
from podium.inference.http.sse import EventTooLong, ServerEvent, ServerEventParser
from podium.inference.http.turn_clock import TurnClock, TurnLimits

STREAM = (
    b"\xef\xbb\xbf: comment\r\n\r\nevent: a\r\ndata: one\r\n\r\ndata:two\ndata:  three\n\nid: 7\nretry: 5\ndata\r\r"
    b"event: nothing\n\ndata: four\n"
)
EVENTS = [ServerEvent("a", b"one"), ServerEvent("", b"two\n three"), ServerEvent("", b""), ServerEvent("", b"four")]


def parse(*chunks: bytes) -> list[ServerEvent]:
    parser = ServerEventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_events_do_not_depend_on_chunks(at: int) -> None:
    """All three line ends, comments, several data lines, fields nobody asked for: split anywhere."""
    assert parse(STREAM[:at], STREAM[at:]) == EVENTS


def test_events_byte_by_byte() -> None:
    """The smallest chunks there are."""
    assert parse(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


def test_a_line_that_was_cut_is_dropped_but_for_the_end_marker() -> None:
    """Half an event is none; servers often omit what follows their end marker."""
    assert parse(b'data: {"a": 1}') == []
    assert parse(b'data: {"a": 1}\n') == [ServerEvent("", b'{"a": 1}')]
    assert parse(b"data: [DONE]") == [ServerEvent("", b"[DONE]")]


@pytest.mark.parametrize("chunks", [[b"data: " + b"x" * 200], [b"x" * 50] * 9, [b"data: " + b"x" * 60 + b"\n"] * 3])
def test_events_are_bounded(chunks: list[bytes]) -> None:
    """One long line, one that grows, many lines of one event."""
    parser = ServerEventParser(most_bytes=150)
    with pytest.raises(EventTooLong):
        list(map(parser.feed, chunks))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "12"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "12"}, 12.0),
        ({"retry-after": formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "1e300"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    """Milliseconds, seconds and dates; bounded, and none when it makes no sense."""
    assert retry_after_of(headers, now=1_000_000.0) == expected


def test_error_bodies_of_any_shape_are_read() -> None:
    """What is no error object is still an error."""
    for body in (b"", b"null", b"[]", b"<html>", b'{"error": null}', b'{"error": 5}', b'{"error": {"message": 5}}'):
        assert isinstance(fault_of(500, body).to_domain(Upstream("m", "KEY")), Unavailable)


def test_a_key_is_stripped_and_never_shown(tmp_path: Path) -> None:
    """Neither by the source nor by the endpoint that has it."""
    source = ApiKeySource.from_env("SOME_KEY", environ={"SOME_KEY": " sk-secret \n"})
    endpoint = HttpEndpoint("m", "https://example.com/v1", policy=EgressPolicy(), key=source)
    assert "sk-secret" not in f"{source!r}{source}{endpoint!r}{endpoint.upstream}"
    assert "SOME_KEY" in repr(source)
    assert str(tmp_path) not in repr(ApiKeySource.from_file(tmp_path / "key"))


async def test_a_key_is_read_at_use(tmp_path: Path) -> None:
    """From the environment as it is then, from the file as it is then."""
    environ = {"SOME_KEY": "one"}
    source = ApiKeySource.from_env("SOME_KEY", environ=environ)
    assert await source.read() == "one"
    environ["SOME_KEY"] = "two"
    assert await source.read() == "two"
    file = tmp_path / "key"
    file.write_text("\tabc\n")
    from_file = ApiKeySource.from_file(file)
    assert await from_file.read() == "abc"
    replacement = tmp_path / "new"
    replacement.write_text("\txyz\n")  # as long as the old one: a rename is how mounted secrets change
    replacement.rename(file)
    assert await from_file.read() == "xyz"
    file.unlink()
    with pytest.raises(FailedPrecondition, match="api_key_file") as caught:
        await from_file.read()
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("value", ["", "  ", "two words", "líne", "a\r\nx-evil: 1", "\x00"])
async def test_what_cannot_be_a_key_is_refused(value: str) -> None:
    """Nor can it smuggle in a header."""
    with pytest.raises(FailedPrecondition) as caught:
        await ApiKeySource.from_env("SOME_KEY", environ={"SOME_KEY": value}).read()
    assert not value.strip() or value not in caught.value.message


@pytest.mark.parametrize(
    ("host", "zone"),
    [
        ("localhost", Zone.LOOPBACK),
        ("LOCALHOST.", Zone.LOOPBACK),
        ("x.localhost", Zone.LOOPBACK),
        ("127.9.9.9", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("::ffff:8.8.8.8", Zone.PUBLIC),
        ("::ffff:10.0.0.1", Zone.PRIVATE),
        ("0.0.0.0", Zone.PRIVATE),
        ("169.254.169.254", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fe80::1%eth0", Zone.PRIVATE),
        ("8.8.8.8", Zone.PUBLIC),
        ("2606:4700::1", Zone.PUBLIC),
        ("example.com", None),
        ("localhost.example.com", None),
        ("127.1", None),
    ],
)
def test_zones(host: str, zone: Zone | None) -> None:
    """By the name or the literal address alone."""
    assert zone_of_host(host) == zone


@pytest.mark.parametrize("host", ["api.openai.com", "API.OPENAI.COM.", "api.anthropic.com", "me.openai.azure.com"])
def test_vendors_need_the_cloud_setting(host: str) -> None:
    """Before their names are looked up; the other setting does not do."""
    with pytest.raises(FailedPrecondition, match="CLOUD_LLM_ENABLED"):
        EgressPolicy(remote_enabled=True).check_host(host)
    assert EgressPolicy(cloud_enabled=True).check_host(host) is Zone.PUBLIC


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "127.0.0.1:8000",
        "http://",
        "http://user:pw@x/v1",
        "http://x/v1?key=1",
        "http://x/v1#f",
        "http://x:99999/v1",
        "unix:relative",
    ],
)
def test_malformed_urls_are_refused(url: str) -> None:
    """At once, without repeating a password."""
    with pytest.raises(ValueError, match=r".") as caught:
        HttpEndpoint("m", url, policy=EgressPolicy())
    assert "pw" not in str(caught.value)


def test_the_end_of_a_turn_is_told_from_a_stall_on_uvloop() -> None:
    """Its timers go off up to a millisecond early, when its clock does not show the end yet."""
    uvloop = pytest.importorskip("uvloop")
    limits = TurnLimits(total=0.0055, first_event=10.0)

    async def errors() -> set[type[BaseException]]:
        found: set[type[BaseException]] = set()
        for _ in range(20):
            with pytest.raises(PodiumError) as caught:
                await TurnClock(limits, "m").wait(asyncio.sleep(5))
            found.add(caught.type)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(errors()) == {DeadlineExceeded}
