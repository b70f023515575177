"""The examples and the page are what the classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from podium.settings import Settings, load_settings
from podium.settings.documents import env_example, settings_page, toml_example, write_documents
from podium.settings.fields import setting_fields

ROOT = Path(__file__).parents[3]
COMMAND = "run: python -m podium.settings.documents ."


def uncommented(text: str, pattern: str) -> str:
    return re.sub(rf"^# (?={pattern})", "", text, flags=re.MULTILINE)


def test_the_files_have_not_drifted() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example(), COMMAND
    assert (ROOT / "podium.example.toml").read_text(encoding="utf-8") == toml_example(), COMMAND
    assert settings_page() in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), COMMAND


def test_every_setting_is_in_every_document() -> None:
    env, toml, page = env_example(), toml_example(), settings_page()
    for path, field in setting_fields().items():
        assert f"# {field.env_name}=" in env
        assert f"\n# {path.rpartition('.')[2]} = " in toml
        assert f"| `{path}` |" in page
        assert field.info.description, path
        assert field.info.description.endswith("."), path


def test_the_examples_as_they_are_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("podium.toml").write_text(toml_example(), encoding="utf-8")
    Path(".env").write_text(env_example(), encoding="utf-8")
    assert load_settings(environ={}).settings == Settings()


@pytest.mark.parametrize("kind", ["env", "toml"])
def test_the_examples_uncommented_are_the_defaults(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "env":
        text = uncommented(env_example(), "PODIUM_(?!MODELS__NAME|ROUTES|PRICES)[A-Z0-9_]+=.")
        Path(".env").write_text(text, encoding="utf-8")
    else:
        text = uncommented(toml_example().partition("# Further models")[0], r"[a-z_]+ = ")
        text = uncommented(text, r"\[models\.embedded\]")
        Path("podium.toml").write_text(text, encoding="utf-8")
    settings = load_settings(environ={}).settings
    for path, field in setting_fields().items():
        group, _, name = path.rpartition(".")
        value = getattr(getattr(settings, group) if group else settings, name)
        if field.info.examples:
            shown = value.get_secret_value() if field.secret else value
            assert str(shown) == field.info.examples[0]
        else:
            assert value == field.default, path
    assert settings.models == Settings().models


def test_writing_keeps_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    write_documents(tmp_path)
    page = tmp_path / "docs" / "settings.md"
    page.write_text("# Mine\n\n" + page.read_text(encoding="utf-8") + "\nAfter.\n", encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    write_documents(tmp_path)
    assert page.read_text(encoding="utf-8") == before
