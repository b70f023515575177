"""A function's arguments: schema, validation, canonical form, and binding to a call."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.tools._complaints import complaint

__all__ = ["ArgumentsModel", "ToolDefinitionError"]

_log = logging.getLogger(__name__)
_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_NO_SCHEMA = (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError)
_EXACT = 2**53
_TABLES = {"properties", "$defs", "patternProperties"}  # keywords whose keys are names
_DATA = {"default", "const", "enum", "examples"}  # keywords whose values are data


class ToolDefinitionError(ValueError):
    """A function cannot be made a tool. The message names it and says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentsModel:
    """The arguments of one function, understood through its hints and its docstring."""

    tool: str
    description: str
    schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    _model: type[BaseModel]
    _positional: tuple[str, ...]
    _fields: dict[str, str]

    @classmethod
    def of(cls, function: Callable[..., Any], origin: str, scope: dict[str, Any], *, tool: str) -> ArgumentsModel:
        """Read a function.

        Raises:
            ToolDefinitionError: a parameter has no annotation, takes variable arguments, or cannot
                be expressed in JSON; or there is no docstring.
        """
        docs = docstring_parser.parse(function.__doc__ or "")
        description = "\n\n".join(part for part in (docs.short_description, docs.long_description) if part)
        if not description:
            raise ToolDefinitionError(f"{origin}: add a docstring; it tells the model what the tool is for")
        hints = _hints(function, origin, scope)
        parameters = list(inspect.signature(function).parameters.values())
        _check_parameters(parameters, hints, origin)
        described = {entry.arg_name: entry.description or "" for entry in docs.params}
        stray = sorted(set(described) - {parameter.name for parameter in parameters})
        if stray:
            raise ToolDefinitionError(f"{origin}: the docstring describes {stray[0]!r}, which is no parameter")
        model, fields = _model(function, parameters, hints, described, origin)
        return cls(
            tool=tool,
            description=description,
            schema=_input_schema(model, origin),
            output_schema=_output_schema(hints.get("return", inspect.Parameter.empty)),
            _model=model,
            _positional=tuple(parameter.name for parameter in parameters if parameter.kind is _POSITIONAL),
            _fields=fields,
        )

    def normalise(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments in canonical JSON form. What was left out stays left out.

        Raises:
            ToolFailure: INVALID_ARGUMENTS, with what to change.
        """
        validated = self._validate(arguments)
        try:
            dumped = validated.model_dump(mode="json", by_alias=True, exclude_unset=True)
        except PydanticSerializationError as error:
            message = f"{self.tool}: the arguments have no JSON form: {error}"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message) from None
        return {name: _natural(value) for name, value in dumped.items()}

    def bind(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments for the function, as Python values.

        Raises:
            ToolFailure: INVALID_ARGUMENTS, with what to change.
        """
        validated = self._validate(arguments)
        values = {name: getattr(validated, field) for name, field in self._fields.items()}
        return [values.pop(name) for name in self._positional], values

    def _validate(self, arguments: Mapping[str, Any]) -> BaseModel:
        try:
            return self._model.model_validate(dict(arguments))
        except ValidationError as error:
            message = complaint(self.tool, error, self.schema)
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message) from None
        except ToolFailure:
            raise
        except Exception as error:  # noqa: BLE001  a validator is its author's code and may raise anything
            _log.warning("a validator raised", exc_info=True, extra={"tool": self.tool})
            message = f"{self.tool}: its arguments could not be checked ({type(error).__name__})"
            raise ToolFailure(ToolFailureCode.RAISED, message) from None


def _hints(function: Callable[..., Any], origin: str, scope: dict[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, localns=scope, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise ToolDefinitionError(f"{origin}: an annotation cannot be resolved: {error}") from error


def _check_parameters(parameters: list[inspect.Parameter], hints: Mapping[str, Any], origin: str) -> None:
    for parameter in parameters:
        if parameter.kind in _VARIADIC:
            raise ToolDefinitionError(f"{origin}: {parameter} cannot be described; name each parameter")
        if parameter.name not in hints:
            raise ToolDefinitionError(f"{origin}: parameter {parameter.name!r} needs a type annotation")


def _model(
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    hints: Mapping[str, Any],
    described: Mapping[str, str],
    origin: str,
) -> tuple[type[BaseModel], dict[str, str]]:
    # Fields have names of their own and parameters are aliases, so that no parameter name
    # (`json`, `copy`, `model_x`, `_y`) can collide with pydantic's.
    definitions: dict[str, Any] = {}
    names: dict[str, str] = {}
    for index, parameter in enumerate(parameters):
        field, required = f"argument_{index}", parameter.default is inspect.Parameter.empty
        info: dict[str, Any] = {"alias": parameter.name}
        if described.get(parameter.name):
            info["description"] = " ".join(described[parameter.name].split())
        default = ... if required else parameter.default
        definitions[field] = (hints[parameter.name], Field(default, validate_default=True, **info))
        names[parameter.name] = field
    config = ConfigDict(extra="forbid", title=function.__name__, arbitrary_types_allowed=False)
    try:
        model = create_model("Arguments", __config__=config, __module__=function.__module__, **definitions)
    except _NO_SCHEMA as error:
        raise ToolDefinitionError(f"{origin}: an argument's type has no JSON form: {error}") from error
    _check_defaults(model, parameters, names, origin)
    return model, names


def _check_defaults(
    model: type[BaseModel], parameters: list[inspect.Parameter], names: Mapping[str, str], origin: str
) -> None:
    try:
        model.model_validate({})
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["type"] != "missing" and problem["loc"]}
        for parameter in parameters:
            if wrong & {parameter.name, names[parameter.name]}:
                message = f"{origin}: the default of {parameter.name!r} does not fit its annotation"
                raise ToolDefinitionError(message) from None


def _input_schema(model: type[BaseModel], origin: str) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(mode="validation")
    except _NO_SCHEMA as error:
        raise ToolDefinitionError(f"{origin}: an argument's type has no JSON form: {error}") from error
    schema.setdefault("properties", {})
    cleaned: dict[str, Any] = _untitled(schema)
    return cleaned


def _output_schema(annotation: Any) -> dict[str, Any] | None:
    if annotation in (inspect.Parameter.empty, Any):
        return None
    try:
        schema: dict[str, Any] = _untitled(TypeAdapter(annotation).json_schema(mode="serialization"))
    except _NO_SCHEMA:
        return None
    return schema


def _untitled(schema: Any, *, named: bool = False) -> Any:
    """Drop the titles that pydantic makes up; `named` marks a table whose keys are names, not keywords."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if named:
        return {name: _untitled(value) for name, value in schema.items()}
    return {
        key: value if key in _DATA else _untitled(value, named=key in _TABLES)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


def _natural(value: Any) -> Any:
    """Write whole floats as integers: 5.0 and 5 are one argument."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _natural(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_natural(item) for item in value]
    return value
