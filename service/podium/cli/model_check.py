"""What a model can do, tried out: a short answer, a JSON Schema, a tool call, and leaving early."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from podium.cli.failures import CommandFailed, Exit
from podium_client import AsyncPodium, Generation, ModelInfo, PodiumError, ToolDefinition, ToolExample

__all__ = ["CheckResult", "ModelReport", "check_model"]

_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
_ADD = ToolDefinition(
    "add_numbers",
    "Add two whole numbers.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    (ToolExample("add 3 and 4", {"a": 3, "b": 4}), ToolExample("what is 12 plus 9?", {"a": 12, "b": 9})),
)
_SHOWN = 60
_WHOLE = 0.05  # sent within this share of the time at its end: all at once
_PIECES = 2  # the first, and one more to show that it was going on


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How one check went.

    Attributes:
        outcome: `skipped` when the model does not offer what is checked, or there was nothing to see.
        first_output_seconds: from the server's receipt of the request to the first output; None if unknown.
        tokens_per_second: after the first output; None if unknown.
    """

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    detail: str
    first_output_seconds: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """All checks of one model."""

    model: ModelInfo
    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(check.outcome != "failed" for check in self.checks)

    def as_json(self) -> str:
        """Return the report as one JSON object."""
        body = {"model": self.model.name, "kind": self.model.kind, "ok": self.ok}
        return json.dumps({**body, "checks": [asdict(check) for check in self.checks]}, ensure_ascii=False)


async def check_model(podium: AsyncPodium, name: str, deadline: float | None) -> ModelReport:
    """Try everything out, one after another.

    Args:
        podium: the server.
        name: name or alias of the model.
        deadline: seconds for each check; None for the client's own limit.

    Raises:
        CommandFailed: the server has no such model, or it is not ready.
        PodiumError: the server cannot be asked at all.
    """
    model = _found(await podium.list_models(), name)
    if not model.ready:
        raise CommandFailed(f"model {model.name} is not ready: {model.detail}", code=Exit.NOT_READY)
    tester = _Tester(podium, model.name, deadline)
    checks = [await tester.run("text", tester.text)]
    for kind, offered, check in (
        ("json-schema", model.json_schema, tester.schema),
        ("tools", model.tools, tester.tool),
    ):
        if offered:
            checks.append(await tester.run(kind, check))
        else:
            checks.append(CheckResult(name=kind, outcome="skipped", detail="the model does not offer it"))
    checks.append(await tester.run("cancel", tester.cancel))
    return ModelReport(model=model, checks=tuple(checks))


class _Tester:
    def __init__(self, podium: AsyncPodium, model: str, deadline: float | None) -> None:
        self._podium = podium
        self._model = model
        self._deadline = deadline

    async def run(self, name: str, check: Callable[[str], Awaitable[CheckResult]]) -> CheckResult:
        """Run one check; what the server refuses is a failure of the check."""
        try:
            return await check(name)
        except PodiumError as error:
            reason = f" ({error.reason})" if error.reason else ""
            return CheckResult(name=name, outcome="failed", detail=f"{error.message}{reason}")

    async def text(self, name: str) -> CheckResult:
        """Have a short text written."""
        answer = await self._podium.chat(
            "Say hello in one short sentence.", model=self._model, max_tokens=48, deadline=self._deadline
        )
        said = answer.text.strip()
        return _result(name, bool(said), _clipped(said) or "the answer is empty", answer.finished)

    async def schema(self, name: str) -> CheckResult:
        """Have JSON written that a schema allows two values of."""
        answer = await self._podium.chat(
            "Is water wet? Answer in JSON.",
            model=self._model,
            max_tokens=64,
            json_schema=_SCHEMA,
            deadline=self._deadline,
        )
        follows = _parsed(answer.text) in ({"answer": "yes"}, {"answer": "no"})
        detail = _clipped(answer.text.strip()) if follows else f"does not follow the schema: {_clipped(answer.text)}"
        return _result(name, follows, detail, answer.finished)

    async def tool(self, name: str) -> CheckResult:
        """Offer one tool that the request plainly needs."""
        answer = await self._podium.chat(
            "Add 19 and 21.", model=self._model, tools=[_ADD], max_tokens=128, deadline=self._deadline
        )
        if not answer.calls:
            detail = f"answered in text instead of calling the tool: {_clipped(answer.text.strip())}"
            return _result(name, False, detail, answer.finished)
        call = answer.calls[0]
        shown = f"{call.tool}({_clipped(call.arguments_json.decode(errors='replace'))})"
        good = call.tool == _ADD.name and _parsed(call.arguments_json) == {"a": 19, "b": 21}
        return _result(name, good, shown if good else f"called wrongly: {shown}", answer.finished)

    async def cancel(self, name: str) -> CheckResult:
        """Leave a long answer after its first piece, and see that the next request is answered."""
        story = self._podium.generate(
            "Tell a long story about the sea.", model=self._model, max_tokens=512, deadline=self._deadline
        )
        pieces = 0
        async with story as answer, aclosing(answer.parts()) as parts:
            async for _ in parts:
                pieces += 1
                if pieces == _PIECES:
                    break
        if pieces < _PIECES:
            return CheckResult(name=name, outcome="skipped", detail="the answer was over before it could be left")
        after = await self._podium.chat("Say hello.", model=self._model, max_tokens=8, deadline=self._deadline)
        return _result(name, True, "left after two pieces; the next request was answered", after.finished)


def _found(models: tuple[ModelInfo, ...], name: str) -> ModelInfo:
    for model in models:
        if name == model.name or name in model.aliases or (name == "default" and model.default):
            return model
    known = ", ".join(model.name for model in models)
    raise CommandFailed(f"the server has no model {name!r}; it has {known}", code=Exit.USAGE)


def _result(name: str, good: bool, detail: str, finished: Generation) -> CheckResult:
    return CheckResult(
        name=name,
        outcome="ok" if good else "failed",
        detail=detail,
        first_output_seconds=_seconds(finished.time_to_first_output),
        tokens_per_second=_speed(finished),
    )


def _speed(finished: Generation) -> float | None:
    first, each = finished.time_to_first_output, finished.time_per_token
    # What is checked first and then sent at once does not show how fast it was written.
    if not first or not each or finished.time - first < finished.time * _WHOLE:
        return None
    return round(1 / each.total_seconds(), 1)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _clipped(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "\N{HORIZONTAL ELLIPSIS}"
