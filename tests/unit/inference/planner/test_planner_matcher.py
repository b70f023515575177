"""How well requests suit tools, by their words."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from planner_fakes import asked, spec

from podium.inference.guided.vectors import WordVectors
from podium.inference.model_store import ModelStore
from podium.inference.planner.matcher import FIELDS, KINDS, MATCHER_FILE, Matcher, request_words, tool_words
from quality.core_pack import core_specs

TEXT = {"type": "string"}
WORDS = ("weather", "rain", "city", "book", "table", "restaurant", "tell", "send", "message", "forecast", "seat")
WIDTH = 160
TOOL = spec(
    {
        "city": {"type": "string", "description": "Where to look."},
        "day": {"type": "string", "format": "date"},
        "sky": {"enum": ["clear_sky", "rain"]},
    },
    ("will it rain in Rome tomorrow", {"city": "Rome", "day": "2026-11-22", "sky": "rain"}),
    name="get_weather",
    description="Tell the weather. It is a forecast.",
)
TOOLS = (TOOL, spec({"place": TEXT}, name="book_table", description="Book a table in a restaurant."))


def invented() -> WordVectors:
    """Return vectors of a few words, always the same."""
    rng = np.random.default_rng(7)
    return WordVectors(WORDS, rng.standard_normal((len(WORDS), WIDTH)).astype(np.float32))


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    """Return the embedded model's vectors; nothing is pulled for them."""
    stored = next((model.path / "model.vectors.npz" for model in ModelStore().list()), None)
    if stored is None or not stored.is_file():
        pytest.skip("no model was pulled")
    return WordVectors.load(stored)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Will it rain tomorrow?", ("will", "it", "rain", "<date>")),
        ("three tickets for 20 km", ("<number>", "tickets", "for", "<number>", "<unit>")),
        ("read notes.txt and https://a.example/x", ("read", "<path>", "and", "<url>")),
        ("", ()),
        ("?! ...", ()),
    ],
)
def test_a_requests_words(text: str, words: tuple[str, ...]) -> None:
    """Lower case and in order; typed spans are words of their kind."""
    found = request_words(asked(text))
    assert found.texts == words
    assert len(found.stems) == len(words)
    assert found.fields == ()


def test_what_a_name_says_counts_as_words_too() -> None:
    """A name in a request may be the tool's own; and there is an end to it."""
    found = request_words(asked('please run "Reset Password" now'))
    assert [text for text in found.texts if text in {"<quoted>", "reset", "password"}] == [
        "<quoted>",
        "reset",
        "password",
    ]
    assert len(request_words(asked("word " * 500)).texts) == 48


def test_forms_of_a_word_share_a_stem() -> None:
    assert request_words(asked("converting")).stems == request_words(asked("converts")).stems


def test_a_tools_words() -> None:
    """Each with its field; the values of an example are none of its words."""
    found = tool_words(TOOL)
    by_field = {
        name: [text for text, field in zip(found.texts, found.fields, strict=True) if FIELDS[field] == name]
        for name in FIELDS
    }
    assert by_field == {
        "name": ["get", "weather"],
        "summary": ["tell", "the", "weather"],
        "detail": ["it", "is", "a", "forecast", "where", "to", "look"],
        "argument": ["city", "day", "sky"],
        "option": ["clear", "sky", "rain"],
        "example": ["will", "it", "in", "tomorrow"],
        "kind": ["<name>", "<date>", "<enum>"],
    }
    many = spec({f"argument_{n}_{'x' * n}": TEXT for n in range(1, 200)})
    assert len(tool_words(many).texts) == 120


def test_every_kind_that_words_may_have_is_known() -> None:
    """A kind without parameters would be an error in the middle of a turn."""
    text = (
        "on 5 May at 6 pm, 3 km, 4.5 * 2, https://a.example, a@b.example, notes.txt, *.md, `code`, 'quoted', "
        "AB123, Europe/Paris, New York, yes, <end> <foo>"
    )
    schemas = [{"type": kind} for kind in ("string", "number", "integer", "boolean", "object", "array")]
    schemas += [{"type": "string", "format": form} for form in ("date", "time", "date-time", "uri", "email")]
    tools = [spec({"x": schema}, name=f"tool_{n}") for n, schema in enumerate(schemas)]
    match = Matcher.load(MATCHER_FILE, invented()).prepared(tools)
    assert all(np.isfinite(list(match(asked(text)).values())))
    typed = [word for word in request_words(asked(text)).texts if word.startswith("<")]
    assert set(typed) <= {f"<{kind}>" for kind in KINDS}


def stored(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """Write the shipped parameters with a change."""
    with np.load(MATCHER_FILE) as shipped:
        held = {name: shipped[name] for name in shipped.files}
    change(held)
    np.savez(path, **held)
    return path


def test_the_shipped_parameters_are_read(tmp_path: Path) -> None:
    same = stored(tmp_path / "same.npz", lambda held: None)
    first, second = (Matcher.load(path, invented()).prepared(TOOLS) for path in (MATCHER_FILE, same))
    request = asked("will it rain in Rome")
    assert first(request) == second(request)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04 cut off", MATCHER_FILE.read_bytes()[:5000]], ids=lambda c: str(len(c))
)
def test_a_broken_file_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        Matcher.load(broken, invented())


def test_a_damaged_file_is_a_value_error(tmp_path: Path) -> None:
    """Whole by its directory, and not by its sums."""
    damaged = bytearray(MATCHER_FILE.read_bytes())
    damaged[2000:2100] = bytes(100)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match="no matcher, or it is damaged"):
        Matcher.load(tmp_path / "damaged.npz", invented())


def test_other_files_are_value_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("readme.txt", "nothing")
    np.savez(tmp_path / "pickled.npz", project=np.array([{}], dtype=object))
    for name in ("array.npy", "other.npz", "pickled.npz"):
        with pytest.raises(ValueError, match=r"\w"):
            Matcher.load(tmp_path / name, invented())
    with pytest.raises(OSError, match="none"):
        Matcher.load(tmp_path / "none.npz", invented())


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("join"),
        lambda held: held.update(more=np.zeros(3)),
        lambda held: held.update(kinds=held["kinds"][:-1]),
        lambda held: held.update(field_gain=np.ones(3)),
        lambda held: held.update(before=held["before"].T),
        lambda held: held.update(project=np.float32(1)),
        lambda held: held.pop("project"),
    ],
)
def test_parameters_of_another_kind_are_refused(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    """When they are read, not in the middle of a turn."""
    with pytest.raises(ValueError, match="no matcher for these vectors"):
        Matcher.load(stored(tmp_path / "changed.npz", change), invented())


def test_vectors_of_another_width_are_refused() -> None:
    narrow = WordVectors(["a"], np.ones((1, 8), dtype=np.float32))
    with pytest.raises(ValueError, match="no matcher for these vectors"):
        Matcher.load(MATCHER_FILE, narrow)


def test_vectors_of_another_model_are_told_by_its_digest() -> None:
    """Then there is no matcher, and planning goes on without."""
    assert Matcher.load(MATCHER_FILE, invented(), base_sha256="0" * 64) is None


def test_the_same_request_has_the_same_odds() -> None:
    """Whatever was asked before, and whatever other tools there are."""
    matcher = Matcher.load(MATCHER_FILE, invented())
    match, alone = matcher.prepared(TOOLS), matcher.prepared(TOOLS[:1])
    first = match(asked("weather tomorrow"))
    match(asked("book a table"))
    assert match(asked("weather tomorrow")) == first
    assert alone(asked("weather tomorrow")) == {"get_weather": first["get_weather"]}
    assert list(first) == ["get_weather", "book_table"]


@pytest.mark.parametrize("text", ["", "   ", "?!"])
def test_nothing_said(text: str) -> None:
    assert Matcher.load(MATCHER_FILE, invented()).prepared(TOOLS)(asked(text)) == {
        "get_weather": -10.0,
        "book_table": -10.0,
    }


def test_no_tools_and_no_known_word() -> None:
    """Unknown words are like nothing, and no reason to fail."""
    matcher = Matcher.load(MATCHER_FILE, invented())
    assert matcher.prepared([])(asked("weather")) == {}
    odds = matcher.prepared(TOOLS)(asked("qwrtz plmk vbnx"))
    assert all(np.isfinite(list(odds.values())))


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("multiply 31 by 8 and take away 5", "calculate"),
        ("what would 84 inches be in centimetres", "convert_units"),
        ("is it already midnight in Jakarta?", "current_time"),
        ("days separating 4 April 2027 and 19 June 2027", "days_between"),
        ('how many sentences does "It rained. We stayed in." have', "text_statistics"),
        ("list all the .yaml files", "find_files"),
        ("display the contents of invoice.txt", "read_file"),
        ("search the documents for the parking rules", "search_documents"),
        ("fetch https://example.com/prices.html", "http_get"),
        ("how much memory does this machine have left", "system_status"),
    ],
)
def test_the_shipped_tools_are_found(vectors: WordVectors, text: str, tool: str) -> None:
    specs = core_specs(lambda: datetime(2026, 11, 21, tzinfo=UTC))
    odds = Matcher.load(MATCHER_FILE, vectors).prepared(specs)(asked(text))
    assert max(odds, key=lambda name: odds[name]) == tool, odds


def test_two_hundred_tools(record_property: Callable[[str, object], None]) -> None:
    """What it costs is reported."""
    tools = [spec({"place": TEXT, "day": TEXT}, name=f"tool_{n}", description="Book a table.") for n in range(200)]
    match = Matcher.load(MATCHER_FILE, invented()).prepared(tools)
    request = asked("book a table in a restaurant for the weather of tomorrow, and send a message")
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        assert len(match(request)) == 200
        times.append(time.perf_counter() - begin)
    record_property("milliseconds", round(min(times) * 1e3, 1))
    print(f"200 tools: {min(times) * 1e3:.1f} ms")


@pytest.mark.parametrize("seed", [0, 1])
def test_training_computes_the_same(seed: int) -> None:
    """What is trained in PyTorch is what is computed here, parameter by parameter."""
    torch = pytest.importorskip("torch")
    from training.match import MatchNet, batch_of

    held, rng = invented(), np.random.default_rng(seed)
    net = MatchNet(WIDTH)
    with torch.no_grad():
        for parameter in net.parameters():  # nothing may hide behind a zero that training begins with
            parameter.add_(torch.from_numpy(rng.normal(0, 0.3, parameter.shape).astype(np.float32)))
    requests = [
        asked(text)
        for text in ("weather in Rome tomorrow", "book 2 seats, booking", "qwrtz", 'send "Table" to a@b.example')
    ]
    q, t = [request_words(request) for request in requests], [tool_words(tool) for tool in TOOLS]
    with torch.no_grad():
        wanted = net(batch_of(t, q, np.zeros((len(q), len(t)), dtype=np.float32), held)).numpy()
    matcher = Matcher({name: value.detach().numpy() for name, value in net.named_parameters()}, held)
    match = matcher.prepared(TOOLS)
    told = np.array([list(match(request).values()) for request in requests])
    assert np.ptp(told) > 0.01
    assert told == pytest.approx(wanted, abs=1e-3)
