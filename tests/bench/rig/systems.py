"""The systems under test."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SYSTEMS", "SystemKind"]


@dataclass(frozen=True, slots=True)
class SystemKind:
    """One system. `library`: runs in the interpreter of the libraries; `server`: the adapter is its client."""

    name: str
    label: str
    colour: str
    library: bool = False
    server: bool = False

    @property
    def title(self) -> str:
        """Its name on one line."""
        return self.label.replace("\n", " ")


SYSTEMS = {
    kind.name: kind
    for kind in (
        SystemKind("podium_inprocess", "Podium,\nin process", "#2f6fde"),
        SystemKind("podium_grpc", "Podium,\nthrough gRPC", "#6ea0f0", server=True),
        SystemKind("openai_agents", "openai-agents", "#5f666f", library=True),
        SystemKind("pydantic_ai", "pydantic-ai", "#8a8f98", library=True),
        SystemKind("langgraph", "langgraph", "#b3b7bd", library=True),
    )
}
