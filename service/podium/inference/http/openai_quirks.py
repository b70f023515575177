"""How servers that speak the Chat Completions API differ. Data only; `openai_wire` acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["QUIRKS", "Quirks", "Vendor"]


class Vendor(StrEnum):
    """A server, as the settings name it. `generic` keeps to what every server understands."""

    GENERIC = "generic"
    TRTLLM_SERVE = "trtllm_serve"
    VLLM = "vllm"
    OLLAMA = "ollama"
    LM_STUDIO = "lm_studio"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """What a server wants and how it answers.

    How calls arrive needs no entry but `whole_calls`: the reader copes with missing or repeated indices,
    missing, empty or repeated ids, and arguments given as an object, whoever sends them.

    Attributes:
        max_tokens: name of the field that limits the output.
        system_role: the role that standing instructions have.
        required_choice: whether `tool_choice: "required"` is enforced.
        named_choice: whether a tool can be named as the choice; stands in for `required` with one tool.
        choice: whether `tool_choice` is known at all; else tools are left out where none may be called.
        schema_form: how a JSON Schema is asked for; `json` is TensorRT-LLM's own, the only one that all
            its versions take alike.
        strict_when_closed: ask for strict adherence only where the schema fulfils the vendor's terms.
        include_usage: whether `stream_options` is known.
        whole_calls: every delta with a name is a whole new call.
        tokenize: path of an endpoint that counts a chat's tokens exactly, outside `/v1`.
        lists_models: a model that the server does not list does not exist there.
    """

    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    system_role: Literal["system", "developer"] = "system"
    required_choice: bool = True
    named_choice: bool = True
    choice: bool = True
    schema_form: Literal["json_schema", "json"] = "json_schema"
    strict_when_closed: bool = False
    include_usage: bool = True
    whole_calls: bool = False
    tokenize: str = ""
    lists_models: bool = False


QUIRKS: dict[Vendor, Quirks] = {
    Vendor.GENERIC: Quirks(),
    Vendor.TRTLLM_SERVE: Quirks(required_choice=False, schema_form="json", lists_models=True),
    Vendor.VLLM: Quirks(tokenize="/tokenize", lists_models=True),
    Vendor.OLLAMA: Quirks(required_choice=False, named_choice=False, choice=False, whole_calls=True, lists_models=True),
    Vendor.LM_STUDIO: Quirks(named_choice=False),
    Vendor.OPENAI: Quirks(
        max_tokens="max_completion_tokens", system_role="developer", strict_when_closed=True, lists_models=True
    ),
}
