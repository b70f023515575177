"""References in a call's arguments to what other calls gave.

    {"$from": "c0_1", "path": "/items/0/url"}              the value there in that call's result
    {"$each": {"from": "c0_1", "path": "/items"}}          the call is made once for each item of that list

Either stands for a whole value, at any depth; `path` is a JSON Pointer (RFC 6901) and may be left out
for the whole result. Every `ReferenceProblem` is written for the model, which reads it and mends its call.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

__all__ = [
    "MISSING",
    "Reference",
    "ReferenceProblem",
    "References",
    "check_types",
    "fill",
    "find_references",
    "items",
    "look_up",
    "may_have_references",
]

MISSING: Final[Any] = object()

_FROM_FORM = '{"$from": "<call id>", "path": "/<key>/<index>"}'
_EACH_FORM = '{"$each": {"from": "<call id>", "path": "/<key>"}}'
_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]*")
_SHOWN_KEYS = 8
_SHOWN_TEXT = 60
_SHOWN_SCHEMA = 160
_VALIDATORS = 1_024
_TYPE_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


class ReferenceProblem(Exception):
    """A reference cannot be followed. `message` says what is wrong, where, and what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference.

    Attributes:
        source: the call, as the model named it.
        path: JSON Pointer into that call's result.
        at: JSON Pointer of the reference's own place in the arguments.
    """

    source: str
    path: str
    at: str


@dataclass(frozen=True, slots=True)
class References:
    """All references of a call's arguments, `plain` in the order of the text."""

    plain: tuple[Reference, ...] = ()
    each: Reference | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The calls referred to, each once; that of `$each` comes last."""
        names = dict.fromkeys(reference.source for reference in self.plain)
        if self.each is not None:
            names[self.each.source] = None
        return tuple(names)


def may_have_references(arguments_json: bytes) -> bool:
    """Say whether it is worth while to parse the arguments and look; a key spelt with escapes is not seen."""
    return b'"$from"' in arguments_json or b'"$each"' in arguments_json


def find_references(arguments: Any) -> References:
    """Return the references in parsed arguments.

    Raises:
        ReferenceProblem: something was meant as a reference and is not one, or `$each` occurs twice.
    """
    plain: list[Reference] = []
    each: Reference | None = None
    # A stack rather than recursion: how deep arguments go is the model's choice.
    stack: list[tuple[Any, _Trail]] = [(arguments, None)]
    while stack:
        value, trail = stack.pop()
        if isinstance(value, dict):
            if "$each" in value:
                found = _read_each(value, _pointer(trail))
                if each is not None:
                    raise ReferenceProblem(
                        f'{_place(found.at)}: a call may have one "$each", and {_place(each.at)} has one already; '
                        "make several calls instead"
                    )
                each = found
            elif "$from" in value:
                plain.append(_read_from(value, _pointer(trail)))
            else:
                stack.extend((inner, (trail, key)) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend((value[index], (trail, str(index))) for index in reversed(range(len(value))))
    return References(tuple(plain), each)


def fill(arguments: Any, found: References, result_of: Callable[[str], Any], *, item: Any = MISSING) -> Any:
    """Return the arguments with every reference replaced by its value.

    Args:
        arguments: as `find_references` got them; not changed.
        found: what it returned.
        result_of: gives the parsed result of a call, by the name that the model used.
        item: what takes the place of `$each`.

    The values are the results' own, not copies: neither may be changed afterwards.

    Raises:
        ReferenceProblem: a path leads nowhere, or the arguments as a whole would not be an object.
        ValueError: there is a `$each` and no item.
    """
    filled: list[tuple[Reference, Any]] = [(one, _value_of(one, result_of)) for one in found.plain]
    if found.each is not None:
        if item is MISSING:
            raise ValueError("arguments with $each need an item")
        filled.append((found.each, item))
    root = arguments
    ours: set[int] = set()  # the containers that were copied already, by identity
    for reference, value in filled:
        if not reference.at:
            if not isinstance(value, dict):
                raise ReferenceProblem(
                    f"{_place('')}: must be an object; {_origin(reference, found)} is {_describe(value)}"
                )
            return value
        *steps, last = _steps(reference.at)
        root = node = _own(root, ours)
        for step in steps:
            key = int(step) if isinstance(node, list) else step
            node[key] = node = _own(node[key], ours)
        node[int(last) if isinstance(node, list) else last] = value
    return root


def items(found: References, result_of: Callable[[str], Any], *, most: int) -> list[Any]:
    """Return the list that `$each` names: the result's own, not a copy.

    Raises:
        ReferenceProblem: it is no list, has more than `most` items, or is not there.
        ValueError: there is no `$each`.
    """
    each = found.each
    if each is None:
        raise ValueError("these arguments have no $each")
    value = _value_of(each, result_of)
    whole = _whole(each)
    if not isinstance(value, list):
        raise ReferenceProblem(f'{_place(each.at)}: "$each" needs a list; {whole} is {_describe(value)}')
    if len(value) > most:
        raise ReferenceProblem(
            f'{_place(each.at)}: "$each" may have {most} items at most; {whole} has {len(value)}; '
            'ask for fewer, or refer to some of them with "$from"'
        )
    return value


def look_up(value: Any, pointer: str) -> Any:
    """Return what a JSON Pointer (RFC 6901) leads to.

    Raises:
        ReferenceProblem: it leads nowhere, or is no pointer; names the first step that is not there and
            what there is instead.
    """
    if wrong := _not_a_pointer(pointer):
        raise ReferenceProblem(wrong)
    node = value
    steps = _steps(pointer)
    for depth, step in enumerate(steps):
        if isinstance(node, dict):
            if step in node:
                node = node[step]
                continue
        elif isinstance(node, list) and (index := _index(step)) is not None and index < len(node):
            node = node[index]
            continue
        raise ReferenceProblem(f"no '{_short(pointer)}': {_instead(node, steps, depth)}")
    return node


def check_types(arguments: Any, schema: Mapping[str, Any], found: References) -> None:
    """Check what references brought in against a tool's JSON Schema (2020-12).

    Only places that a reference filled count, and what is inside them; whoever runs the tool checks the
    whole. A schema that is itself wrong, or refers to another document, is left to them as well.

    Raises:
        ReferenceProblem: a value does not fit; names the place, what is expected and what came.
    """
    validator = _validators.get(schema)
    if validator is None:
        return
    for reference in (*found.plain, *([found.each] if found.each else ())):
        value, parts = _schemas_at(arguments, schema, _steps(reference.at))
        for part in parts:
            try:
                error = next(validator.evolve(schema=part).iter_errors(value), None)
            except (RecursionError, Unresolvable):
                continue
            if error is not None:
                raise ReferenceProblem(_mismatch(error, reference, found))


class _Validators:
    """Validators of the schemas used last. A schema is known by identity: tools keep theirs for life."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # The schema is kept beside its validator, or its id could come to mean another one.
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Draft202012Validator | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, schema: Mapping[str, Any]) -> Draft202012Validator | None:
        """Return the validator; None when the schema is not valid."""
        if (kept := self._kept.get(id(schema))) is not None:
            self._kept.move_to_end(id(schema))
            return kept[1]
        validator: Draft202012Validator | None = None
        try:
            Draft202012Validator.check_schema(schema)
            # An empty registry: the default one would fetch other documents over the network.
            validator = Draft202012Validator(schema, registry=Registry())
        except SchemaError:
            pass
        self._kept[id(schema)] = (schema, validator)
        if len(self._kept) > _VALIDATORS:
            self._kept.popitem(last=False)
        return validator


_validators = _Validators()

# Where a value is, from the inside out, so that a place costs nothing until it is named.
_Trail = tuple["_Trail", str] | None


def _pointer(trail: _Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(step)
    return _joined(reversed(steps))


def _joined(steps: Iterable[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _steps(pointer: str) -> list[str]:
    if "~" in pointer:
        return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    return pointer.split("/")[1:]


def _read_from(value: dict[str, Any], at: str) -> Reference:
    for key in value:
        if key not in ("$from", "path"):
            raise ReferenceProblem(
                f'{_place(at)}: a reference has the keys "$from" and "path" only, not {_quoted(key)}; '
                f"write {_FROM_FORM}"
            )
    return _read(value, at, "$from", _FROM_FORM)


def _read_each(value: dict[str, Any], at: str) -> Reference:
    for key in value:
        if key != "$each":
            raise ReferenceProblem(
                f'{_place(at)}: "$each" stands alone in its object, without {_quoted(key)}; write {_EACH_FORM}'
            )
    inner = value["$each"]
    if not isinstance(inner, dict):
        raise ReferenceProblem(f'{_place(at)}: "$each" needs an object, not {_describe(inner)}; write {_EACH_FORM}')
    for key in inner:
        if key not in ("from", "path"):
            raise ReferenceProblem(
                f'{_place(at)}: "$each" has the keys "from" and "path" only, not {_quoted(key)}; write {_EACH_FORM}'
            )
    return _read(inner, at, "from", _EACH_FORM)


def _read(value: dict[str, Any], at: str, key: str, form: str) -> Reference:
    source = value.get(key, MISSING)
    if source is MISSING:
        raise ReferenceProblem(f'{_place(at)}: "{key}" is missing; write {form}')
    if not isinstance(source, str) or not source:
        raise ReferenceProblem(f'{_place(at)}: "{key}" must be the id of a call, not {_describe(source)}; write {form}')
    path = value.get("path")
    if path is None:
        path = ""
    if not isinstance(path, str):
        raise ReferenceProblem(f'{_place(at)}: "path" must be a string, not {_describe(path)}; write {form}')
    if wrong := _not_a_pointer(path):
        raise ReferenceProblem(f"{_place(at)}: {wrong}")
    return Reference(source, path, at)


def _not_a_pointer(path: str) -> str:
    if path and not path.startswith("/"):
        # Other notations (items[0].url, $.items, #/items) say the same in ways that are easily rewritten.
        likely = re.sub(r"[.\[\]/]+", "/", "/" + path.lstrip("$#")).rstrip("/")
        if not likely:
            return f'"path" {_quoted(path)} is no JSON Pointer: leave it out for the whole result'
        return f'"path" is a JSON Pointer and starts with "/": write {_quoted(likely)}, not {_quoted(path)}'
    if _BAD_ESCAPE.search(path):
        return f'"path" {_quoted(path)} has a lone "~": in a JSON Pointer "~" in a key is "~0", and "/" is "~1"'
    return ""


def _value_of(reference: Reference, result_of: Callable[[str], Any]) -> Any:
    result = result_of(reference.source)
    try:
        return look_up(result, reference.path)
    except ReferenceProblem as problem:
        raise ReferenceProblem(f"{_place(reference.at)}: {_short(reference.source)} has {problem.message}") from None


def _own(node: Any, ours: set[int]) -> Any:
    if id(node) in ours:
        return node
    copy = node.copy()
    ours.add(id(copy))
    return copy


def _index(step: str) -> int | None:
    if not _INDEX.fullmatch(step):
        return None
    # No list is as long as 19 digits, and int() refuses thousands of them.
    return int(step[:19])


def _instead(node: Any, steps: list[str], depth: int) -> str:
    here = _short(_joined(steps[:depth])) or "the result"
    if isinstance(node, list):
        if _index(steps[depth]) is None:
            write = _short(_joined([*steps[:depth], "0"]))
            return f"{here} is {_describe(node)}, and {_quoted(steps[depth])} is no index (the first is '{write}')"
        return f"{here} has {_count(len(node), 'item')}" if node else f"{here} is an empty list"
    if isinstance(node, dict) and node:
        return f"{here} has {_keys(node)}"
    return f"{here} is {_describe(node)}"


def _schemas_at(arguments: Any, schema: Mapping[str, Any], steps: list[str]) -> tuple[Any, list[Mapping[str, Any]]]:
    """Return the value at a place, and the parts of the schema that apply there whatever else holds.

    So the alternatives of `anyOf` and the like on the way to the place are not among them.
    """
    node, parts = arguments, [schema]
    for step in steps:
        whole = _with_included(parts, schema)
        if isinstance(node, list):
            parts = [part for one in whole for part in _of_index(one, int(step))]
            node = node[int(step)]
        else:
            parts = [part for one in whole for part in _of_key(one, step)]
            node = node[step]
    return node, parts


def _with_included(parts: list[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas together with those that they include by `$ref` (within the document) and `allOf`."""
    whole = list(parts)
    seen = set(map(id, whole))
    for part in whole:
        included = list(part.get("allOf", ()))
        target = part.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            with suppress(ReferenceProblem):
                included.append(look_up(root, unquote(target[1:])))
        for one in included:
            if isinstance(one, dict) and id(one) not in seen:
                seen.add(id(one))
                whole.append(one)
    return whole


def _of_key(schema: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    named = schema.get("properties", {})
    found = [named[key]] if key in named else []
    found += [part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    found = found or [schema.get("additionalProperties")]
    return [part for part in found if isinstance(part, dict)]


def _of_index(schema: Mapping[str, Any], index: int) -> list[Mapping[str, Any]]:
    first = schema.get("prefixItems", ())
    part = first[index] if index < len(first) else schema.get("items")
    return [part] if isinstance(part, dict) else []


def _mismatch(error: ValidationError, reference: Reference, found: References) -> str:
    rest = _joined(map(str, error.absolute_path))
    if str(error.validator) == "None":  # the schema `false`; such an error does not say where
        origin, value = _origin(reference, found), _describe(error.instance)
        return f"{_place(reference.at)}: {origin} holds what is not allowed there: {value}"
    return (
        f"{_place(reference.at + rest)}: must be {_expected(error)}; "
        f"{_origin(reference, found, rest)} is {_describe(error.instance)}"
    )


def _expected(error: ValidationError) -> str:
    keyword = str(error.validator)
    rule: Any = error.validator_value
    if keyword in ("anyOf", "oneOf") and all(map(_only_type, rule)):
        return " or ".join(_type_words(one["type"]) for one in rule)
    if keyword == "type":
        return _type_words(rule)
    text = json.dumps({keyword: rule}, ensure_ascii=False, default=str)
    return f"such that {_short(text, _SHOWN_SCHEMA)}"


def _only_type(schema: Any) -> bool:
    return isinstance(schema, dict) and "type" in schema and schema.keys() <= {"type", "title", "description"}


def _type_words(types: str | list[str]) -> str:
    return " or ".join(_TYPE_WORDS.get(one, one) for one in ([types] if isinstance(types, str) else types))


def _origin(reference: Reference, found: References, rest: str = "") -> str:
    if reference is not found.each:
        return _whole(Reference(reference.source, reference.path + rest, reference.at))
    item = f"an item of {_whole(reference)}"
    return f"'{_short(rest)}' in {item}" if rest else item


def _whole(reference: Reference) -> str:
    if reference.path:
        return f"'{_short(reference.path)}' of {_short(reference.source)}"
    return f"the result of {_short(reference.source)}"


def _place(at: str) -> str:
    return f"argument {_short(at)}" if at else "the arguments"


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {_keys(value)}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {_count(len(value), 'item')}" if value else "an empty list"
    if isinstance(value, str):
        return f"the string {_quoted(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"the number {_short(str(value))}"


def _keys(value: dict[str, Any]) -> str:
    shown = [f"'{_short(key)}'" for key, _ in zip(value, range(_SHOWN_KEYS), strict=False)]
    more = len(value) - len(shown)
    word = "the key" if len(value) == 1 else "the keys"
    return f"{word} {', '.join(shown)}" + (f" and {more} more" if more else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _quoted(text: str) -> str:
    return f'"{_short(text)}"'


def _short(text: str, most: int = _SHOWN_TEXT) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
