"""`.env.example`, `podium.example.toml` and the tables of `docs/settings.md`, made from the classes.

`python -m podium.settings.documents ROOT` writes them; a test fails when they have drifted.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from podium.settings.aliases import ALIASES, EXTERNAL_NAMES, Ignored, Later, To
from podium.settings.fields import FAMILIES, SettingField, groups, setting_fields, table_fields
from podium.settings.models import BUILT_IN_MODEL, BUILT_IN_NAME
from podium.settings.rendering import plain_value
from podium.settings.root import Settings

__all__ = ["env_example", "settings_page", "toml_example", "write_documents"]

MARK_BEGIN = "<!-- generated from the settings classes: python -m podium.settings.documents . -->"
MARK_END = "<!-- end of the generated part -->"

_ENV_HEAD = """\
# Podium: environment variables. Copy to .env and uncomment what you change; the values are the defaults.
# Order: defaults < podium.toml < .env < environment < flags. An empty value counts as not set.
# Lists are a,b,c or a JSON array. docs/settings.md has the same names with other spellings.
"""

_EXAMPLES = {
    "file": "demo.toml",
    "addresses": "10.0.0.5:50051,10.0.0.6:50051",
    "tokenizer": "/models/qwen3",
    "models": "big,embedded",
    "base_url": "http://localhost:8000/v1",
    "api_key_env": "OPENAI_API_KEY",
    "api_key_file": "/run/secrets/openai",
}

_TOML_HEAD = """\
# Podium: configuration. Copy to podium.toml and uncomment what you change; the values are the defaults.
# Order: defaults < podium.toml < .env < environment < flags. Relative paths start at this file's folder.
"""

_TOML_MODELS = f"""\
# Models, one table each: [models.NAME]. While none is configured there is this one:
# [models.{BUILT_IN_NAME}]
# kind = "embedded"        # an engine host that Podium starts on this machine
# engine = "{BUILT_IN_MODEL.engine}"      # openvino (CPU, Intel GPU) or tensorrt_llm (NVIDIA GPU)
# model = "{BUILT_IN_MODEL.model}"   # a name `podium models pull` knows, or a GGUF file or model directory
#
# Further models (docs/backends.md has recipes; several models need default_model above, or [routes.default]):
# [models.gpu]
# kind = "trtllm"                       # engines that speak trtllm.TrtllmService
# addresses = ["10.0.0.5:50051"]
# [models.local]
# kind = "openai"                       # an OpenAI-compatible HTTP API
# vendor = "ollama"
# model = "qwen3:8b"
# [models.claude]
# kind = "anthropic"                    # needs llm.remote_enabled
# model = "claude-sonnet-4-5"
# api_key_env = "ANTHROPIC_API_KEY"
# [models.demo]
# kind = "scripted"                     # plays a file, for tests and demonstrations
# file = "demo.toml"
#
# A route is asked for like a model; the first of its models that can answers.
# [routes.default]
# models = ["gpu", "local", "{BUILT_IN_NAME}"]
"""


def _value(field: SettingField) -> Any:
    value = plain_value(field.default)
    return value if value is not None else (field.info.examples or [""])[0]


def _env_text(field: SettingField) -> str:
    value = _value(field)
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 116, initial_indent="# ", subsequent_indent="# ")) + "\n"


def _description(field: SettingField) -> str:
    note = " Not set by default; the value is an example." if field.info.examples else ""
    return f"{field.info.description}{note}"


def _by_group() -> Iterator[tuple[str, str, list[SettingField]]]:
    flat = [field for path, field in setting_fields().items() if "." not in path]
    yield "", "General", flat
    for name, model in groups(Settings).items():
        fields = [field for path, field in setting_fields().items() if path.startswith(name + ".")]
        yield name, (model.__doc__ or name).strip().splitlines()[0].rstrip("."), fields


def env_example() -> str:
    """Return the text of `.env.example`."""
    parts = [_ENV_HEAD]
    for _, title, fields in _by_group():
        parts.append(f"\n# --- {title}\n")
        parts.extend(f"{_comment(_description(field))}# {field.env_name}={_env_text(field)}\n" for field in fields)
    parts.append("\n# --- Models: PODIUM_MODELS__<NAME>__<KEY>\n")
    for key, field in table_fields("models").items():
        value = getattr(BUILT_IN_MODEL, key, None)
        name = "NAME" if value is None else BUILT_IN_NAME.upper()
        text = _EXAMPLES.get(key, _env_text(field)) if value is None else ("[]" if value == () else value)
        parts.append(f"{_comment(field.info.description or '')}# PODIUM_MODELS__{name}__{key.upper()}={text}\n")
    parts.append("\n# --- Routes: PODIUM_ROUTES__<NAME>__<KEY>\n")
    for key, field in table_fields("routes").items():
        text = _EXAMPLES.get(key, _env_text(field))
        parts.append(f"{_comment(field.info.description or '')}# PODIUM_ROUTES__NAME__{key.upper()}={text}\n")
    parts.append("\n# --- Read elsewhere\n")
    parts.extend(_comment(f"{name}: {meaning}.") for name, meaning in EXTERNAL_NAMES.items())
    return "".join(parts)


def toml_example() -> str:
    """Return the text of `podium.example.toml`."""
    parts = [_TOML_HEAD]
    for name, title, fields in _by_group():
        parts.append(f"\n# {title}.\n" + (f"[{name}]\n" if name else ""))
        for field in fields:
            key = field.path.rpartition(".")[2]
            parts.append(f"{_comment(_description(field))}# {key} = {json.dumps(_value(field), ensure_ascii=False)}\n")
    parts.append("\n" + _TOML_MODELS)
    return "".join(parts)


def _bounds(field: SettingField) -> str:
    words = []
    for rule in field.info.metadata:
        match rule:
            case Ge():
                words.append(f"at least {rule.ge}")
            case Gt():
                words.append(f"over {rule.gt}")
            case Le():
                words.append(f"at most {rule.le}")
            case Lt():
                words.append(f"under {rule.lt}")
    return ", ".join(words)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _other_names(path: str) -> str:
    names = [_with_note(name, alias) for name, alias in ALIASES.items() if isinstance(alias, To) and alias.path == path]
    return ", ".join(names)


def _with_note(name: str, alias: To) -> str:
    note = alias.unit or (f"{alias.part} only" if alias.part else "")
    return f"`{name}`" + (f" ({note})" if note else "")


def _setting_row(field: SettingField) -> list[str]:
    default = "" if field.default is None else f"`{_env_text(field)}`" if _env_text(field) else "(empty)"
    meaning = field.info.description or ""
    bounds = _bounds(field)
    return [f"`{field.path}`", default, meaning + (f" ({bounds})" if bounds else ""), _other_names(field.path)]


def _later_rows() -> Iterator[list[str]]:
    for name, alias in ALIASES.items():
        match alias:
            case Later():
                effect = "stops the start" if alias.stops or name.startswith("PODIUM_") else "noted in the log"
                fine = f", except {' / '.join(sorted(alias.harmless))}" if alias.harmless else ""
                yield [f"`{name}`", alias.feature, effect + fine]
            case Ignored():
                yield [f"`{name}`", alias.why, "ignored"]
            case To():
                continue


def settings_page() -> str:
    """Return the generated part of `docs/settings.md`."""
    parts = [MARK_BEGIN, "\n"]
    head = ("Setting", "Default", "Meaning", "Other names")
    for name, title, fields in _by_group():
        parts.append(f"\n### {title}" + (f" (`[{name}]`)" if name else "") + "\n\n")
        parts.append(_table(head, (_setting_row(field) for field in fields)))
    parts.append("\n### Models (`[models.NAME]`)\n\n")
    parts.append(_table(("Key", "Meaning", "Kinds"), _table_rows("models")))
    parts.append("\n### `[routes.NAME]`\n\n")
    parts.append(_table(("Key", "Meaning"), (row[:2] for row in _table_rows("routes"))))
    parts.append("\n### Known, not supported yet\n\n")
    parts.append(_table(("Name", "What it is for", "When it is set"), _later_rows()))
    parts.append("\n### Read elsewhere\n\n")
    parts.append(_table(("Name", "Meaning"), ([f"`{name}`", text] for name, text in EXTERNAL_NAMES.items())))
    parts.append(f"\n{MARK_END}\n")
    return "".join(parts)


def _table_rows(family: str) -> Iterator[list[str]]:
    for key, field in table_fields(family).items():
        kinds = [_kind(table) for table in FAMILIES[family] if key in table.model_fields]
        yield [
            f"`{key}`",
            field.info.description or "",
            "all" if len(kinds) == len(FAMILIES[family]) else ", ".join(kinds),
        ]


def _kind(table: type[BaseModel]) -> str:
    kind = table.model_fields.get("kind")
    return "" if kind is None else str(get_args(kind.annotation)[0])


def _with_generated(page: str) -> str:
    before, _, rest = page.partition(MARK_BEGIN)
    _, _, after = rest.partition(MARK_END + "\n")
    return before + settings_page() + after


def write_documents(root: Path) -> None:
    """Write the three files below `root`; the hand-written part of the page stays."""
    (root / ".env.example").write_text(env_example(), encoding="utf-8")
    (root / "podium.example.toml").write_text(toml_example(), encoding="utf-8")
    page = root / "docs" / "settings.md"
    current = page.read_text(encoding="utf-8") if page.exists() else "# Settings\n\n"
    page.write_text(_with_generated(current), encoding="utf-8")


if __name__ == "__main__":
    write_documents(Path(sys.argv[1]))
