"""Guises: every use of a card is a tool with a valid schema that keeps what a call must have."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from podium.inference.planner.parameters import parameters_of
from training.cards import Card, Domain
from training.guises import Guise, guise_of


@pytest.fixture(scope="module")
def guises(domains: Sequence[Domain]) -> Sequence[Guise]:
    """A guise of every fifth card."""
    rng = random.Random(2)
    cards = [card for domain in domains for card in domain.cards][::5]
    return [guise_of(card, rng) for card in cards]


def leaves(schema: Mapping[str, Any], prefix: str = "", required: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield the dotted names of a schema's values, and whether a call must have them."""
    for name, part in schema["properties"].items():
        must = required and name in schema["required"]
        if part.get("type") == "object":
            yield from leaves(part, f"{prefix}{name}.", must)
        else:
            yield prefix + name, must


def test_schemas_are_valid(guises: Sequence[Guise]) -> None:
    for guise in guises:
        Draft202012Validator.check_schema(dict(guise.spec.input_schema))
        if guise.spec.output_schema:
            Draft202012Validator.check_schema(dict(guise.spec.output_schema))


def test_every_argument_has_one_place_and_required_ones_stay_required(guises: Sequence[Guise]) -> None:
    for guise in guises:
        by_name = dict(leaves(guise.spec.input_schema))
        assert sorted(by_name) == sorted(guise.names.values())
        for argument in guise.card.arguments:
            if argument.required:
                assert by_name[guise.names[argument.name]], (guise.spec.name, argument.name)
            elif argument.name in guise.names and "." not in guise.names[argument.name]:
                assert not by_name[guise.names[argument.name]], (guise.spec.name, argument.name)


def test_what_is_shown_has_the_names_that_calls_use(guises: Sequence[Guise]) -> None:
    for guise in guises:
        assert sorted(parameter.name for parameter in parameters_of(guise.spec)) == sorted(guise.names.values())


def test_a_card_takes_many_guises(domains: Sequence[Domain]) -> None:
    card = max((card for domain in domains for card in domain.cards), key=lambda card: len(card.arguments))
    made = [guise_of(card, random.Random(seed)) for seed in range(60)]
    assert {guise.spec.name for guise in made} > set(card.names)  # and nonsense names
    assert {guise.spec.description for guise in made} == set(card.says)
    assert len({tuple(guise.names.values()) for guise in made}) > 5
    assert any(_told(guise.spec.input_schema) for guise in made)
    assert not all(_told(guise.spec.input_schema) for guise in made)


def _told(schema: Mapping[str, Any]) -> bool:
    return any("description" in part for part in schema["properties"].values())


def test_a_card_without_arguments_is_a_tool_without_arguments() -> None:
    card = Card("field", ("say_hello",), ("Say hello.",), (), ("hello",))
    guise = guise_of(card, random.Random(0))
    assert guise.spec.input_schema["properties"] == {}
    assert guise.names == {}
