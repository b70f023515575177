"""Results told plainly, without the model: the answer that is always right, if a little dry.

A tool may say how its result reads with `x-podium-answer` in its output schema, a template such
as `"{expression} is {result}."` over the fields of the result. Otherwise the result's own fields
are told: what repeats the arguments is left out, long texts and lists are shortened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.inference.guided.slots import name_words
from podium.orchestration.tool import ToolSpec

__all__ = ["ResultView", "joined", "render"]

_MAX_ITEMS = 10
_MAX_TEXT = 1600
_MAX_FIELDS = 12
_MAIN = ("result", "answer", "value", "output", "summary", "message", "total", "count")
_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ResultView:
    """One call and what came of it."""

    tool: str
    arguments: Mapping[str, Any]
    content: str
    ok: bool
    spec: ToolSpec | None = None

    @property
    def template(self) -> str | None:
        """How the tool says that its results read, when it says so."""
        template = (self.spec.output_schema or {}).get("x-podium-answer") if self.spec is not None else None
        return template if isinstance(template, str) else None

    @property
    def value(self) -> Any:
        """The result as JSON value, or as the text it is."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content


def _phrase(name: str) -> str:
    return " ".join(name_words(name)) or name


def _label(view: ResultView) -> str:
    label = _phrase(view.tool)
    return label[:1].upper() + label[1:]


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(value) if isinstance(value, int | float) else str(value)


def _clip(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT].rstrip()} …"


def _inline(value: Any, depth: int = 0) -> str:
    """Write a value within a sentence."""
    if isinstance(value, Mapping):
        fields = [f"{_phrase(name)} {_inline(item, depth + 1)}" for name, item in list(value.items())[:_MAX_FIELDS]]
        return ", ".join(fields) if depth == 0 else f"({', '.join(fields)})"
    if isinstance(value, list):
        shown = ", ".join(_inline(item, depth + 1) for item in value[:_MAX_ITEMS])
        return f"{shown} and {len(value) - _MAX_ITEMS} more" if len(value) > _MAX_ITEMS else shown or "none"
    return _clip(_scalar(value)).replace("\n", " ")


def _item_line(item: Any) -> str:
    if not isinstance(item, Mapping):
        return f"- {_inline(item)}"
    (_, first), *rest = item.items()
    tail = "; ".join(f"{_phrase(name)}: {_inline(value, 1)}" for name, value in rest[:_MAX_FIELDS])
    return f"- {_inline(first)}" + (f" ({tail})" if tail else "")


def _listing(head: str, items: Sequence[Any]) -> str:
    if not items:
        return f"{head}: nothing found."
    lines = [_item_line(item) for item in items[:_MAX_ITEMS] if item != {}]
    if len(items) > _MAX_ITEMS:
        lines.append(f"- and {len(items) - _MAX_ITEMS} more")
    return f"{head}:\n" + "\n".join(lines)


def _subject(view: ResultView) -> str:
    told = [_inline(value) for value in view.arguments.values() if value not in (None, "", [], {})]
    told = [text if len(text) <= 80 else f"{text[:77]}…" for text in told]
    return f"{_label(view)} ({', '.join(told)})" if told else _label(view)


def _from_template(view: ResultView, value: Any) -> str | None:
    template = view.template
    if template is None or not isinstance(value, Mapping):
        return None
    fields = {**view.arguments, **value}
    if any(name not in fields or isinstance(fields[name], Mapping | list) for name in _FIELD.findall(template)):
        return None
    return _FIELD.sub(lambda match: _clip(_scalar(fields[match[1]])), template)


def _same(first: Any, second: Any) -> bool:
    return first == second or str(first).casefold() == str(second).casefold()


def _object(view: ResultView, value: Mapping[str, Any]) -> str:
    fresh = {
        name: item
        for name, item in value.items()
        if not (name in view.arguments and _same(view.arguments[name], item)) and item not in (None, "")
    }
    subject = _subject(view)
    lists = [name for name, item in fresh.items() if isinstance(item, list)]
    texts = [name for name, item in fresh.items() if isinstance(item, str) and ("\n" in item or len(item) > 200)]
    if len(lists) == 1 and (not fresh[lists[0]] or len(fresh[lists[0]]) > 1 or isinstance(fresh[lists[0]][0], Mapping)):
        return _listing(subject, fresh[lists[0]])
    if len(texts) == 1:
        return f"{subject}:\n{_clip(str(fresh[texts[0]]).strip())}"
    main = next((name for name in _MAIN if name in fresh and not isinstance(fresh[name], Mapping | list)), None)
    if main is not None:
        rest = {name: item for name, item in fresh.items() if name != main}
        tail = f" ({_inline(rest)})" if rest else ""
        return f"{subject}: {_inline(fresh[main])}{tail}."
    return f"{subject}: {_inline(fresh)}." if fresh else f"{subject}: done."


def render(view: ResultView) -> str:
    """Tell one result, or one failure, in a sentence or a short list."""
    if not view.ok:
        reason = view.content.strip().removeprefix(f"{view.tool}: ").rstrip(".") or "no reason was given"
        return f"{_subject(view)} failed: {_clip(reason)}."
    value = view.value
    told = _from_template(view, value)
    if told is not None:
        return told
    if isinstance(value, Mapping):
        return _object(view, value) if value else f"{_subject(view)}: done."
    if isinstance(value, list):
        return _listing(_subject(view), value)
    if value is None or value == "":
        return f"{_subject(view)}: done."
    text = _clip(_scalar(value).strip())
    return f"{_subject(view)}: {text}" if text[-1:] in ".!?…" else f"{_subject(view)}: {text}."


def joined(told: Sequence[str]) -> str:
    """Put what is told of several results together; short ones of two or three calls as one paragraph."""
    short = len(told) <= 3 and all("\n" not in text and len(text) <= 160 for text in told)
    return (" " if short else "\n").join(told)
