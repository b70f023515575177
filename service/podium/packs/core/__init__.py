"""The core pack: general tools that need no account and, unless hosts are allowed, no network.

Each module holds one family of tools. Public names are the factory and what it takes; modules with
an underscore hold the work. Nothing here reads settings or keeps state outside of the pack.
"""

from __future__ import annotations

from podium.packs.core._pack import CorePackConfig, core_pack
from podium.packs.core._units import known_units
from podium.packs.core.samples import create_workspace

__all__ = ["CorePackConfig", "core_pack", "create_workspace", "known_units"]
