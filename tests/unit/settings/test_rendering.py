"""`podium config show`: every setting, its origin, no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from podium.settings import load_settings
from podium.settings.fields import describe, setting_fields
from podium.settings.rendering import HIDDEN, plain_value, render


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_a_row_with_value_and_origin() -> None:
    rows = {row.path: row for row in render(load_settings(environ={"LOG_LEVEL": "debug"}))}
    assert set(setting_fields()) <= set(rows)
    assert (rows["log.level"].value, rows["log.level"].origin) == ("DEBUG", "environment variable LOG_LEVEL")
    assert rows["log.level"].given
    assert (rows["server.listen"].value, rows["server.listen"].origin) == ('["127.0.0.1:50051"]', "default")
    assert not rows["server.listen"].given
    assert rows["default_model"].value == "(not set)"
    assert rows["storage.data_dir"].value == "var"
    assert rows["auth.enabled"].value == "false"


def test_models_have_rows_of_their_own() -> None:
    Path("podium.toml").write_text("[models.demo]\nkind='scripted'\nfile='d.toml'\n", encoding="utf-8")
    rows = {row.path: row for row in render(load_settings(environ={}))}
    assert rows["models.demo.file"].origin == "podium.toml: models.demo.file"
    assert rows["models.demo.kind"].value == "scripted"


def test_secrets_are_hidden() -> None:
    assert plain_value(SecretStr("s3cret")) == HIDDEN
    assert plain_value([SecretStr("s3cret")]) == [HIDDEN]
    assert describe("x.y", FieldInfo.from_annotation(SecretStr | None)).secret  # type: ignore[arg-type]  # a union


def test_names_that_sound_secret_are_hidden() -> None:
    environ = {"PODIUM_SERVER__TLS_KEY_FILE": "/private", "PODIUM_SERVER__TLS_CERT_FILE": "/public"}
    rows = {row.path: row.value for row in render(load_settings(environ=environ))}
    assert rows["server.tls_key_file"] == HIDDEN
    assert rows["server.tls_cert_file"] == "/public"
    assert rows["run.max_tokens"] == "4096"
