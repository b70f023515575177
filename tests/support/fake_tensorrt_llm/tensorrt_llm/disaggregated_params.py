"""`DisaggregatedParams` (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DisaggregatedParams"]


@dataclass(slots=True, kw_only=True)
class DisaggregatedParams:
    """The handle between the context and the generation leg."""

    request_type: str | None = None
    first_gen_tokens: list[int] | None = None
    ctx_request_id: int | None = None
    opaque_state: bytes | None = None
    draft_tokens: list[int] | None = None
    disagg_request_id: int | None = None
    ctx_dp_rank: int | None = None
    ctx_info_endpoint: str | None = None
    multimodal_embedding_handles: list[Any] | None = None
