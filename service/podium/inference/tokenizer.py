"""Text to token ids and back.

Text from people never becomes a control token: only a template's own text may hold those.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from podium.errors import FailedPrecondition, InvalidRequest
from podium.inference.chat_template import ChatTemplate

__all__ = ["Detokenizer", "FragmentDetokenizer", "Tokenizer"]

_TOKENIZER_FILE = "tokenizer.json"
_CONFIG_FILE = "tokenizer_config.json"
_MAX_FILE = 256 << 20
# A character of UTF-8 has at most 4 bytes, so no more tokens than that can be waiting for its rest.
_MAX_PENDING = 8
_REPLACEMENT = "\ufffd"


class Tokenizer:
    """One model's tokenizer. Safe to use from several threads.

    Attributes:
        chat_template: renders messages, or None for a model without a template.
        eos_token_id: ends an answer, or None.
        context_length: tokens that the model's configuration allows, 0 when it does not say.
    """

    def __init__(self, tokenizer_json: bytes, config: bytes) -> None:
        """Read both files' contents.

        Raises:
            InvalidRequest: they are not a tokenizer and its configuration.
        """
        try:
            text = tokenizer_json.decode()
            # Two copies, as the switch for control tokens is a property of the object.
            self._plain = tokenizers.Tokenizer.from_str(text)
            self._parsing = tokenizers.Tokenizer.from_str(text)
            self._config: dict[str, Any] = json.loads(config)
            extra: list[dict[str, Any]] = json.loads(text).get("added_tokens", [])
        except Exception as error:
            # The library raises bare Exception for a file that it cannot read.
            raise InvalidRequest("The model's tokenizer cannot be read.") from error
        self._plain.encode_special_tokens = True
        self._special: dict[str, int] = {entry["content"]: entry["id"] for entry in extra if entry.get("special")}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(token) for token in longest_first)) if longest_first else None
        self.eos_token_id = self._id_of("eos")
        self.context_length = _plausible(self._config.get("model_max_length"))
        source = self._config.get("chat_template")
        self.chat_template = ChatTemplate(_template_text(source), self._named_tokens()) if source else None

    @classmethod
    def from_directory(cls, directory: Path) -> Tokenizer:
        """Load `tokenizer.json` and `tokenizer_config.json`.

        Raises:
            InvalidRequest: one is missing or not what it should be.
        """
        try:
            return cls((directory / _TOKENIZER_FILE).read_bytes(), (directory / _CONFIG_FILE).read_bytes())
        except OSError as error:
            raise InvalidRequest(f"'{directory.name}' lacks {_TOKENIZER_FILE} or {_CONFIG_FILE}.") from error

    @classmethod
    def from_zip(cls, data: bytes) -> Tokenizer:
        """Load both files from the archive that `GetTokenizer` sends.

        Raises:
            InvalidRequest: it is not such an archive.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {entry.filename.rsplit("/", 1)[-1]: entry for entry in archive.infolist()}
                if any(entry.file_size > _MAX_FILE for entry in members.values()):
                    raise InvalidRequest("The engine's tokenizer archive is too large.")
                return cls(archive.read(members[_TOKENIZER_FILE]), archive.read(members[_CONFIG_FILE]))
        except (zipfile.BadZipFile, KeyError) as error:
            raise InvalidRequest("The engine sent no usable tokenizer archive.") from error

    @property
    def vocab_size(self) -> int:
        """Number of token ids, control tokens included."""
        return int(self._plain.get_vocab_size())

    @property
    def special_ids(self) -> Mapping[str, int]:
        """The control tokens and their ids."""
        return self._special

    def token_id(self, token: str) -> int | None:
        """Return the id of exactly this token, or None."""
        index: int | None = self._plain.token_to_id(token)
        return index

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Turn text into ids, adding none.

        Args:
            text: any text.
            parse_special: read control tokens in `text` as such. Only for text that no person wrote.
        """
        tokenizer = self._parsing if parse_special else self._plain
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Render messages with the model's template and encode them.

        A control token inside a message is encoded as the text it is, never as the token.

        Raises:
            FailedPrecondition: the model has no chat template.
            InvalidRequest: the template refuses the messages.
        """
        if self.chat_template is None:
            raise FailedPrecondition("This model has no chat template.")
        # Nobody can guess the marks, so nobody can write one into a message.
        mark = f"\ue000{secrets.token_hex(8)}"
        found: list[str] = []
        safe_messages = [self._defuse(message, mark, found) for message in messages]
        safe_tools = None if tools is None else [self._defuse(tool, mark, found) for tool in tools]
        prompt = self.chat_template.render(safe_messages, tools=safe_tools, add_generation_prompt=add_generation_prompt)
        if not found:
            return self.encode(prompt, parse_special=True)
        ids: list[int] = []
        for index, part in enumerate(re.split(re.escape(mark) + r":(\d+);", prompt)):
            # Odd parts are the numbers of control tokens that somebody wrote.
            ids += self.encode(found[int(part)]) if index % 2 else self.encode(part, parse_special=True)
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Turn ids into text; an incomplete character at the end becomes U+FFFD."""
        text: str = self._plain.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def detokenizer(self, *, skip_special: bool = True) -> Detokenizer:
        """Start decoding a stream of ids."""
        return Detokenizer(self, skip_special=skip_special)

    def fragment_detokenizer(self) -> FragmentDetokenizer:
        """Start decoding a stream of ids whose control tokens matter."""
        return FragmentDetokenizer(self)

    def _defuse(self, value: Any, mark: str, found: list[str]) -> Any:
        if isinstance(value, str):
            if self._control is None or self._control.search(value) is None:
                return value

            def replace(match: re.Match[str]) -> str:
                found.append(match.group())
                return f"{mark}:{len(found) - 1};"

            return self._control.sub(replace, value)
        if isinstance(value, Mapping):
            return {self._defuse(key, mark, found): self._defuse(item, mark, found) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._defuse(item, mark, found) for item in value]
        return value

    def _named_tokens(self) -> dict[str, str]:
        named = {}
        for kind in ("bos", "eos", "unk", "pad"):
            token = self._config.get(f"{kind}_token")
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str):
                named[f"{kind}_token"] = text
        return named

    def _id_of(self, kind: str) -> int | None:
        index = self._config.get(f"{kind}_token_id")
        if isinstance(index, int):
            return index
        text = self._named_tokens().get(f"{kind}_token")
        return None if text is None else self.token_id(text)


class Detokenizer:
    """Decodes ids as they come, holding back the bytes of a character that is not complete."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._ids: list[int] = []
        self._context = 0
        self._shown = ""

    def push(self, ids: Iterable[int]) -> str:
        """Add ids and return the text that is now certain, perhaps none."""
        new = list(ids)
        text = self._tokenizer.decode([*self._ids, *new], skip_special=self._skip_special)
        if text.endswith(_REPLACEMENT):
            # It ends inside a character; one by one shows how much before it is whole.
            return "".join(self._push(index) for index in new)
        self._ids += new
        return self._advance(text)

    def _push(self, index: int) -> str:
        self._ids.append(index)
        text = self._tokenizer.decode(self._ids, skip_special=self._skip_special)
        waiting = len(self._ids) - self._context
        if text.endswith(_REPLACEMENT) and waiting < _MAX_PENDING:
            return ""
        return self._advance(text)

    def finish(self) -> str:
        """Return what was held back; the stream is over."""
        return self._advance(self._tokenizer.decode(self._ids, skip_special=self._skip_special))

    def _advance(self, text: str) -> str:
        new = text[len(self._shown) :]
        # Keep the last piece as context: some decoders treat the first token of a text in another way.
        self._ids = self._ids[self._context :]
        self._context = len(self._ids)
        self._shown = self._tokenizer.decode(self._ids, skip_special=self._skip_special)
        return new


class FragmentDetokenizer:
    """Decodes ids as they come into fragments: text, or one whole control token.

    A control token ends the text before it, so nothing is held back across one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = {index: token for token, index in tokenizer.special_ids.items()}
        self._text = tokenizer.detokenizer(skip_special=False)

    def push(self, ids: Iterable[int]) -> list[tuple[str, bool]]:
        """Add ids and return what is now certain: each fragment with whether it is a control token."""
        fragments: list[tuple[str, bool]] = []
        run: list[int] = []
        for index in ids:
            token = self._control.get(index)
            if token is None:
                run.append(index)
                continue
            fragments += [*self._plain(run), *self.finish(), (token, True)]
            run = []
        return [*fragments, *self._plain(run)]

    def _plain(self, run: Sequence[int]) -> list[tuple[str, bool]]:
        # Together, which costs as much as one of them alone.
        text = self._text.push(run) if run else ""
        return [(text, False)] if text else []

    def finish(self) -> list[tuple[str, bool]]:
        """Return what was held back; what comes after it is a new text."""
        text = self._text.finish()
        self._text = self._tokenizer.detokenizer(skip_special=False)
        return [(text, False)] if text else []


def _template_text(source: Any) -> str:
    """Return the template, also from the form that lists several under names."""
    if isinstance(source, str):
        return source
    named = {entry["name"]: entry["template"] for entry in source}
    return str(named.get("default") or next(iter(named.values())))


def _plausible(length: Any) -> int:
    # Some exporters write 10^30 for "unlimited".
    return length if isinstance(length, int) and 0 < length < 10_000_000 else 0
