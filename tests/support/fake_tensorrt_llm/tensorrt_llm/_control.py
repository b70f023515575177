"""What tests set and read: faults, settings, scripts and the record of calls. The real package has none of this.

`FAKE_TRTLLM` in the environment holds JSON for a fake in another process, such as
`{"settings": {"tokens_per_second": 50}, "faults": {"dead_after": 9}, "scripts": [{"prompt": [5], "tokens": [7]}]}`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ENVIRONMENT", "Calls", "Fake", "Faults", "Script", "Settings", "Submit", "fake"]

ENVIRONMENT = "FAKE_TRTLLM"


@dataclass(kw_only=True)
class Settings:
    """How the fake behaves when nothing goes wrong. Settings of an engine are read as it runs."""

    version: str = "1.2.1"
    tokens_per_second: float = 5000.0
    """Decode steps per second, which is tokens per second of one stream; 0 means as fast as the machine can."""
    tokens_per_step: int = 1
    """More than 1 is what speculative decoding does: several ids in one step (rule 24)."""
    natural_length: int | None = None
    """Ids before EOS of an unscripted answer; None takes 8 to 39, by the prompt."""
    eos_id: int = 2
    max_seq_len: int = 4096
    kv_blocks: int = 4096
    stats_form: str = "rpc"
    """`rpc` or `queue`, the two forms of rule 26."""
    logprobs_form: str = "dict"
    """`dict` (id to Logprob) or `float`: section 2.5 names both."""
    guides: dict[str, list[int]] = field(default_factory=dict)
    """Ids that a regex, grammar or structural tag of this text forces, if guided decoding is on."""


@dataclass(kw_only=True)
class Faults:
    """What goes wrong. Everything is off by default, and can be switched while an engine runs."""

    import_seconds: float = 0.0
    import_hang: bool = False
    import_error: str = ""
    import_signal: int = 0
    construct_seconds: float = 0.0
    construct_hang: bool = False
    construct_error: str = ""
    shutdown_seconds: float = 0.0
    shutdown_hang: bool = False
    submit_error: str = ""
    """`ExceptionName: message` of a built-in exception, raised by every submit (rule 1)."""
    request_error: str = ""
    """The message of a RequestError at iteration, for every request (rule 16)."""
    request_error_after: int = 0
    """How many ids a request makes before `request_error`."""
    fatal_error: str = ""
    """The message of a CppExecutorError in the background (rule 2), when `fatal_after` ids have been made."""
    fatal_after: int = 0
    dead_after: int | None = None
    """The worker dies silently when it has made this many ids (rule 18)."""
    prefill_seconds: float = 0.0
    stall_after: int | None = None
    """A request makes no more ids after this many, while others go on."""
    abort_ignored: bool = False
    abort_seconds: float = 0.0
    zero_tokens: bool = False
    """Completions without ids and without an error (rule 34)."""
    wrong_tokens: bool = False
    """Ids that the prompt does not lead to, as after a corrupted KV cache (rule 34)."""
    lose_wakeups: bool = False
    """Use from a second loop loses wake-ups, as it really does (rule 17). Off: such a submit raises."""
    stats_fail: bool = False
    """Reading stats fails, which the RPC form shows as an empty list (rule 26)."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What one prompt is answered with."""

    tokens: Sequence[int] = ()
    finish: str = "eos"
    """`eos` appends the EOS id, `hang` makes nothing more, `timeout`, `not_finished` and others are passed on."""
    error: str = ""
    """A RequestError with this message after the tokens."""
    sequences: Sequence[Sequence[int]] = ()
    """Tokens by output index, for n > 1; `tokens` where it is shorter."""

    def of(self, index: int) -> Sequence[int]:
        """Return the tokens of one output."""
        return self.sequences[index] if index < len(self.sequences) else self.tokens


@dataclass(frozen=True, kw_only=True)
class Submit:
    """One accepted `generate_async`."""

    request_id: int
    prompt_token_ids: tuple[int, ...]
    sampling: Mapping[str, Any]
    streaming: bool
    arguments: Mapping[str, Any]
    guide_enforced: bool
    thread: int


@dataclass
class Calls:
    """What the engines were asked, and what they hold. Bounded by the test that resets it."""

    constructed: list[dict[str, Any]] = field(default_factory=list)
    submits: list[Submit] = field(default_factory=list)
    aborts: list[int] = field(default_factory=list)
    """Request ids as `abort()` was called, before the engine has seen it."""
    cancelled: list[int] = field(default_factory=list)
    """Request ids whose abort the engine has carried out."""
    shutdowns: list[int] = field(default_factory=list)
    """The thread identifier of each call of `shutdown()` that had something to shut down."""
    misuses: list[str] = field(default_factory=list)
    """Uses that the real package lets pass and that end badly; a correct wrapper leaves this empty."""
    live: dict[int, int] = field(default_factory=dict)
    """Request id to tokens of KV cache held by it: prompt and output."""
    tokens_made: int = 0

    @property
    def kv_held(self) -> int:
        """Tokens of KV cache held by live requests."""
        return sum(self.live.copy().values())


class Fake:
    """The one object `tensorrt_llm.fake`."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._on_version: list[Callable[[str], None]] = []
        self._engines: list[weakref.ref[Any]] = []
        self._hanging = threading.Event()
        self.reset()

    def reset(self, version: str = "1.2.1") -> None:
        """Forget everything: end what hangs, release the engines' threads, no faults, no scripts, no calls."""
        for engine in self._alive():
            engine.release()
        self._engines = []
        with self.changed:
            self.faults = Faults()
            self.settings = Settings()
            self.calls = Calls()
            self.scripts: dict[tuple[int, ...], Script] = {}
            self._hanging.set()
            self._hanging = threading.Event()
        self.use_version(version)

    def use_version(self, version: str) -> None:
        """Behave as this version: from 1.3 `generate_async` takes `conversation_params` and `priority` (#12362)."""
        self.settings.version = version
        for apply in self._on_version:
            apply(version)

    def on_version(self, apply: Callable[[str], None]) -> None:
        """Call `apply` with the version now and whenever it changes."""
        self._on_version.append(apply)
        apply(self.settings.version)

    def script(self, prompt: Sequence[int], script: Script) -> None:
        """Answer this prompt so."""
        self.scripts[tuple(prompt)] = script

    def hang(self) -> None:
        """Block the calling thread until `reset()`, as a hang does; the test run can still end."""
        self._hanging.wait()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for this long, or until `reset()`."""
        if seconds > 0:
            self._hanging.wait(seconds)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 10.0) -> bool:
        """Wait, blocking, until the record fulfils a condition; whether it did within `timeout` seconds."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    def engine_started(self, engine: Any) -> None:
        """Note an engine, so that `fail`, `kill_workers` and `reset` reach it."""
        self._engines.append(weakref.ref(engine))

    def fail(self, error: Exception) -> None:
        """Queue a fatal background error in every engine; it surfaces at the next submit or response (rule 2)."""
        for engine in self._alive():
            engine.errors.put(error)

    def kill_workers(self) -> None:
        """Let every worker die silently: no more responses, no error, `_check_health()` stays True (rule 18)."""
        for engine in self._alive():
            engine.worker.die()

    def evict(self) -> None:
        """Drop every cached block that no request uses, which makes `removed` events."""
        for engine in self._alive():
            engine.worker.kv.evict()

    def _alive(self) -> list[Any]:
        return [engine for reference in self._engines if (engine := reference()) is not None]

    def load(self, document: str) -> None:
        """Apply the JSON of `FAKE_TRTLLM`."""
        given = json.loads(document)
        unknown = set(given) - {"faults", "settings", "scripts"}
        if unknown:
            raise ValueError(f"{ENVIRONMENT} has unknown parts: {sorted(unknown)}")
        _apply(self.faults, given.get("faults", {}))
        _apply(self.settings, given.get("settings", {}))
        for entry in given.get("scripts", []):
            fields = dict(entry)
            self.script(fields.pop("prompt"), Script(**fields))
        self.use_version(self.settings.version)


def _apply(target: Faults | Settings, values: Mapping[str, Any]) -> None:
    names = {part.name for part in dataclasses.fields(target)}
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"{ENVIRONMENT} has no {type(target).__name__.lower()} called {name}")
        setattr(target, name, value)


fake = Fake()
if os.environ.get(ENVIRONMENT):
    fake.load(os.environ[ENVIRONMENT])
