"""Why a guide is outside the allowed subset."""

from __future__ import annotations

__all__ = ["GuideError"]


class GuideError(Exception):
    """A guide that must not reach the engine; the text says where and why, for the caller."""
