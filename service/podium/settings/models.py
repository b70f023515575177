"""`[models.NAME]` tables and the options of the embedded engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from podium.settings._base import Folder, Group

__all__ = ["EmbeddedModel", "EngineSettings", "ModelSettings", "ScriptedModel"]


class EmbeddedModel(Group):
    """A model that an engine host of ours runs on this machine."""

    kind: Literal["embedded"] = Field(description="embedded: an engine host that Podium starts runs it.")
    engine: Literal["openvino", "tensorrt_llm"] = Field(
        default="openvino", description="The engine: openvino (CPU, Intel GPU) or tensorrt_llm (NVIDIA GPU)."
    )
    model: str = Field(
        min_length=1,
        max_length=1024,
        description="A name that `podium models pull` knows, or the path of a GGUF file or model directory.",
    )


class ScriptedModel(Group):
    """A model that plays a file, for tests and demonstrations."""

    kind: Literal["scripted"] = Field(description="scripted: plays the answers written in a file.")
    file: Folder = Field(description="The script: a file of requests, answers and timings.")


ModelSettings = Annotated[EmbeddedModel | ScriptedModel, Field(discriminator="kind")]

# Kinds that later versions bring; naming one is answered with that, not with "unknown".
LATER_KINDS = ("trtllm", "openai", "anthropic")

BUILT_IN_NAME = "embedded"
BUILT_IN_MODEL = EmbeddedModel(kind="embedded", model="smollm2-135m-instruct")


class EngineSettings(Group):
    """The embedded engine host, one process per embedded model."""

    kv_cache_tokens: int = Field(
        default=32_768,
        ge=512,
        le=16_777_216,
        description="Tokens that the key-value cache of one model holds, prompts and outputs together.",
    )
    threads: int = Field(default=0, ge=0, le=1024, description="Threads that compute; 0 leaves it to the engine.")
    max_active: int = Field(default=32, ge=1, le=4096, description="Requests that generate at once.")
    max_waiting: int = Field(default=256, ge=0, le=100_000, description="Requests that wait; more are refused.")
    nice: int = Field(
        default=10, ge=0, le=19, description="Niceness of the host process: it yields the processor to the server."
    )
    start_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="How long a host may take to load its model, in seconds."
    )
