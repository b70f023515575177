"""A fake `tensorrt_llm`: the behaviour that the real package documents or shows in its source, traps included.

No model, no GPU, no dependency. Comments name the rule of our reference (`rule 6`) and where the real code does it:
[A] is late 2025 before the 1.2 branch, [B] the 1.2 branch point, [C] 1.3 and later. `tensorrt_llm.fake` steers it.
"""

from __future__ import annotations

import os
import signal

from tensorrt_llm._control import fake


def _import_faults() -> None:
    """Import slowly, hang, fail or kill the process, as MPI initialisation does (section 1)."""
    faults = fake.faults
    fake.sleep(faults.import_seconds)
    if faults.import_hang:
        # As in MPI_Init: no Python code runs, and only a signal from outside ends it.
        fake.hang()
    if faults.import_error:
        raise ImportError(faults.import_error)
    if faults.import_signal:
        signal.signal(signal.Signals(faults.import_signal), signal.SIG_DFL)
        os.kill(os.getpid(), faults.import_signal)


_import_faults()

# Like the real one, it has few names at the top; the others are in `llmapi` and `executor`.
from tensorrt_llm.disaggregated_params import DisaggregatedParams  # noqa: E402
from tensorrt_llm.llmapi.llm import LLM  # noqa: E402
from tensorrt_llm.sampling_params import SamplingParams  # noqa: E402

__version__ = fake.settings.version

__all__ = ["LLM", "DisaggregatedParams", "SamplingParams", "__version__", "fake"]
