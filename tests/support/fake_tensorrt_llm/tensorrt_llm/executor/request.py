"""`LoRARequest`, and a request on its way to the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorrt_llm.sampling_params import SamplingParams

__all__ = ["CancellingRequest", "GenerationRequest", "LoRARequest"]


@dataclass(slots=True)
class LoRARequest:
    """An adapter: `executor/request.py@4ce835a` [A]. The path must exist (rule 29)."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    lora_ckpt_source: str = "hf"

    def __post_init__(self) -> None:
        if self.lora_path is not None and not Path(self.lora_path).exists():
            raise ValueError(f"lora_path ({self.lora_path}) does not exist.")
        if self.lora_ckpt_source not in {"hf", "nemo"}:
            raise ValueError(f"Unsupported lora_ckpt_source: {self.lora_ckpt_source!r}")

    @property
    def name(self) -> str:
        """The adapter's name."""
        return self.lora_name

    @property
    def adapter_id(self) -> int:
        """The adapter's id."""
        return self.lora_int_id


@dataclass(slots=True)
class GenerationRequest:
    """A request on the queue to the worker."""

    prompt_token_ids: list[int]
    sampling_params: SamplingParams
    streaming: bool
    cache_salt: str | None = None
    disaggregated_params: Any = None
    guide: list[int] | None = None
    id: int = 0


@dataclass(slots=True)
class CancellingRequest:
    """An abort on the queue to the worker (rule 15)."""

    id: int
