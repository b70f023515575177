"""`ask_user`: the tool with which a model puts a question to whoever asked for the run."""

from __future__ import annotations

from typing import Any, Final

import orjson

from podium.orchestration.core import RunScope
from podium.orchestration.events import AnswerSource, CallOutcome, CallSkipped, CallSucceeded, QuestionKind
from podium.orchestration.life import Phase
from podium.orchestration.nodes import Node
from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode, ToolSpec
from podium.packed_json import packed

__all__ = ["ASK_USER", "AskUser"]

ASK_USER: Final = ToolSpec(
    name="ask_user",
    description="Ask the person one question when the request can be read in several ways and a wrong guess would"
    " matter. The result is the answer. Other calls go on meanwhile.",
    input_schema={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": 1000},
            "kind": {"enum": ["choice", "text", "confirm", "value"], "default": "text"},
            "choices": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 50},
            "schema": {"type": "object", "description": "JSON Schema of the answer, for kind value."},
            "default": {"description": "The answer that counts when none comes."},
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    side_effects=SideEffects.NONE,
    timeout_seconds=300.0,
    type="question",
)
_REFERENCES: Final = (b'"$ref"', b'"$dynamicRef"', b'"$recursiveRef"')  # validators fetch what they name
_SCHEMAS: Final[dict[QuestionKind, dict[str, Any]]] = {
    QuestionKind.TEXT: {"type": "string"},
    QuestionKind.CONFIRM: {"type": "boolean"},
    QuestionKind.VALUE: {},
}


class AskUser:
    """Puts a run's questions."""

    def __init__(self, run: RunScope) -> None:
        self._run = run

    async def answer(self, node: Node, arguments_json: bytes) -> CallOutcome:
        """Ask, and return the answer as the call's result.

        Raises:
            ToolFailure: the model's question is not one.
        """
        kind, prompt, schema, default = _question(arguments_json)
        node.life.enter(Phase.QUESTION)
        run = self._run
        until = min(run.clock() + run.services.policy.question_seconds, run.time.question_end)
        answer = await run.questions.ask(
            kind, prompt, schema=schema, until=until, call_id=node.request.call_id, default=default
        )
        if answer.source in (AnswerSource.ANSWERED, AnswerSource.DEFAULT):
            return CallSucceeded(packed(answer.value), "application/json")
        return CallSkipped("nobody answered" if answer.source is AnswerSource.EXPIRED else "the question was skipped")


def _question(arguments_json: bytes) -> tuple[QuestionKind, str, dict[str, Any], Any]:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415  only runs that ask pay for it

    try:
        given = orjson.loads(arguments_json)
    except orjson.JSONDecodeError:
        given = None
    problem = next(iter(Draft202012Validator(dict(ASK_USER.input_schema)).iter_errors(given)), None)
    if problem is not None:
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, f"ask_user: {problem.message[:300]}")
    choices = given.get("choices")
    kind = QuestionKind(given.get("kind", "choice" if choices else "text").upper())
    if kind is QuestionKind.CHOICE and not choices:
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "ask_user: kind choice needs choices")
    schema = given.get("schema", {}) if kind is QuestionKind.VALUE else _SCHEMAS.get(kind, {"enum": choices})
    if any(word in orjson.dumps(schema) for word in _REFERENCES):
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "ask_user: schema: write it out, without references")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, f"ask_user: schema: {error.message[:300]}") from None
    default = given.get("default")
    if default is not None and not Draft202012Validator(schema).is_valid(default):
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "ask_user: default is no possible answer")
    return kind, given["question"], schema, default
