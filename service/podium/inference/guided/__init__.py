"""Guided planning for small models: retrieval, typed spans and constrained decoding in place of raw skill.

What lives here turns a request and a set of tools into calls, and results into an answer, with a
model that could do neither alone. Nothing here knows a tool by name or reads a setting; engines
are reached through the `Engine` protocol only.
"""

from podium.inference.guided.model import GuidedChatModel, GuidedProfile
from podium.inference.guided.vectors import WordVectors

__all__ = ["GuidedChatModel", "GuidedProfile", "WordVectors"]
