"""`text_statistics`, and text told from binary data."""

from __future__ import annotations

import time

import pytest

from podium.packs.core._texts import decoded
from podium.packs.core.text import text_statistics, text_tools, unquoted


def test_counts() -> None:
    made = text_statistics("It's a test. Is it? Yes it is!\n\nA second paragraph\nwith two lines")
    assert (made.words, made.unique_words, made.sentences, made.lines, made.paragraphs) == (14, 11, 4, 4, 2)
    assert (made.characters, made.characters_without_spaces) == (65, 51)
    assert made.average_word_length == pytest.approx(3.43)


def test_nothing_counts_as_nothing() -> None:
    made = text_statistics("")
    assert (made.characters, made.words, made.sentences, made.lines, made.paragraphs) == (0, 0, 0, 0, 0)
    assert made.average_word_length == 0


@pytest.mark.parametrize(
    ("text", "words", "sentences"),
    [
        ("well-known don’t", 2, 1),  # noqa: RUF001
        ("3.14 is pi.", 4, 1),
        ("Wait... what?", 2, 2),
        ("...", 0, 1),
        ("no end", 2, 1),
        ("Über straße 東京", 3, 1),
    ],
)
def test_words_and_sentences(text: str, words: int, sentences: int) -> None:
    made = text_statistics(text)
    assert (made.words, made.sentences) == (words, sentences)


def test_takes_time_in_proportion_to_the_text() -> None:
    for text in ("." * 199_999 + "x", "\n " * 99_999 + "x", "-" * 200_000, "a-" * 100_000, "'a" * 100_000):
        started = time.process_time()
        text_statistics(text)
        assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ('"hello world"', "hello world"),
        ("“hello”", "hello"),
        ("'hello'", "hello"),
        ("  plain  ", "plain"),
        ('"a" and "b"', '"a" and "b"'),
        ('"', '"'),
        ("don't", "don't"),
    ],
)
def test_quotation_marks_around_it_are_dropped(given: str, canonical: str) -> None:
    assert unquoted(given) == canonical
    assert text_tools()[0].arguments.normalise({"text": given}) == {"text": canonical}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"plain", "plain"),
        ("grün".encode(), "grün"),
        ("grün".encode("utf-8-sig"), "grün"),
        ("grün".encode("utf-16"), "grün"),
        ("grün".encode("cp1252"), "grün"),
        (b"\x00\x01", None),
        (b"\x89PNG\r\n\x1a\n\x00\x00", None),
        (b"\xff\xfe\x00", None),
        (bytes(range(1, 32)) * 4, None),
        (bytes(range(128, 256)), None),
    ],
)
def test_text_is_told_from_binary(data: bytes, text: str | None) -> None:
    assert decoded(data) == text


def test_a_character_cut_in_two_is_left_out() -> None:
    assert decoded("grü".encode()[:-1], whole=False) == "gr"
