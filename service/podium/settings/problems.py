"""What is wrong with a configuration: one error that lists everything, with origins and remedies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from podium.errors import FailedPrecondition

__all__ = ["Layer", "Origin", "Problem", "SettingsError"]


class Layer(IntEnum):
    """Where values come from; a higher layer wins over a lower one."""

    DEFAULT = 0
    FILE = 1
    DOTENV = 2
    ENVIRONMENT = 3
    FLAG = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from: the layer, and the name by which it was given."""

    layer: Layer
    name: str = ""

    def __str__(self) -> str:
        match self.layer:
            case Layer.DEFAULT:
                return "default"
            case Layer.ENVIRONMENT:
                return f"environment variable {self.name}"
            case Layer.FLAG:
                return f"command line, {self.name}"
            case _:
                return self.name


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where it is, what is wrong, and what to do about it."""

    where: str
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.todo}" if self.todo else "")


class SettingsError(FailedPrecondition):
    """The configuration cannot be used. The message lists every problem; the process ends with code 2."""

    default_reason = "FAILED_PRECONDITION"
    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "one problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The configuration has {count}:\n{lines}")
