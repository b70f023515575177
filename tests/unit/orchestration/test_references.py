"""References to other calls' results: finding, following, filling, checking."""

from __future__ import annotations

import copy
import json
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration import reference_types
from podium.orchestration.reference_types import check_types
from podium.orchestration.references import (
    Reference,
    ReferenceProblem,
    References,
    fill,
    find_references,
    items,
    look_up,
    may_have_references,
)

_RESULT = {
    "items": [{"url": "http://a", "size": 3}, {"url": "http://b", "size": 4}],
    "none": None,
    "": {"a/b": 1, "m~n": 2},
    "0": "zero",
    "empty": [],
    "nothing": {},
    "text": "long " * 40,
    "yes": True,
}
_FROM = 'write {"$from": "<call id>", "path": "/<key>/<index>"}'
_EACH = 'write {"$each": {"from": "<call id>", "path": "/<key>"}}'

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab/~01-", max_size=3), inner, max_size=4),
    max_leaves=12,
)
_odd_json = st.recursive(
    st.none() | st.integers() | st.sampled_from(["c0_0", "/a", "", "a.b", "~", "#"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$from", "$each", "from", "path", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def _results(_: str) -> Any:
    return _RESULT


def _problem(do: Callable[[], object]) -> str:
    with pytest.raises(ReferenceProblem) as caught:
        do()
    assert str(caught.value) == caught.value.message
    return caught.value.message


class TestFinding:
    def test_references_at_any_depth(self) -> None:
        """In the order of the text, with the place of each."""
        arguments = {
            "a": {"$from": "c0_1", "path": "/items/0/url"},
            "b": [1, {"$from": "call_x"}, {"c/d": {"m~n": {"$from": "c2", "path": ""}}}],
            "e": {"$each": {"from": "c0_1", "path": "/items"}},
            "f": {"path": "/x", "from": "c9"},
        }
        found = find_references(arguments)
        assert found.plain == (
            Reference("c0_1", "/items/0/url", "/a"),
            Reference("call_x", "", "/b/1"),
            Reference("c2", "", "/b/2/c~1d/m~0n"),
        )
        assert found.each == Reference("c0_1", "/items", "/e")
        assert found.sources == ("c0_1", "call_x", "c2")

    @pytest.mark.parametrize(
        "arguments", [{}, {"a": 1}, {"a": '{"$from": "c0_1"}'}, {"a": ["$from", "$each"]}, [], "x", None]
    )
    def test_what_is_no_reference(self, arguments: Any) -> None:
        """A reference is an object; a string that holds one is text."""
        assert find_references(arguments) == References()

    def test_null_path_is_the_whole_result(self) -> None:
        """Models write null for what they leave out."""
        assert find_references({"a": {"$from": "c0", "path": None}}).plain == (Reference("c0", "", "/a"),)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (
                {"$from": "c0_1", "pth": "/x"},
                f'argument /a: a reference has the keys "$from" and "path" only, not "pth"; {_FROM}',
            ),
            (
                {"$from": 1},
                f'argument /a: "$from" must be the id of a call, not the number 1; {_FROM}',
            ),
            ({"$from": ""}, f'argument /a: "$from" must be the id of a call, not the string ""; {_FROM}'),
            ({"$from": "c0", "path": ["x"]}, f'argument /a: "path" must be a string, not a list of 1 item; {_FROM}'),
            (
                {"$from": "c0", "path": "$.items[0].url"},
                'argument /a: "path" is a JSON Pointer and starts with "/": write "/items/0/url", not "$.items[0].url"',
            ),
            (
                {"$from": "c0", "path": "items/0"},
                'argument /a: "path" is a JSON Pointer and starts with "/": write "/items/0", not "items/0"',
            ),
            (
                {"$from": "c0", "path": "#/items"},
                'argument /a: "path" is a JSON Pointer and starts with "/": write "/items", not "#/items"',
            ),
            (
                {"$from": "c0", "path": "$"},
                'argument /a: "path" "$" is no JSON Pointer: leave it out for the whole result',
            ),
            (
                {"$from": "c0", "path": "/a~b"},
                'argument /a: "path" "/a~b" has a lone "~": in a JSON Pointer "~" in a key is "~0", and "/" is "~1"',
            ),
            ({"$each": "c0_1"}, f'argument /a: "$each" needs an object, not the string "c0_1"; {_EACH}'),
            (
                {"$each": {"$from": "c0_1"}},
                f'argument /a: "$each" has the keys "from" and "path" only, not "$from"; {_EACH}',
            ),
            ({"$each": {"path": "/x"}}, f'argument /a: "from" is missing; {_EACH}'),
            (
                {"$each": {"from": None}},
                f'argument /a: "from" must be the id of a call, not null; {_EACH}',
            ),
            (
                {"$each": {"from": "c0"}, "$from": "c0"},
                f'argument /a: "$each" stands alone in its object, without "$from"; {_EACH}',
            ),
            (
                [{"$each": {"from": "c0"}}, {"$each": {"from": "c1"}}],
                'argument /a/1: a call may have one "$each", and argument /a/0 has one already; '
                "make several calls instead",
            ),
        ],
    )
    def test_what_was_meant_as_a_reference(self, value: Any, message: str) -> None:
        """The model is told what is wrong and what to write."""
        assert _problem(lambda: find_references({"a": value})) == message

    def test_very_deep_arguments(self) -> None:
        """Depth costs no stack."""
        value: Any = {"$from": "c0"}
        for _ in range(50_000):
            value = [value]
        assert len(find_references(value).plain[0].at) == 100_000

    @given(_odd_json)
    @settings(max_examples=300, deadline=None)
    def test_anything_else_is_never_raised(self, arguments: Any) -> None:
        """Whatever the model writes, it is found to be references or told why not; places are real."""
        try:
            found = find_references(arguments)
        except ReferenceProblem as problem:
            assert 0 < len(problem.message) < 600
            return
        for one in found.plain:
            assert look_up(arguments, one.at)["$from"] == one.source
        if found.each:
            assert look_up(arguments, found.each.at)["$each"]["from"] == found.each.source

    @given(_json | _odd_json)
    @settings(max_examples=200, deadline=None)
    def test_quick_look_never_overlooks(self, arguments: Any) -> None:
        """Arguments that it lets pass have no references, however they are spaced."""
        for text in (json.dumps(arguments).encode(), json.dumps(arguments, indent=1).encode()):
            if not may_have_references(text):
                assert find_references(arguments) == References()

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (b'{"a": {"$from": "c0"}}', True),
            (b'{"a":{"$each" :{"from":"c0"}}}', True),
            (b'{"a": "from c0, $5 each"}', False),
            (b'{"a": "{\\"$from\\": 1}"}', False),
        ],
    )
    def test_quick_look(self, text: bytes, *, expected: bool) -> None:
        """It parses nothing."""
        assert may_have_references(text) is expected


class TestLookUp:
    @pytest.mark.parametrize(
        ("pointer", "value"),
        [
            ("", _RESULT),
            ("/items/1/url", "http://b"),
            ("/none", None),
            ("//a~1b", 1),
            ("//m~0n", 2),
            ("/0", "zero"),
            ("/empty", []),
        ],
    )
    def test_finds(self, pointer: str, value: Any) -> None:
        """As RFC 6901 says."""
        assert look_up(_RESULT, pointer) == value

    @pytest.mark.parametrize(
        ("pointer", "message"),
        [
            ("/items/3/url", "no '/items/3/url': /items has 2 items"),
            ("/items/2", "no '/items/2': /items has 2 items"),
            ("/empty/0", "no '/empty/0': /empty is an empty list"),
            (
                "/items/url",
                "no '/items/url': /items is a list of 2 items, and \"url\" is no index (the first is '/items/0')",
            ),
            (
                "/items/-",
                "no '/items/-': /items is a list of 2 items, and \"-\" is no index (the first is '/items/0')",
            ),
            (
                "/items/01",
                "no '/items/01': /items is a list of 2 items, and \"01\" is no index (the first is '/items/0')",
            ),
            (
                "/items/\u0663",
                "no '/items/\u0663': /items is a list of 2 items, and \"\u0663\" is no index (the first is '/items/0')",
            ),
            ("/items/0/link", "no '/items/0/link': /items/0 has the keys 'url', 'size'"),
            ("//c", "no '//c': / has the keys 'a/b', 'm~n'"),
            ("/nothing/x", "no '/nothing/x': /nothing is an empty object"),
            ("/none/x", "no '/none/x': /none is null"),
            ("/yes/x", "no '/yes/x': /yes is true"),
            ("/items/0/size/x", "no '/items/0/size/x': /items/0/size is the number 3"),
            ("/text/x", f"no '/text/x': /text is the string \"{('long ' * 40)[:57]}...\""),
            (
                "/x",
                "no '/x': the result has the keys 'items', 'none', '', '0', 'empty', 'nothing', 'text', 'yes'",
            ),
            ("x", '"path" is a JSON Pointer and starts with "/": write "/x", not "x"'),
        ],
    )
    def test_says_what_is_there_instead(self, pointer: str, message: str) -> None:
        """The first step that does not exist, and what could have followed."""
        assert _problem(lambda: look_up(_RESULT, pointer)) == message

    def test_messages_stay_short(self) -> None:
        """However large the result or the path."""
        wide = {f"key {index} {'x' * 100}": index for index in range(1_000)}
        message = _problem(lambda: look_up(wide, "/" + "y" * 10_000))
        assert message.endswith("and 992 more")
        assert len(message) < 700
        assert _problem(lambda: look_up([1], "/" + "9" * 10_000)).endswith("the result has 1 item")

    @given(_json, st.lists(st.sampled_from(["a", "b", "/", "~", "~1", "0", "1", "-", "00", ""]), max_size=4))
    @settings(max_examples=300, deadline=None)
    def test_agrees_with_a_plain_model(self, value: Any, steps: list[str]) -> None:
        """Every place of a value is found by its pointer, and nothing else is."""
        places = dict(_places(value))
        for known, expected in places.items():
            assert look_up(value, _pointer(known)) is expected
        if tuple(steps) not in places:
            with pytest.raises(ReferenceProblem):
                look_up(value, _pointer(tuple(steps)))


def _places(value: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(at, value), *[place for key, one in inner for place in _places(one, (*at, str(key)))]]


def _pointer(steps: tuple[str, ...]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


class TestFilling:
    @given(value=_json, rest=_json)
    @settings(max_examples=150, deadline=None)
    def test_values_keep_their_types_and_are_not_copied(self, value: Any, rest: Any) -> None:
        """Whatever JSON a result is; neither it nor the arguments change."""
        arguments = {
            "whole": {"$from": "c0_0"},
            "list": [rest, {"$from": "c0_0", "path": "/v"}, {"deep/er": {"$from": "c0_0", "path": "/v"}}],
            "each": {"in": {"$each": {"from": "c0_0"}}},
            "rest": rest,
        }
        result = {"v": value}
        before = copy.deepcopy((arguments, result))
        filled = fill(arguments, find_references(arguments), lambda _: result, item=value)
        expected = {
            "whole": result,
            "list": [rest, value, {"deep/er": value}],
            "each": {"in": value},
            "rest": rest,
        }
        assert orjson.dumps(filled) == orjson.dumps(expected)
        assert filled["whole"] is result
        assert filled["list"][1] is value
        assert filled["rest"] is rest
        assert (arguments, result) == before

    def test_calls_are_asked_for_by_the_name_that_the_model_used(self) -> None:
        """What it means is for the caller to know."""
        arguments = {"a": {"$from": "c1"}, "b": {"$from": "own", "path": "/x"}}
        results = {"c1": [1], "own": {"x": 2}}
        assert fill(arguments, find_references(arguments), results.__getitem__) == {"a": [1], "b": 2}

    def test_arguments_without_references_stay_the_same_object(self) -> None:
        """There is nothing to copy."""
        arguments = {"a": [1]}
        assert fill(arguments, References(), _results) is arguments

    def test_missing_value_names_place_and_source(self) -> None:
        """The model can find what to mend."""
        arguments = {"url": {"$from": "c0_1", "path": "/items/3/url"}}
        message = _problem(lambda: fill(arguments, find_references(arguments), _results))
        assert message == "argument /url: c0_1 has no '/items/3/url': /items has 2 items"

    def test_all_arguments_at_once(self) -> None:
        """A reference may stand for the arguments as a whole, when it leads to an object."""
        found = find_references({"$from": "c0_1", "path": "/items/0"})
        assert fill(None, found, _results) is _RESULT["items"][0]  # type: ignore[index]
        found = find_references({"$from": "c0_1", "path": "/items"})
        message = "the arguments: must be an object; '/items' of c0_1 is a list of 2 items"
        assert _problem(lambda: fill(None, found, _results)) == message
        found = find_references({"$each": {"from": "c0_1", "path": "/items"}})
        assert fill(None, found, _results, item={"x": 1}) == {"x": 1}
        message = "the arguments: must be an object; an item of '/items' of c0_1 is the number 1"
        assert _problem(lambda: fill(None, found, _results, item=1)) == message

    def test_item_may_be_null_but_not_left_out(self) -> None:
        """To forget the item is the programmer's mistake, not the model's."""
        arguments = {"a": {"$each": {"from": "c0_1"}}}
        found = find_references(arguments)
        assert fill(arguments, found, _results, item=None) == {"a": None}
        with pytest.raises(ValueError, match="need an item"):
            fill(arguments, found, _results)


class TestItems:
    def _items(self, path: str, most: int = 10) -> list[Any]:
        return items(find_references({"a": {"$each": {"from": "c0_1", "path": path}}}), _results, most=most)

    def test_list(self) -> None:
        """Up to the bound, and empty ones too."""
        assert self._items("/items", most=2) is _RESULT["items"]
        assert self._items("/empty") == []

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (
                "",
                'argument /a: "$each" needs a list; the result of c0_1 is an object with the keys '
                "'items', 'none', '', '0', 'empty', 'nothing', 'text', 'yes'",
            ),
            ("/0", 'argument /a: "$each" needs a list; \'/0\' of c0_1 is the string "zero"'),
            (
                "/items",
                "argument /a: \"$each\" may have 1 items at most; '/items' of c0_1 has 2; "
                'ask for fewer, or refer to some of them with "$from"',
            ),
            (
                "/item",
                "argument /a: c0_1 has no '/item': the result has the keys "
                "'items', 'none', '', '0', 'empty', 'nothing', 'text', 'yes'",
            ),
        ],
    )
    def test_what_is_no_list_or_too_long(self, path: str, message: str) -> None:
        """The model is told what is there."""
        assert _problem(lambda: self._items(path, most=1)) == message

    def test_without_each(self) -> None:
        """There is nothing to ask for."""
        with pytest.raises(ValueError, match=r"no \$each"):
            items(References(), _results, most=1)


_SCHEMA = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "description": "where"},
        "count": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["km", "mi"]},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "either": {"type": ["integer", "boolean"]},
        "options": {"$ref": "#/$defs/options"},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
        "never": {"type": "object", "properties": {"x": False}},
        "elsewhere": {"$ref": "http://nowhere.invalid/schema"},
        "forever": {"$ref": "#/properties/forever"},
        "other": {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": 2}]},
    },
    "patternProperties": {"^x-": {"type": "boolean"}},
    "additionalProperties": {"type": "number"},
    "allOf": [{"properties": {"count": {"maximum": 5}}}],
    "required": ["required_but_not_there"],
    "$defs": {
        "options": {
            "type": "object",
            "properties": {"limit": {"type": "integer"}, "next": {"$ref": "#/$defs/options"}},
            "required": ["limit"],
            "additionalProperties": False,
        }
    },
}


def _check(place: str, value: Any, schema: Any = _SCHEMA, path: str = "/p") -> None:
    """Check arguments in which a reference brought `value` to a place."""
    reference = {"$from": "c0_1", "path": path}
    arguments: Any = reference
    for step in reversed(place.split("/")[1:]):
        arguments = ["first", arguments] if step == "1" else {"unit": "wrong, but not ours", step: arguments}
    found = find_references(arguments)
    assert found.plain[0].at == place
    result = {path[1:]: value} if path else value
    check_types(fill(arguments, found, lambda _: result), schema, found)


class TestTypes:
    @pytest.mark.parametrize(
        ("place", "value"),
        [
            ("/url", "http://a"),
            ("/count", 5),
            ("/count", 3.0),
            ("/unit", "km"),
            ("/maybe", None),
            ("/either", True),
            ("/options", {"limit": 1, "next": {"limit": 2}}),
            ("/options/next/limit", 3),
            ("/pair/1", 1.5),
            ("/x-flag", True),
            ("/anything", 1),
            ("/elsewhere", 1),
            ("/forever", 1),
            ("/forever/x/y", 1),
            ("/url/x", 1),
        ],
    )
    def test_fits(self, place: str, value: Any) -> None:
        """Other places may be wrong: whoever runs the tool says so."""
        _check(place, value)

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            ("/url", 5, "argument /url: must be a string; '/p' of c0_1 is the number 5"),
            ("/url", ["a"], "argument /url: must be a string; '/p' of c0_1 is a list of 1 item"),
            (
                "/url",
                {"u": 1},
                "argument /url: must be a string; '/p' of c0_1 is an object with the key 'u'",
            ),
            ("/count", True, "argument /count: must be an integer; '/p' of c0_1 is true"),
            ("/count", 0, "argument /count: must be such that {\"minimum\": 1}; '/p' of c0_1 is the number 0"),
            ("/count", 6, "argument /count: must be such that {\"maximum\": 5}; '/p' of c0_1 is the number 6"),
            (
                "/unit",
                "m",
                'argument /unit: must be such that {"enum": ["km", "mi"]}; \'/p\' of c0_1 is the string "m"',
            ),
            ("/maybe", 1, "argument /maybe: must be a string or null; '/p' of c0_1 is the number 1"),
            ("/either", "x", "argument /either: must be an integer or true or false; '/p' of c0_1 is the string \"x\""),
            (
                "/other",
                1,
                'argument /other: must be such that {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": 2}]}; '
                "'/p' of c0_1 is the number 1",
            ),
            (
                "/options",
                {"limit": "1"},
                "argument /options/limit: must be an integer; '/p/limit' of c0_1 is the string \"1\"",
            ),
            (
                "/options",
                {},
                'argument /options: must be such that {"required": ["limit"]}; \'/p\' of c0_1 is an empty object',
            ),
            (
                "/options/next/limit",
                None,
                "argument /options/next/limit: must be an integer; '/p' of c0_1 is null",
            ),
            ("/pair/1", "x", "argument /pair/1: must be a number; '/p' of c0_1 is the string \"x\""),
            ("/x-flag", 1, "argument /x-flag: must be true or false; '/p' of c0_1 is the number 1"),
            ("/anything", "x", "argument /anything: must be a number; '/p' of c0_1 is the string \"x\""),
            ("/never", {"x": 1}, "argument /never: '/p' of c0_1 holds what is not allowed there: the number 1"),
        ],
    )
    def test_does_not_fit(self, place: str, value: Any, message: str) -> None:
        """Named: the place, what is expected, what came, and where it came from."""
        assert _problem(lambda: _check(place, value)) == message

    def test_whole_results_and_items(self) -> None:
        """They have no path, or no index, to name."""
        expected = "argument /url: must be a string; the result of c0_1 is the number 5"
        assert _problem(lambda: _check("/url", 5, path="")) == expected
        arguments = {"options": {"$each": {"from": "c0_1", "path": "/items"}}}
        found = find_references(arguments)
        filled = fill(arguments, found, _results, item={"limit": "x"})
        assert _problem(lambda: check_types(filled, _SCHEMA, found)) == (
            "argument /options/limit: must be an integer; '/limit' in an item of '/items' of c0_1 is the string \"x\""
        )
        filled = fill(arguments, found, _results, item=7)
        assert _problem(lambda: check_types(filled, _SCHEMA, found)) == (
            "argument /options: must be an object; an item of '/items' of c0_1 is the number 7"
        )

    def test_items_at_the_front_of_a_list_have_their_own_schema(self) -> None:
        """The rest of the list has another."""
        arguments = {"pair": [{"$from": "c0_1", "path": "/0"}]}
        found = find_references(arguments)
        check_types(fill(arguments, found, _results), _SCHEMA, found)
        message = "argument /pair/0: must be a string; '/0' of c0_1 is the number 1"
        assert _problem(lambda: check_types({"pair": [1]}, _SCHEMA, found)) == message

    def test_other_documents_are_not_fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A schema must not make the server call anywhere."""
        asked: list[object] = []
        monkeypatch.setattr(urllib.request, "urlopen", lambda *arguments, **_: asked.append(arguments))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check("/elsewhere", 1, copy.deepcopy(_SCHEMA))
        assert asked == []

    @pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"properties": {"url": {"pattern": "("}}}, {}])
    def test_schema_that_says_nothing(self, schema: Any) -> None:
        """A schema that is wrong is not the model's to mend."""
        _check("/url", 5, schema)

    def test_messages_stay_short(self) -> None:
        """However long a list of allowed values is."""
        schema = {"properties": {"url": {"enum": [f"value {index}" for index in range(1_000)]}}}
        assert len(_problem(lambda: _check("/url", "x" * 10_000, schema))) < 400

    def test_validators_are_kept_by_identity_and_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The schemas used last stay; each is made once."""
        monkeypatch.setattr(reference_types, "_VALIDATORS", 2)
        kept = reference_types._Validators()
        first, second, third = ({"type": "string"} for _ in range(3))
        made = kept.get(first)
        kept.get(second)
        assert kept.get(first) is made
        kept.get(third)
        assert len(kept) == 2
        assert kept.get(first) is made
