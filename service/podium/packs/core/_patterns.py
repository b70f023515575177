"""File patterns as people write them, and what they match."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable

__all__ = ["MOST_CHARACTERS", "canonical_pattern", "matcher"]

_KINDS = {
    "text": "*.txt", "plain text": "*.txt", "txt": "*.txt", "markdown": "*.md", "md": "*.md", "csv": "*.csv",
    "comma separated": "*.csv", "tsv": "*.tsv", "json": "*.json", "yaml": "*.{yaml,yml}", "yml": "*.{yaml,yml}",
    "toml": "*.toml", "xml": "*.xml", "html": "*.{html,htm}", "pdf": "*.pdf", "python": "*.py", "py": "*.py",
    "javascript": "*.js", "js": "*.js", "typescript": "*.ts", "java": "*.java", "go": "*.go", "shell": "*.sh",
    "sql": "*.sql", "log": "*.log", "config": "*.{toml,yaml,yml,ini,cfg,conf}", "ini": "*.ini",
    "word": "*.{doc,docx}", "excel": "*.{xls,xlsx}", "powerpoint": "*.{ppt,pptx}", "zip": "*.zip",
    "image": "*.{png,jpg,jpeg,gif,webp,svg}", "picture": "*.{png,jpg,jpeg,gif,webp,svg}",
    "photo": "*.{png,jpg,jpeg,heic}", "png": "*.png", "jpg": "*.{jpg,jpeg}", "jpeg": "*.{jpg,jpeg}", "svg": "*.svg",
    "audio": "*.{mp3,wav,flac,ogg,m4a}", "video": "*.{mp4,mkv,mov,avi,webm}", "spreadsheet": "*.{csv,xls,xlsx,ods}",
}  # fmt: skip
_EVERYTHING = {"", "*", "**", "**/*", "*.*", "all", "all files", "any", "every file", "everything", "files", "file"}
_FILLER = re.compile(
    r"^(?:(?:all|any|every|the|my|of|files?|documents?|with|whose|ending in|called|named|extension)\s+)+", re.IGNORECASE
)
_ENDING = re.compile(r"\s+(?:files?|documents?|docs|format|extension)$", re.IGNORECASE)
_WILD = re.compile(r"[*?\[{]")
MOST_CHARACTERS = 200
_MOST_ALTERNATIVES = 64
_END = re.compile(r"(?!)")  # past the pattern's end: matches nothing


def canonical_pattern(text: str) -> str:
    """Return the glob pattern that a text means: `csv files` is `*.csv`, `invoice` is `*invoice*`.

    Raises:
        ValueError: it leads outside, or holds what no file name holds.
    """
    pattern = _simplified(text)
    while (simpler := _simplified(pattern)) != pattern:  # until nothing is left to simplify: each step shortens
        if len(simpler) > len(pattern):
            raise ValueError("write the pattern plainly, such as *.md")
        pattern = simpler
    if ".." in pattern.split("/"):
        raise ValueError("a pattern stays inside the folders; leave '..' out")
    if len(pattern) > MOST_CHARACTERS:
        raise ValueError(f"a pattern has at most {MOST_CHARACTERS} characters")
    _expanded(pattern)
    return pattern


def _simplified(text: str) -> str:
    pattern = text.strip().strip("\"'`“”").strip().replace("\\", "/")
    if "\x00" in pattern or "\n" in pattern:
        raise ValueError("a pattern is one line of text, such as *.md")
    whole_folder = pattern.endswith("/")
    pattern = "/".join(part for part in pattern.split("/") if part not in ("", "."))
    if pattern.casefold() in _EVERYTHING:
        return "*"
    if not _WILD.search(pattern):
        pattern = f"{pattern}/**" if whole_folder else _of_words(pattern)
    if pattern.startswith("**/") and "/" not in pattern[3:]:
        pattern = pattern[3:]  # a pattern without a slash matches in every folder anyway
    return pattern


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test of relative paths. Case does not matter; without a slash, only the name counts.

    `*`, `?` and `[...]` stay within a name; `**` as a whole part stands for any folders.
    """
    alternatives = [_compiled(part) for part in _expanded(pattern)]
    if "/" in pattern:
        return lambda path: any(_match(parts, path.split("/")) for parts in alternatives)
    return lambda path: any(_match(parts, [path.rpartition("/")[2]]) for parts in alternatives)


def _compiled(pattern: str) -> list[re.Pattern[str] | None]:
    """Compile each part of a path; None stands for `**`. `fnmatch` makes expressions that do not backtrack."""
    parts = [part for part in pattern.split("/") if part]
    return [None if part == "**" else re.compile(fnmatch.translate(part), re.IGNORECASE) for part in parts]


def _match(pattern: list[re.Pattern[str] | None], names: list[str]) -> bool:
    """Match part by part; on a mismatch, let the last `**` take one name more."""
    at = name = 0
    retry: tuple[int, int] | None = None
    while name < len(names):
        part = pattern[at] if at < len(pattern) else _END
        if part is None:
            retry, at = (at, name), at + 1
        elif part.match(names[name]):
            at, name = at + 1, name + 1
        elif retry is not None:
            retry = (retry[0], retry[1] + 1)
            at, name = retry[0] + 1, retry[1]
        else:
            return False
    return all(part is None for part in pattern[at:])


def _of_words(text: str) -> str:
    words = _ENDING.sub("", _FILLER.sub("", text)).strip()
    kind = words.casefold().removeprefix(".")
    known = _KINDS.get(kind) or _KINDS.get(kind.removesuffix("s"))
    if known:
        return known
    if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", words):
        return f"*{words.lower()}"
    if "/" in words or re.search(r"\.[A-Za-z0-9]{1,8}$", words):
        return words
    return f"*{words}*" if words else "*"


def _expanded(pattern: str) -> list[str]:
    """Expand braces: `*.{md,txt}` is `*.md` and `*.txt`."""
    waiting, done = [pattern], list[str]()
    while waiting:
        if len(waiting) + len(done) > _MOST_ALTERNATIVES:
            raise ValueError(f"a pattern has at most {_MOST_ALTERNATIVES} alternatives")
        part = waiting.pop()
        match = re.search(r"\{([^{}]*)\}", part)
        if match:
            waiting += [part[: match.start()] + option + part[match.end() :] for option in match[1].split(",")]
        elif "{" in part or "}" in part:
            raise ValueError("brackets in a pattern come in pairs, as in *.{md,txt}")
        else:
            done.append(part)
    return done
