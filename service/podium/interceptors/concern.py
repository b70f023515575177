"""What a concern is: a small object with a name that binds itself to methods.

`bind(method)` is called once for each method and returns the hooks that its calls pay for, or
None when the concern has nothing to do there. Hooks are plain functions, so a concern is tested
without a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from podium.interceptors.call import Call, Method, Outcome

__all__ = ["ORDER", "Concern", "Hooks", "check_order"]

Admit = Callable[[Call], Awaitable[None] | None]
Receive = Callable[[Call, Any], None]
Finish = Callable[[Call, Outcome], None]
Translate = Callable[[Call, BaseException], Outcome]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a concern does for one method.

    Attributes:
        admit: before the handler, in order; raises to refuse. May return an awaitable, though a
            plain function that returns None costs less.
        receive: for each request message, in order; raises to refuse it.
        finish: after the call, in reverse order, for the concerns that admitted it. Must not raise.
        translate: turns what was raised into an outcome; exactly one concern has it.
    """

    admit: Admit | None = None
    receive: Receive | None = None
    finish: Finish | None = None
    translate: Translate | None = None


class Concern(Protocol):
    """One thing that the chain sees to."""

    @property
    def name(self) -> str:
        """Its place in `ORDER`."""
        ...

    def bind(self, method: Method) -> Hooks | None:
        """Return the hooks for a method, or None."""
        ...


ORDER: Final = (
    "correlation",
    "reporting",
    "error_mapping",
    "deadline",
    "authentication",
    "authorisation",
    "rate_limit",
    "load_shedding",
    "circuit_breaking",
    "validation",
)
"""From the outside in (CONTRACT.md section 3). A chain may leave out all but the first three."""

_REQUIRED: Final = frozenset({"correlation", "reporting", "error_mapping"})


def check_order(names: list[str]) -> None:
    """Raise `ValueError` unless the names are in `ORDER`, once each, with what no chain may lack."""
    unknown = [name for name in names if name not in ORDER]
    if unknown:
        raise ValueError(f"unknown concerns {unknown}: the chain knows {list(ORDER)}")
    if len(set(names)) != len(names):
        raise ValueError(f"a concern is there twice: {names}")
    missing = _REQUIRED.difference(names)
    if missing:
        raise ValueError(f"a chain cannot do without {sorted(missing)}")
    right = sorted(names, key=ORDER.index)
    if names != right:
        raise ValueError(f"the concerns are out of order: {names} should be {right}")
