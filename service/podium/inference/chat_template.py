"""Render a model's own chat template, which is code from a file, in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from podium.errors import InvalidRequest

__all__ = ["ChatTemplate"]

_MAX_TEMPLATE = 256 * 1024


class _RefusedByTemplateError(Exception):
    """The template called `raise_exception`."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the Jinja text, as in `tokenizer_config.json`.
        tokens: special tokens that templates may name, such as `bos_token`.

    Attributes:
        source: that text, which tells what the model was taught.
        has_tools: whether the template describes tools to the model.
        has_calls: whether it renders the calls of earlier turns.

    Raises:
        InvalidRequest: the text is not a template.
    """

    def __init__(self, source: str, tokens: Mapping[str, str] | None = None) -> None:
        if len(source) > _MAX_TEMPLATE:
            raise InvalidRequest("The model's chat template is too large.")
        self.source = source
        self.has_tools = _names_tools(source)
        self.has_calls = "tool_calls" in source
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[jinja2.ext.loopcontrols],
            autoescape=False,  # the output is a prompt, not HTML
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise InvalidRequest("The model's chat template is not valid.") from error
        self._tokens = dict(tokens or {})

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """Return the prompt for `messages` (each with `role` and `content`), ready for the answer.

        Raises:
            InvalidRequest: the template refuses these messages, such as an unknown role.
        """
        try:
            return self._template.render(
                messages=list(messages),
                tools=None if tools is None else list(tools),
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except _RefusedByTemplateError as error:
            raise InvalidRequest(f"The model's chat template refuses this: {error}.") from error
        except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
            raise InvalidRequest("The model's chat template cannot render these messages.") from error


def _names_tools(source: str) -> bool:
    try:
        tree = jinja2.Environment(extensions=[jinja2.ext.loopcontrols], autoescape=True).parse(source)
    except jinja2.TemplateError:
        return False
    # Some templates set the name to none where it is not given, so it counts as theirs: look for its use.
    return any(node.name == "tools" and node.ctx == "load" for node in tree.find_all(jinja2.nodes.Name))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Templates expect this form and these options; Jinja's own filter escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise _RefusedByTemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)
