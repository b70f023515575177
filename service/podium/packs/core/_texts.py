"""Bytes of a file into text, or the finding that they are none."""

from __future__ import annotations

import codecs

__all__ = ["decoded"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def decoded(data: bytes, *, whole: bool = True) -> str | None:
    """Return the text that `data` holds, or None when it is binary.

    Takes UTF-8, UTF-16 and UTF-32 with their marks, and Windows-1252 for old Western texts.

    Args:
        data: the bytes.
        whole: whether they are all; otherwise a character may be cut off at the end.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if encoding:
        return _strictly(data, encoding, whole=whole)
    if b"\x00" in data:
        return None
    text = _strictly(data, "utf-8", whole=whole)
    if text is None and sum(byte > 127 for byte in data) * 3 < len(data):
        text = _strictly(data, "cp1252", whole=True)
    if text is None or sum(byte in _CONTROL for byte in data) * 20 > len(data):
        return None
    return text


def _strictly(data: bytes, encoding: str, *, whole: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeError:
        return None
