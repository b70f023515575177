"""Validation: every request message is held against the rules in its proto."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import protovalidate
from google.protobuf import descriptor_pool, message_factory

from podium.errors import FieldViolation, InvalidRequest
from podium.interceptors.call import Call, Method
from podium.interceptors.concern import Hooks

__all__ = ["Validation", "violations_of"]


class Validation:
    """Refuses messages that break a rule, naming each field and rule.

    Args:
        methods: paths of methods whose rules are compiled now, which takes milliseconds, rather
            than when the first call arrives.
    """

    name = "validation"

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self._validator = protovalidate.Validator()
        for path in methods:
            self._warm(path)

    def _warm(self, path: str) -> None:
        service, _, name = path.lstrip("/").rpartition("/")
        try:
            method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        except KeyError:
            return  # not of a proto that this process has loaded
        if method is not None:
            self._validator.collect_violations(message_factory.GetMessageClass(method.input_type)())

    def bind(self, method: Method) -> Hooks | None:
        """Check every request message of every method."""
        self._warm(method.path)
        collect = self._validator.collect_violations

        def receive(call: Call, message: Any) -> None:
            del call
            if type(message) is bytes:  # of a handler without a deserialiser: no rules
                return
            found = collect(message)
            if found:
                raise _refusal(violations_of(found))

        return Hooks(receive=receive)


def violations_of(found: list[protovalidate.Violation]) -> list[FieldViolation]:
    """Return what protovalidate found, in our words."""
    return [FieldViolation(_path(each.proto.field), each.proto.message, each.proto.rule_id) for each in found]


def _path(path: Any) -> str:
    """Write a field path as `spec.tools[3]` or `labels["key"]`."""
    text = ""
    for element in path.elements if path is not None else ():
        text += f".{element.field_name}" if text else element.field_name
        subscript = element.subscript
        if subscript is not None:
            value = subscript.value
            text += f'["{value}"]' if isinstance(value, str) else f"[{value}]"
    return text


def _refusal(violations: list[FieldViolation]) -> InvalidRequest:
    first = violations[0]
    where = f"{first.field}: {first.description}" if first.field else first.description
    more = len(violations) - 1
    text = f"{where} (and {more} more)" if more else where
    return InvalidRequest(f"the request breaks a rule: {text}", violations=violations)
