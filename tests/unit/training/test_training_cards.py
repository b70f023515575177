"""Files of cards: what they may say, and what is refused in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from training.cards import CardError, Domain, load_domain, load_domains
from training.check import main as check
from training.pools import POOLS

GOOD = """
[[tool]]
names = ["find_table", "look_for_table"]
says = ["Find a free table.", "Look for a table."]
args = [
  "city|town: text @city = where",
  "guests: integer 2..8 = how many people",
  "seating?: enum indoors(inside;in the warm) on_terrace = where to sit",
  "vegan?: boolean yes(vegan please) = vegan menu",
  "dishes?: list text = what to eat",
  "address.street?: text = street",
]
values.dishes = ["soup", "bread"]
values."address.street" = ["Elm Road"]
requests = ["a table in {city} for {guests}[, {seating}]", "{guests} in {city}"]
partial = ["a table in {city}"]
twice = ["{guests} people in {city#1} and in {city#2}"]
returns = ["table: code", "fee: number 0..30 = the fee"]
answers = ["It is {table} in {city}."]

[[tool]]
names = ["book_table"]
says = ["Book a table."]
args = ["code: code = of the table", "name: text @person = for whom"]
requests = ["book {code} for {name}"]

[none]
requests = ["what is a bistro?"]

[[chain]]
first = "find_table"
second = "book_table"
link = "code=table"
requests = ["find {first.guests} in {first.city} and book it for {second.name}"]
"""


def loaded(folder: Path, text: str) -> Domain:
    path = folder / "places.toml"
    path.write_text(text, encoding="utf-8")
    return load_domain(path)


def test_a_good_file_is_read_whole(tmp_path: Path) -> None:
    domain = loaded(tmp_path, GOOD)
    find, book = domain.cards
    assert (domain.name, find.name, book.name) == ("places", "find_table", "book_table")
    assert domain.none == ("what is a bistro?",)
    arguments = {argument.name: argument for argument in find.arguments}
    assert list(arguments) == ["city", "guests", "seating", "vegan", "dishes", "address.street"]
    assert arguments["city"].names == ("city", "town")
    assert arguments["city"].values == POOLS["city"]
    assert arguments["city"].about == "where"
    assert (arguments["guests"].low, arguments["guests"].high) == (2, 8)
    assert arguments["seating"].options == {"indoors": ("inside", "in the warm"), "on_terrace": ("on terrace",)}
    assert arguments["vegan"].options == {"yes": ("vegan please",)}
    assert [name for name, argument in arguments.items() if argument.required] == ["city", "guests"]
    assert [(field.name, field.kind) for field in find.returns] == [("table", "code"), ("fee", "number")]
    (chain,) = domain.chains
    assert (chain.first, chain.second, chain.argument, chain.result) == ("find_table", "book_table", "code", "table")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[[tool]]", "[[tool]", "places: "),
        ('"find_table", "look', '"Find table", "look', "names must be snake_case"),
        ('says = ["Book a table."]', "", "needs says and requests"),
        ('requests = ["book {code} for {name}"]', "", "needs says and requests"),
        ('"guests: integer 2..8 = how many people"', '"guests integer"', "cannot read the argument 'guests integer'"),
        ("guests: integer 2..8", "guests: whole 2..8", "unknown type 'whole'"),
        ("boolean yes(vegan please)", "boolean maybe(vegan please)", "a boolean takes yes(...) and no(...)"),
        ("enum indoors(inside;in the warm) on_terrace", "enum indoors", "no options in"),
        ("text @city", "text @town", "unknown pool @town"),
        ('values.dishes = ["soup", "bread"]', "", "values.dishes is missing"),
        ('"{guests} in {city}"', '"{guests} in {village}"', "uses unknown ['village']"),
        ('"{guests} in {city}"', '"in {city}[ for {guests}]"', "lacks the required ['guests']"),
        ('"{guests} in {city}"', '"(some|{guests} in {city}"', "unbalanced ()"),
        ('partial = ["a table in {city}"]', 'partial = ["a table on {day}"]', "uses unknown ['day']"),
        ("in {city#1} and in {city#2}", "in {city}", "needs {arg#1} and {arg#2}"),
        ("It is {table}", "It is {number}", "uses unknown ['number']"),
        ('first = "find_table"', 'first = "find_chair"', "no tool 'find_chair'"),
        ('link = "code=table"', 'link = "number=table"', "book_table has no argument 'number'"),
        ('link = "code=table"', 'link = "code"', "find_table returns no 'code'"),
        ("book it for {second.name}", "book it for {third.name}", "uses unknown 'third.name'"),
        (" and book it for {second.name}", "", "lacks the required second.name"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place_and_reason(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(CardError) as refused:
        loaded(tmp_path, GOOD.replace(old, new, 1))
    assert str(refused.value).startswith("places")
    assert complaint in str(refused.value)


def test_the_checker_counts_wrong_files_and_shows_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, wrong = tmp_path / "good.toml", tmp_path / "wrong.toml"
    good.write_text(GOOD, encoding="utf-8")
    wrong.write_text(GOOD.replace("{city}", "{village}"), encoding="utf-8")
    assert check([str(good), str(wrong)]) == 1
    told = capsys.readouterr().out
    assert "good: {'tools': 2, 'none': 1, 'chains': 1, 'requests': 3}" in told
    assert "WRONG wrong.find_table: " in told


def test_all_real_cards_are_good_and_many(domains: Sequence[Domain]) -> None:
    assert [domain.name for domain in domains] == sorted(domain.name for domain in domains)
    assert len(domains) >= 60
    assert sum(len(domain.cards) for domain in domains) >= 900
    for domain in domains:
        assert len(domain.cards) >= 11, domain.name
        assert len(domain.none) >= 25, domain.name


def test_domains_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.toml").write_text(GOOD, encoding="utf-8")
    assert [domain.name for domain in load_domains(tmp_path)] == ["a", "b", "c"]
