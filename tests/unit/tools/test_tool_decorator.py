"""The `tool` decorator: schema, descriptions, normalisation, and errors that say what to change."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode, ToolSpec
from podium.tools import Tool, ToolDefinitionError, tool, tool_of


def spec_of(function: Any) -> ToolSpec:
    made = tool_of(function)
    assert made is not None
    return made.spec


def normalise(function: Any, **arguments: Any) -> dict[str, Any]:
    normalise = spec_of(function).normalise
    assert normalise is not None
    return normalise(arguments)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Guest(BaseModel):
    name: str
    age: int = 30


class TestTheDecoratedFunction:
    def test_stays_the_same_function(self) -> None:
        def double(x: int) -> int:
            """Double."""
            return x * 2

        decorated = tool(double)
        assert decorated is double
        assert decorated(4) == 8
        assert inspect.signature(decorated).parameters["x"].annotation == "int"

    async def test_stays_awaitable_when_async(self) -> None:
        @tool
        async def double(x: int) -> int:
            """Double."""
            return x * 2

        assert inspect.iscoroutinefunction(double)
        assert await double(4) == 8
        made = tool_of(double)
        assert made is not None
        assert made.is_async

    def test_a_wrapper_around_it_is_no_tool(self) -> None:
        import functools

        @tool
        def plain(x: int) -> int:
            """Plain."""
            return x

        @functools.wraps(plain)
        def guarded(x: int) -> int:
            return plain(x)

        assert tool_of(guarded) is None

    def test_other_values_are_no_tools(self) -> None:
        assert [tool_of(value) for value in (None, 3, "x", len, object())] == [None] * 5


class TestOptions:
    def test_defaults(self) -> None:
        @tool
        def ping() -> str:
            """Ping."""
            return "pong"

        spec = spec_of(ping)
        assert spec.name == "ping"
        assert spec.side_effects is SideEffects.EFFECTFUL
        assert (spec.timeout_seconds, spec.type, spec.cache_ttl_seconds, spec.version) == (5.0, "general", None, "1")
        assert spec.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}

    def test_all_given(self) -> None:
        @tool(
            name="reserve_room",
            side_effects="idempotent",
            timeout=2.5,
            type="http",
            cache_ttl=60,
            version="7",
            examples=[("a room for 4 at ten", {"people": 4, "start": "10:00"})],
        )
        def reserve(people: int, start: dt.time) -> str:
            """Reserve a room."""
            return f"{people} {start}"

        spec = spec_of(reserve)
        assert spec.name == "reserve_room"
        assert spec.side_effects is SideEffects.IDEMPOTENT
        assert (spec.timeout_seconds, spec.type, spec.cache_ttl_seconds, spec.version) == (2.5, "http", 60, "7")
        assert spec.examples[0].request == "a room for 4 at ten"
        assert spec.examples[0].arguments == {"people": 4, "start": "10:00"}

    def test_the_default_timeout_gives_way_to_the_services_and_the_authors_does_not(self) -> None:
        @tool
        def mine() -> int:
            """Mine."""
            return 1

        @tool(timeout=5)
        def yours() -> int:
            """Yours."""
            return 1

        def seconds(function: Any) -> float:
            made = tool_of(function)
            assert made is not None
            return made.with_timeout(9).spec.timeout_seconds

        assert seconds(mine) == 9
        assert seconds(yours) == 5

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"name": "Bad Name"}, "is no tool name"),
            ({"name": "1st"}, "is no tool name"),
            ({"name": "x" * 65}, "is no tool name"),
            ({"side_effects": "some"}, "none, idempotent, effectful"),
            ({"timeout": 0}, "above zero"),
            ({"timeout": float("inf")}, "above zero"),
            ({"cache_ttl": -1}, "above zero"),
            ({"type": "No Good"}, "type="),
            ({"version": ""}, "version="),
            ({"examples": [("  ", {"x": 1})]}, "without a request"),
            ({"examples": [("do it", {"x": "one"})]}, "example 'do it'.*x: .*not 'one'"),
            ({"examples": [("do it", {"y": 1})]}, "x is missing"),
        ],
    )
    def test_wrong_ones_are_refused_with_what_to_do(self, options: dict[str, Any], said: str) -> None:
        def work(x: int) -> int:
            """Work."""
            return x

        with pytest.raises(ToolDefinitionError, match=said):
            tool(**options)(work)


class TestAnswer:
    def test_is_kept_beside_the_schema_of_the_result(self) -> None:
        @tool(answer="{name} is {age}.")
        def guest(name: str) -> Guest:
            """Find a guest."""
            return Guest(name=name)

        schema = spec_of(guest).output_schema
        assert schema is not None
        assert schema["x-podium-answer"] == "{name} is {age}."
        assert "age" in schema["properties"]

    def test_may_speak_of_anything_where_the_fields_are_not_known(self) -> None:
        @tool(answer="Order {order_id} is {status}.")
        def order(order_id: int) -> dict[str, Any]:
            """Look up an order."""
            return {"status": "shipped"}

        assert (spec_of(order).output_schema or {})["x-podium-answer"] == "Order {order_id} is {status}."

    def test_may_not_speak_of_what_there_is_not(self) -> None:
        with pytest.raises(ToolDefinitionError, match="answer= speaks of aeg, which is neither a field"):

            @tool(answer="{name} is {aeg}.")
            def guest(name: str) -> Guest:
                """Find a guest."""
                return Guest(name=name)


class TestRefusedFunctions:
    def test_without_an_annotation(self) -> None:
        def work(x):  # type: ignore[no-untyped-def]
            """Work."""

        with pytest.raises(ToolDefinitionError, match=r"work: parameter 'x' needs a type annotation"):
            tool(work)

    def test_with_variable_arguments(self) -> None:
        def many(*xs: int) -> None:
            """Many."""

        def named(**xs: int) -> None:
            """Named."""

        for function in (many, named):
            with pytest.raises(ToolDefinitionError, match="name each parameter"):
                tool(function)

    def test_without_a_docstring(self) -> None:
        def work(x: int) -> None: ...

        with pytest.raises(ToolDefinitionError, match="add a docstring"):
            tool(work)

    def test_whose_docstring_describes_what_is_not_there(self) -> None:
        def work(x: int) -> None:
            """Work.

            Args:
                y: What is this?
            """

        with pytest.raises(ToolDefinitionError, match="'y', which is no parameter"):
            tool(work)

    def test_with_a_type_that_has_no_json_form(self) -> None:
        def work(x: threading_lock) -> None:  # type: ignore[valid-type]
            """Work."""

        with pytest.raises(ToolDefinitionError, match="JSON form"):
            tool(work)

    def test_with_an_annotation_that_cannot_be_resolved(self) -> None:
        def work(x: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
            """Work."""

        with pytest.raises(ToolDefinitionError, match=r"cannot be resolved.*Missing"):
            tool(work)

    def test_with_a_default_that_does_not_fit(self) -> None:
        def work(x: int = "seven") -> None:  # type: ignore[assignment]
            """Work."""

        with pytest.raises(ToolDefinitionError, match="default of 'x'"):
            tool(work)

    def test_generators_and_classes(self) -> None:
        def stream(x: int) -> Any:
            """Stream."""
            yield x

        with pytest.raises(ToolDefinitionError, match="collect what it yields"):
            tool(stream)
        with pytest.raises(ToolDefinitionError, match="goes on a function"):
            tool(Guest)


threading_lock = type(__import__("threading").Lock())


class TestSchema:
    def test_honours_hints_and_docstring(self) -> None:
        @tool
        def book(
            guest: Guest,
            colour: Colour,
            size: Literal["small", "large"],
            nights: Annotated[int, Field(ge=1, le=30, json_schema_extra={"x-podium-kind": "number"})] = 1,
            note: Optional[str] = None,  # noqa: UP045  the older spelling is honoured too
        ) -> list[int]:
            """Book a room.

            A longer word about it.

            Args:
                guest: Who comes.
                colour: The colour
                    of the room.
                nights: How long.
            """
            return [nights]

        spec = spec_of(book)
        properties = spec.input_schema["properties"]
        assert spec.description == "Book a room.\n\nA longer word about it."
        assert spec.input_schema["required"] == ["guest", "colour", "size"]
        assert spec.input_schema["additionalProperties"] is False
        assert properties["size"] == {"enum": ["small", "large"], "type": "string"}
        assert properties["colour"]["description"] == "The colour of the room."
        assert properties["nights"] == {
            "type": "integer",
            "minimum": 1,
            "maximum": 30,
            "default": 1,
            "description": "How long.",
            "x-podium-kind": "number",
        }
        assert properties["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
        assert spec.input_schema["$defs"]["Guest"]["properties"]["age"] == {"default": 30, "type": "integer"}
        assert spec.output_schema == {"type": "array", "items": {"type": "integer"}}

    @pytest.mark.parametrize(
        "docstring",
        [
            "Move.\n\nArgs:\n    x: How far.\n",
            "Move.\n\nParameters\n----------\nx : int\n    How far.\n",
            "Move.\n\n:param x: How far.\n",
            "Move.\n\n@param x: How far.\n",
        ],
        ids=["google", "numpy", "sphinx", "epydoc"],
    )
    def test_reads_every_common_docstring_style(self, docstring: str) -> None:
        def move(x: int) -> None: ...

        move.__doc__ = docstring
        spec = spec_of(tool(move))
        assert spec.description == "Move."
        assert spec.input_schema["properties"]["x"]["description"] == "How far."

    def test_parameters_may_bear_any_name(self) -> None:
        @tool
        def odd(json: int, copy: str, model_config: int, title: str, _x: int = 3) -> list[Any]:
            """Odd names."""
            return [json, copy, model_config, title, _x]

        made = tool_of(odd)
        assert made is not None
        assert list(made.spec.input_schema["properties"]) == ["json", "copy", "model_config", "title", "_x"]
        arguments = {"json": 1, "copy": "c", "model_config": 2, "title": "t"}
        assert made.spec.normalise is not None
        assert made.spec.normalise(arguments) == arguments
        assert made.bind(arguments)() == [1, "c", 2, "t", 3]

    def test_data_that_looks_like_a_title_is_kept(self) -> None:
        @tool
        def save(page: dict[str, str] = {"title": "x"}) -> None:  # noqa: B006
            """Save."""

        assert spec_of(save).input_schema["properties"]["page"]["default"] == {"title": "x"}

    def test_a_return_type_without_json_form_gives_no_output_schema(self) -> None:
        @tool
        def lock() -> threading_lock:  # type: ignore[valid-type]
            """Lock."""

        assert spec_of(lock).output_schema is None

    def test_positional_only_parameters_are_bound(self) -> None:
        @tool
        def divide(a: int, b: int, /, *, digits: int = 0) -> float:
            """Divide."""
            return round(a / b, digits)

        made = tool_of(divide)
        assert isinstance(made, Tool)
        assert made.bind({"b": 4, "a": 10, "digits": 1})() == 2.5


class TestNormalise:
    def test_gives_canonical_json(self) -> None:
        @tool
        def plan(
            day: dt.date,
            size: float,
            guest: Guest,
            word: Annotated[str, BeforeValidator(str.strip), AfterValidator(str.lower)],
            colour: Colour = Colour.RED,
        ) -> None:
            """Plan."""

        given = {"day": "2026-03-05", "size": "5", "guest": {"name": "A", "age": "7"}, "word": "  HeLLo "}
        expected = {"day": "2026-03-05", "size": 5, "guest": {"name": "A", "age": 7}, "word": "hello"}
        once = normalise(plan, **given)
        assert once == expected
        assert isinstance(once["size"], int)
        assert normalise(plan, **once) == once

    def test_what_was_left_out_stays_out_and_what_was_said_stays(self) -> None:
        @tool
        def find(query: str, limit: int = 5) -> None:
            """Find."""

        assert normalise(find, query="x") == {"query": "x"}
        assert normalise(find, query="x", limit=5) == {"query": "x", "limit": 5}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"size": "smal", "count": 1}, "size: 'smal' is not allowed .nearest: small.; use 'small' or 'large'"),
            ({"size": "small"}, "count is missing .How many."),
            ({"size": "small", "count": "x"}, "count: .*valid integer.*not 'x'"),
            ({"size": "small", "count": 1, "cuont": 2}, "cuont is not an argument: did you mean count"),
            ({"size": "small", "count": 1, "word": "no"}, "word: say yes"),
            ({"size": "small", "count": "z" * 500}, r"not 'z{50,60}\.\.\.$"),
        ],
    )
    def test_refusals_say_what_to_change(self, arguments: dict[str, Any], said: str) -> None:
        def yes(text: str) -> str:
            if text != "yes":
                raise ValueError("say yes")
            return text

        @tool
        def work(
            size: Literal["small", "large"], count: int, word: Annotated[str, AfterValidator(yes)] = "yes"
        ) -> None:
            """Work.

            Args:
                count: How many.
            """

        with pytest.raises(ToolFailure, match=said) as caught:
            normalise(work, **arguments)
        assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS
        assert caught.value.message.startswith("work: ")

    def test_names_at_most_five_problems(self) -> None:
        @tool
        def work(x: int) -> None:
            """Work."""

        with pytest.raises(ToolFailure, match=r"and 4 more$"):
            normalise(work, x=1, **{f"extra_{index}": 1 for index in range(9)})

    def test_a_tools_own_failure_passes_and_a_broken_validator_is_one_too(self) -> None:
        def refuse(text: str) -> str:
            if text == "secret":
                raise ToolFailure(ToolFailureCode.NOT_ALLOWED, "not that")
            raise KeyError("oops")

        @tool
        def work(x: Annotated[str, AfterValidator(refuse)]) -> None:
            """Work."""

        with pytest.raises(ToolFailure) as refused:
            normalise(work, x="secret")
        assert refused.value.code is ToolFailureCode.NOT_ALLOWED
        with pytest.raises(ToolFailure, match=r"could not be checked .KeyError.") as broken:
            normalise(work, x="other")
        assert broken.value.code is ToolFailureCode.RAISED
