"""Chat dialects: how families of models take conversations and tools, and write text, thoughts and calls."""

from podium.inference.dialects.dialect import DIALECTS, Dialect, Forced, detect, dialect_named
from podium.inference.dialects.parser import StreamingParser

__all__ = ["DIALECTS", "Dialect", "Forced", "StreamingParser", "detect", "dialect_named"]
