"""The `tool` decorator: from a function to a `Tool` (its description and a way to call it)."""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload

from podium.orchestration.tool import Fallback, SideEffects, ToolExample, ToolFailure, ToolSpec
from podium.packed_json import packed
from podium.tools._arguments import ArgumentsModel, ToolDefinitionError

__all__ = ["Tool", "ToolDefinitionError", "tool", "tool_of"]

F = TypeVar("F", bound=Callable[..., Any])
Examples = Iterable[tuple[str, Mapping[str, Any]]]

_NOTHING: Any = object()
_ATTRIBUTE = "__podium_tool__"
_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tool:
    """A function made ready to be called by a model.

    Attributes:
        spec: the description that planners, limits and documentation use.
        function: the function itself, as it was written.
        is_async: whether it runs on the event loop (otherwise in a thread).
        origin: where it was defined, for people: `module.qualname`.
        own_timeout: whether its timeout was given by its author, not by the default.
        arguments: validates, normalises and binds arguments.
    """

    spec: ToolSpec
    function: Callable[..., Any]
    is_async: bool
    origin: str
    own_timeout: bool
    arguments: ArgumentsModel

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.spec.name

    def bind(self, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        """Validate JSON-like arguments and return the call, ready to be made.

        Raises:
            ToolFailure: INVALID_ARGUMENTS, with what to change.
        """
        positional, keywords = self.arguments.bind(arguments)
        return functools.partial(self.function, *positional, **keywords)

    def with_timeout(self, seconds: float) -> Tool:
        """Return the tool with this timeout, unless its author gave it one."""
        if self.own_timeout:
            return self
        return replace(self, spec=replace(self.spec, timeout_seconds=seconds))


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    side_effects: SideEffects | str = SideEffects.EFFECTFUL,
    timeout: float | None = None,
    type: str = "general",
    cache_ttl: float | None = None,
    version: str = "1",
    answer: str | None = None,
    examples: Examples = (),
    fallback: str | None = None,
    fallback_value: object = _NOTHING,
    hedge: bool = False,
    cost_micros: int = 0,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    side_effects: SideEffects | str = SideEffects.EFFECTFUL,
    timeout: float | None = None,
    type: str = "general",  # noqa: A002  the word that the setting and the metrics use
    cache_ttl: float | None = None,
    version: str = "1",
    answer: str | None = None,
    examples: Examples = (),
    fallback: str | None = None,
    fallback_value: object = _NOTHING,
    hedge: bool = False,
    cost_micros: int = 0,
) -> F | Callable[[F], F]:
    """Make a plain or async function a tool. The function itself stays as it was.

    The JSON Schema comes from the type hints, the descriptions from the docstring.

    Args:
        function: the function, when used bare (`@tool`).
        name: the tool's name; the function's own by default.
        side_effects: `none` (may be repeated and guessed), `idempotent` (may be repeated) or
            `effectful` (never repeated by itself, and never started before the model's turn has ended;
            the default).
        timeout: seconds one call may take; the service's default when not given.
        type: the class of resource it uses, for limits per type.
        cache_ttl: seconds for which a result may be reused; never when not given.
        version: change it when the same arguments may give another kind of result.
        answer: how a result reads as a sentence, such as `"{expression} = {result}."`, with fields of
            the result or arguments in braces; used where an answer is told without a capable model.
        examples: pairs of a request in a person's words and the arguments it means.
        fallback: name of the tool that is called with the same arguments when this one fails for good.
        fallback_value: what counts as the result then, where there is no such tool.
        hedge: start a second attempt beside a call that takes unusually long, and use what comes first;
            not for effectful tools.
        cost_micros: price of one call, in millionths of the budget's currency.

    Raises:
        ToolDefinitionError: the function cannot be a tool; the message says what to change.
    """
    scope = sys._getframe(1).f_locals  # noqa: SLF001  to resolve annotations that name local types

    def decorate(target: F) -> F:
        made = _make(
            target,
            scope,
            examples,
            answer,
            name=name if name is not None else getattr(target, "__name__", ""),
            side_effects=_side_effects(side_effects),
            timeout_seconds=5.0 if timeout is None else timeout,
            type=type,
            cache_ttl_seconds=cache_ttl,
            version=version,
            fallback=_fallback(fallback, fallback_value),
            hedge=hedge,
            cost_micros=cost_micros,
        )
        if timeout is not None:
            made = replace(made, own_timeout=True)
        setattr(target, _ATTRIBUTE, made)
        return target

    return decorate if function is None else decorate(function)


def tool_of(value: object) -> Tool | None:
    """Return the `Tool` of a decorated function, or None when `value` is not one.

    A wrapper around a tool is none, although `functools.wraps` copies the mark: it must not be
    passed by. Put `@tool` outermost.
    """
    if isinstance(value, Tool):
        return value
    found = inspect.getattr_static(value, _ATTRIBUTE, None)
    return found if isinstance(found, Tool) and found.function is value else None


def _make(
    target: Callable[..., Any], scope: Mapping[str, Any], examples: Examples, answer: str | None, **fields: Any
) -> Tool:
    if not inspect.isfunction(target):
        raise ToolDefinitionError(f"@tool goes on a function, not on {type(target).__name__}")
    origin = f"{target.__module__}.{target.__qualname__}"
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise ToolDefinitionError(f"{origin}: a tool returns one value; collect what it yields into a list")
    _check_options(origin, fields)
    arguments = ArgumentsModel.of(target, origin, dict(scope), tool=fields["name"])
    spec = ToolSpec(
        description=arguments.description,
        input_schema=arguments.schema,
        output_schema=_with_answer(origin, answer, arguments),
        examples=tuple(ToolExample(request, dict(values)) for request, values in examples),
        normalise=arguments.normalise,
        **fields,
    )
    _check_examples(origin, spec, arguments)
    return Tool(
        spec=spec,
        function=target,
        is_async=inspect.iscoroutinefunction(target),
        origin=origin,
        own_timeout=False,
        arguments=arguments,
    )


def _with_answer(origin: str, answer: str | None, arguments: ArgumentsModel) -> Mapping[str, Any] | None:
    """Return the schema of the result with the sentence that tells it, under `x-podium-answer`."""
    schema = arguments.output_schema
    if answer is None:
        return schema
    fields = (schema or {}).get("properties")
    unknown = sorted(set(_FIELD.findall(answer)) - {*(fields or {}), *arguments.schema.get("properties", {})})
    # A plain `dict` may hold any field; only a result whose fields are known can be held to them.
    if unknown and fields is not None:
        raise ToolDefinitionError(
            f"{origin}: answer= speaks of {', '.join(unknown)}, which is neither a field of the result nor an argument"
        )
    return {**(schema or {}), "x-podium-answer": answer}


def _fallback(name: str | None, value: object) -> Fallback | None:
    if value is not _NOTHING:
        return Fallback(tool=name or "", result_json=packed(value))
    return Fallback(tool=name) if name else None


def _side_effects(value: SideEffects | str) -> SideEffects:
    try:
        return SideEffects(value)
    except ValueError:
        known = ", ".join(SideEffects)
        raise ToolDefinitionError(f"side_effects={value!r}: use one of {known}") from None


def _check_options(origin: str, fields: Mapping[str, Any]) -> None:
    if not _NAME.fullmatch(fields["name"]):
        raise ToolDefinitionError(
            f"{origin}: {fields['name']!r} is no tool name: use a-z, 0-9 and _, a letter first, "
            "at most 64 characters; name= gives another than the function's"
        )
    if not _TYPE.fullmatch(fields["type"]):
        raise ToolDefinitionError(f"{origin}: type={fields['type']!r}: use a-z, 0-9, _ and -, a letter first")
    if not (fields["timeout_seconds"] > 0 and math.isfinite(fields["timeout_seconds"])):
        raise ToolDefinitionError(f"{origin}: timeout= is in seconds and above zero")
    if fields["cache_ttl_seconds"] is not None and not fields["cache_ttl_seconds"] > 0:
        raise ToolDefinitionError(f"{origin}: cache_ttl= is in seconds and above zero, or left out")
    if not fields["version"]:
        raise ToolDefinitionError(f"{origin}: version= must not be empty")
    if fields["hedge"] and fields["side_effects"] is SideEffects.EFFECTFUL:
        raise ToolDefinitionError(f"{origin}: hedge= is for tools that may be called twice, not for effectful ones")
    if fields["cost_micros"] < 0:
        raise ToolDefinitionError(f"{origin}: cost_micros= must not be below zero")


def _check_examples(origin: str, spec: ToolSpec, arguments: ArgumentsModel) -> None:
    for example in spec.examples:
        if not example.request.strip():
            raise ToolDefinitionError(f"{origin}: an example without a request")
        try:
            arguments.normalise(example.arguments)
        except ToolFailure as failure:
            raise ToolDefinitionError(f"{origin}: example {example.request!r}: {failure.message}") from None
