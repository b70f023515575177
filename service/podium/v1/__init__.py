"""The generated contract `podium.v1`: messages, services and their type stubs.

Everything beside this file is written by `make proto` and never edited. This file holds the one
thing that generated code cannot do for itself: find `buf/validate/validate.proto` in a process
where somebody else has loaded a copy of it.
"""

from __future__ import annotations

import sys
import types

from google.protobuf import descriptor_pool

_VALIDATE_PROTO = "buf/validate/validate.proto"
_VALIDATE_MODULE = "buf.validate.validate_pb2"


def _adopt_loaded_rules() -> None:
    """Use the copy of `validate.proto` that the process already has, if it has one.

    A descriptor pool holds one file of a name; registering a second version of it raises TypeError
    at import. Our stubs only need the file to be there (the rules themselves travel in our own
    descriptors), so whichever copy came first serves.
    """
    if _VALIDATE_MODULE in sys.modules:
        return
    try:
        loaded = descriptor_pool.Default().FindFileByName(_VALIDATE_PROTO)
    except KeyError:
        return
    import buf.validate  # noqa: PLC0415  a namespace package; importing it loads no stubs

    stand_in = types.ModuleType(_VALIDATE_MODULE, "The copy of validate.proto that was loaded first in this process.")
    stand_in.DESCRIPTOR = loaded  # type: ignore[attr-defined]
    sys.modules[_VALIDATE_MODULE] = stand_in
    sys.modules["buf.validate"].validate_pb2 = stand_in  # type: ignore[attr-defined]


_adopt_loaded_rules()
