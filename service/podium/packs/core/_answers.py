"""How a result reads as a sentence, for answers that are told without a model."""

from __future__ import annotations

from pydantic import ConfigDict

__all__ = ["answer_template"]


def answer_template(template: str) -> ConfigDict:
    """Return a result type's configuration with the sentence that tells it.

    `{name}` stands for a field. It becomes `x-podium-answer` in the tool's output schema.
    """
    return ConfigDict(json_schema_extra={"x-podium-answer": template})
