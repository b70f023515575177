"""The one masker: finds secrets in text and in nested values, and replaces them.

Every pattern is linear in the length of the text: runs of characters are bounded, possessive, or
can be entered at one place only, so that no log line can stall the process.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

__all__ = ["MASK", "Masker", "mask_text"]

MASK = "***"
DEEPEST = 8
LONGEST = 32_768

# A text without any of these (in lower case) holds no secret that we know the shape of.
_HINTS = (
    "://", "_pat_", "aiza", "akia", "asia", "auth", "basic ", "bearer", "cookie", "credential", "eyj", "gho_", "ghp_",
    "ghr_", "ghs_", "ghu_", "hf_", "_key", "-key", "apikey", "sskey", "tekey", "lekey", 'key"', "key'", "key\\",
    "private key", "kgat_", "pass", "pdm_", "pwd", "secret", "sk-", "sk_", "xox",
)  # fmt: skip

_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|client[_-]?secret|secret(?:[_-]?access)?[_-]?key|secret|access[_-]?key|"
    r"(?:access|refresh|id|auth|session)?[_-]?token|(?:x-)?api[_-]?key|apikey|private[_-]?key|kaggle[_-]?key|credentials?"
)
_SENSITIVE_NAME = re.compile(
    rf"(?:^|.*[._\s-])?(?:{_NAMES}|(?:proxy-)?authorization|(?:set-)?cookie)\s{{0,3}}", re.IGNORECASE | re.DOTALL
)

_SCHEMES = "bearer|basic|digest|negotiate|token|key|api[_-]?key|hmac|aws4-hmac-sha256"

# What may stand between the name of a header and its value.
_BETWEEN = r"""\\?["']?\s{0,3}[=:,]\s{0,3}(?:value\s{0,3}=\s{0,3})?(?:b(?=\\?["']))?\\?["']?"""

Replacement = str | Callable[[re.Match[str]], str]


def _basic(match: re.Match[str]) -> str:
    """Mask `Basic dXNlcjpwYXNz`, and leave `basic authentication` alone."""
    word = match[2]
    try:
        looks_right = b":" in base64.b64decode(word + "=" * (-len(word) % 4), validate=True)
    except (binascii.Error, ValueError):
        looks_right = False
    return match[1] + MASK if looks_right or "=" in word or any(letter.isdigit() for letter in word) else match[0]


# In this order: a shape first, then what its surroundings tell, or a telling name would swallow the
# start of a shape ("cookie: a; bearer x") and leave the rest.
_PATTERNS: tuple[tuple[re.Pattern[str], Replacement], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*+"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
        "-----BEGIN PRIVATE KEY-----" + MASK,
    ),
    (re.compile(r"(?<![A-Za-z0-9])(bearer\s{1,3})[A-Za-z0-9._~+/=-]{8,}+", re.IGNORECASE), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(basic\s{1,3})([A-Za-z0-9+/]{8,}+={0,2})(?![A-Za-z0-9+/=*])", re.IGNORECASE), _basic),
    (re.compile(r"(://[^/\s:@]{0,256}:)[^/\s]{1,512}(?=@)"), rf"\g<1>{MASK}"),
    (re.compile(r"(://)[^/\s:@]{16,512}(?=@)"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(pdm_[A-Za-z0-9]{1,32}_)[A-Za-z0-9]{8,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(gh[oprsu]_)[A-Za-z0-9]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(github_pat_)[A-Za-z0-9_]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(hf_)[A-Za-z0-9]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(sk-ant-|sk[-_])[A-Za-z0-9_-]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(KGAT_)[A-Za-z0-9]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])((?:AKIA|ASIA))[A-Z0-9]{16}(?![A-Za-z0-9])"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(AIza)[A-Za-z0-9_-]{30,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9])(xox[abeoprs]-)[A-Za-z0-9-]{10,}+"), rf"\g<1>{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]*+)?"), f"eyJ{MASK}"),
    # kaggle.json: {"username": "...", "key": "32 hexadecimal digits"}
    (re.compile(r"""(key\\?["']\s{0,3}:\s{0,3}\\?["'])[0-9a-f]{32}(?![0-9a-f])"""), rf"\g<1>{MASK}"),
    # authorization: Bearer x; ('authorization', 'Bearer x'); key='x-api-key', value='x'
    (
        re.compile(
            rf"""((?:authorization|x-api-key){_BETWEEN})((?:{_SCHEMES})\s{{1,3}})?[^\s"'\\,;)}}\]]++""",
            re.IGNORECASE,
        ),
        lambda match: match[1] + (match[2] or "") + MASK,
    ),
    # cookie: a=1; b=2
    (
        re.compile(
            rf"""(cookie{_BETWEEN})[^\s"'\\,;)}}\]]++(?:;\s{{0,3}}[^\s"'\\,;)}}\]]++)*+""",
            re.IGNORECASE,
        ),
        rf"\g<1>{MASK}",
    ),
    # password=x, --password x, "password": "x"
    (re.compile(rf"""((?:{_NAMES})\s{{0,3}}=\s{{0,3}}\\?["']?)[^\s"'\\&,;)}}\]]++""", re.IGNORECASE), rf"\g<1>{MASK}"),
    (re.compile(rf"""(--(?:{_NAMES})\s{{1,3}}["']?)[^\s"'-][^\s"']*+""", re.IGNORECASE), rf"\g<1>{MASK}"),
    (
        re.compile(rf"""((?:{_NAMES})\\?["']\s{{0,3}}[:,]\s{{0,3}}(?:b(?=\\?["']))?\\?["'])[^"'\\]++""", re.IGNORECASE),
        rf"\g<1>{MASK}",
    ),
    (re.compile(rf"""((?:{_NAMES}):\s{{0,3}})[^\s"'\\&,;)}}\]]{{6,}}+""", re.IGNORECASE), rf"\g<1>{MASK}"),
)  # fmt: skip


def _may_hold_secrets(text: str) -> bool:
    low = text.lower()
    if "token" in low and "token" in low.replace("tokens", ""):  # counts of tokens are in many lines
        return True
    return any(hint in low for hint in _HINTS)


def mask_text(text: str) -> str:
    """Return `text` with every secret of a known shape replaced by `***`."""
    if not _may_hold_secrets(text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Masker:
    """Masks texts and nested values, and counts what it changed.

    As a structlog processor it goes last before the renderer, so that tracebacks are covered.
    """

    def __init__(self) -> None:
        self._hits = 0

    @property
    def hits(self) -> int:
        """How many texts held a secret so far."""
        return self._hits

    def mask(self, text: str) -> str:
        """Return `text` without its secrets, cut when it is longer than any log line should be."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}... ({len(text) - LONGEST} more characters)"
        masked = mask_text(text)
        if masked is not text and masked != text:
            self._hits += 1
        return masked

    def mask_value(self, value: Any, depth: int = 0) -> Any:
        """Return a copy of a nested value without its secrets; values under telling names go whole."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping) and depth < DEEPEST:
            masked = ((key, self._key(key), inner) for key, inner in value.items())
            return {left: self._member_under(key, left, inner, depth) for key, left, inner in masked}
        if isinstance(value, list | tuple | set | frozenset) and depth < DEEPEST:
            return [self.mask_value(inner, depth + 1) for inner in value]
        if isinstance(value, bytes | bytearray | memoryview):
            value = bytes(value).decode("utf-8", "replace")
        return self.mask(str(value))

    def _key(self, key: Any) -> Any:
        return self.mask(key) if isinstance(key, str) else key

    def _member_under(self, key: Any, left: Any, value: Any, depth: int) -> Any:
        # What masking left of a name may tell more than the whole name did: both count.
        found = self._member(key, value, depth)
        return found if left == key else self._member(left, found, depth)

    def _member(self, key: Any, value: Any, depth: int) -> Any:
        if isinstance(key, str) and _is_telling(key) and not _is_harmless(key, value):
            self._hits += 1
            return MASK
        return self.mask_value(value, depth + 1)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Mask a log event in place of structlog's own processors."""
        texts: list[str] = []
        if _collect(event, texts, 0) and not _may_hold_secrets("\0".join(texts)):
            return event
        for key, value in event.items():
            event[key] = self._member(key, value, 0)
        return event


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    return len(key) <= 128 and _SENSITIVE_NAME.fullmatch(key) is not None


def _is_harmless(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool) or value in ("", b""):
        return True
    # The number of a token in a vocabulary is no secret.
    return isinstance(value, int) and key.lower().endswith("token")


def _collect(value: Any, texts: list[str], depth: int) -> bool:
    """Gather every text of a nested value; False when some of it is of a kind that only walking shows."""
    if isinstance(value, str):
        texts.append(value)
        return len(value) <= LONGEST
    if value is None or isinstance(value, bool | int | float):
        return True
    if isinstance(value, Mapping) and depth < DEEPEST:
        return all(
            _collect(key, texts, depth + 1) and _collect(inner, texts, depth + 1) for key, inner in value.items()
        )
    if isinstance(value, list | tuple) and depth < DEEPEST:
        return all(_collect(inner, texts, depth + 1) for inner in value)
    return False
