"""Layers, provenance, refusals: what `load_settings` promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import podium.settings as settings_package
from podium.settings import (
    AnthropicModel,
    EmbeddedModel,
    Layer,
    OpenAIModel,
    RouteTable,
    ScriptedModel,
    Settings,
    SettingsError,
    TrtllmModel,
    check_bind,
    load_settings,
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(**layers: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"environ": {}, **layers})
    return caught.value


def env(**variables: str) -> Settings:
    return load_settings(environ=variables).settings


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class TestDefaults:
    def test_nothing_is_needed(self) -> None:
        loaded = load_settings(environ={})
        assert loaded.settings == Settings()
        assert loaded.settings.model_name == "embedded"
        assert loaded.config_file is None
        assert loaded.origin("server.listen").layer is Layer.DEFAULT

    def test_figures_of_the_contract(self) -> None:
        settings = Settings()
        assert settings.server.listen == ("127.0.0.1:50051",)
        assert settings.ops.listen == "127.0.0.1:8000"
        assert settings.server.max_message_bytes == 16 * 1024 * 1024
        assert settings.server.maximum_concurrent_rpcs == 4096
        limits = settings.limits
        assert (limits.requests_per_minute, limits.requests_per_hour, limits.burst) == (60, 1000, 60)
        assert limits.global_per_second == 100
        deadlines = settings.deadlines
        assert (deadlines.run_seconds, deadlines.tool_seconds) == (60, 5)
        assert (deadlines.http_seconds, deadlines.llm_seconds) == (30, 120)
        assert (settings.run.parallel, settings.run.parallel_process, settings.run.parallel_type) == (30, 50, 10)
        breaker = settings.breaker
        assert (breaker.failure_threshold, breaker.recovery_seconds, breaker.success_threshold) == (5, 60, 2)
        assert breaker.call_timeout_seconds == 30
        assert settings.shutdown.seconds == 60

    def test_settings_and_groups_cannot_be_changed(self) -> None:
        settings = Settings()
        with pytest.raises(ValidationError):
            settings.environment = "production"  # type: ignore[misc]
        with pytest.raises(ValidationError):
            settings.server.reflection = False  # type: ignore[misc]

    def test_the_constructor_reads_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PODIUM_LOG__LEVEL", "ERROR")
        monkeypatch.setenv("ENVIRONMENT", "production")
        assert Settings() == Settings.model_construct()


class TestOrder:
    def test_each_layer_wins_over_the_one_before(self) -> None:
        write("podium.toml", "[run]\nmax_turns = 2\nmax_calls = 2\nmax_tokens = 2\nparallel = 2\n")
        write(".env", "PODIUM_RUN__MAX_CALLS=3\nPODIUM_RUN__MAX_TOKENS=3\nPODIUM_RUN__PARALLEL=3\n")
        environ = {"PODIUM_RUN__MAX_TOKENS": "4", "PODIUM_RUN__PARALLEL": "4"}
        loaded = load_settings(environ=environ, flags={"run.parallel": 5, "run.retained": None})
        run = loaded.settings.run
        assert (run.max_turns, run.max_calls, run.max_tokens, run.parallel) == (2, 3, 4, 5)
        names = ["max_turns", "max_calls", "max_tokens", "parallel", "retained"]
        layers = [loaded.origin(f"run.{name}").layer for name in names]
        assert layers == [Layer.FILE, Layer.DOTENV, Layer.ENVIRONMENT, Layer.FLAG, Layer.DEFAULT]

    def test_an_alias_in_a_higher_layer_wins_over_the_proper_name_below(self) -> None:
        write(".env", "PODIUM_LOG__LEVEL=ERROR\n")
        assert env(LOG_LEVEL="debug").log.level == "DEBUG"

    def test_loading_twice_gives_equal_objects(self) -> None:
        write("podium.toml", "[server]\nreflection = false\n")
        assert load_settings(environ={}).settings == load_settings(environ={}).settings

    def test_the_environment_of_the_process_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PODIUM_ENVIRONMENT", "staging")
        assert load_settings().settings.environment == "staging"


class TestFiles:
    def test_an_explicit_config_has_to_exist(self) -> None:
        error = refused(config=Path("missing.toml"))
        assert "--config: there is no file 'missing.toml'" in error.message

    def test_podium_config_names_the_file(self) -> None:
        path = write("etc/site.toml", "environment = 'site'\n")
        loaded = load_settings(environ={"PODIUM_CONFIG": str(path)})
        assert loaded.settings.environment == "site"
        assert loaded.config_file == path
        assert "PODIUM_CONFIG" in refused(environ={"PODIUM_CONFIG": "gone.toml"}).message

    def test_relative_paths_start_at_the_folder_of_the_file(self) -> None:
        path = write(
            "etc/site.toml",
            "[storage]\ndata_dir = 'data'\n[tools]\nfolders = ['a', '/b']\n"
            "[models.x]\nkind = 'embedded'\nmodel = './m.gguf'\n",
        )
        settings = load_settings(config=path, environ={}).settings
        assert settings.storage.data_dir == Path("etc/data")
        assert settings.tools.folders == (Path("etc/a"), Path("/b"))
        assert settings.models["x"] == EmbeddedModel(kind="embedded", model="etc/m.gguf")

    def test_home_is_expanded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/someone")
        write("podium.toml", "[storage]\ndata_dir = '~/podium'\n")
        assert load_settings(environ={}).settings.storage.data_dir == Path("/home/someone/podium")

    def test_broken_toml_names_file_and_line(self) -> None:
        write("podium.toml", "[server\n")
        assert "podium.toml: is not valid TOML" in refused().message
        assert "line 1" in refused().message

    def test_a_file_that_is_not_text(self) -> None:
        Path("podium.toml").write_bytes(b"\xff\xfe")
        Path(".env").write_bytes(b"A=\xff\n")
        error = refused()
        assert len(error.problems) == 2
        assert "not UTF-8" in error.message.replace("is not UTF-8", "not UTF-8")

    def test_a_broken_line_of_dotenv_is_named(self) -> None:
        write(".env", "# fine\nPODIUM_LOG__LEVEL=INFO\nthis is 'not a binding\n")
        assert ".env:3: this line is not NAME=value" in refused().message

    def test_dotenv_origins_have_lines_and_foreign_names_are_passed_over(self) -> None:
        write(".env", "OTHER=1\nexport PODIUM_LOG__LEVEL='error'\n")
        loaded = load_settings(environ={})
        assert str(loaded.origin("log.level")) == ".env:2 PODIUM_LOG__LEVEL"

    def test_an_explicit_env_file_has_to_exist(self) -> None:
        assert "--env-file: there is no file" in refused(env_file=Path("gone.env")).message


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("PODIUM_LOGLEVEL", "PODIUM_LOG_LEVEL"),
            ("PODIUM_SERVER__LISTN", "PODIUM_SERVER__LISTEN"),
            ("PODIUM_DATADIR", "PODIUM_DATA_DIR"),
            ("PODIUM_MODELS__A__FIEL", "PODIUM_MODELS__A__FILE"),
        ],
    )
    def test_a_variable(self, name: str, nearest: str) -> None:
        error = refused(environ={name: "s3cret"})
        assert f"environment variable {name}: there is no such setting; did you mean {nearest}?" in error.message
        assert "s3cret" not in error.message

    def test_a_group_is_no_setting(self) -> None:
        assert "set PODIUM_SERVER__FIELD" in refused(environ={"PODIUM_SERVER": "{}"}).message
        assert "set PODIUM_MODELS__NAME__KEY" in refused(environ={"PODIUM_MODELS": "{}"}).message

    @pytest.mark.parametrize(
        ("text", "where", "nearest"),
        [
            ("[server]\nlistn = []", "server.listn", "server.listen"),
            ("[storage]\nmax_turns = 1", "storage.max_turns", "run.max_turns"),
            ("[models.a]\nkind = 'scripted'\nfiel = 'x'", "models.a.fiel", "models.a.file"),
        ],
    )
    def test_a_key(self, text: str, where: str, nearest: str) -> None:
        write("podium.toml", text)
        assert f"podium.toml: {where}: there is no such setting; did you mean {nearest}?" in refused().message

    def test_a_flag(self) -> None:
        assert "did you mean server.listen?" in refused(flags={"server.listem": "x"}).message

    def test_names_without_our_prefix_are_not_ours(self) -> None:
        assert env(LOG_LEVLE="x", HOME="/", PATH="").log.level == "INFO"

    def test_the_names_of_kubernetes_service_links_are_passed_over(self) -> None:
        links = {
            "PODIUM_PORT": "tcp://10.0.0.7:50051",
            "PODIUM_SERVICE_HOST": "10.0.0.7",
            "PODIUM_SERVICE_PORT": "50051",
            "PODIUM_SERVICE_PORT_GRPC": "50051",
            "PODIUM_PORT_50051_TCP": "tcp://10.0.0.7:50051",
            "PODIUM_PORT_50051_TCP_ADDR": "10.0.0.7",
            "PODIUM_OPS_SERVICE_HOST": "10.0.0.8",
            "PODIUM_OPS_PORT": "tcp://10.0.0.8:8000",
        }
        assert load_settings(environ=links).settings == Settings()

    def test_variables_of_the_client_are_not_judged(self) -> None:
        assert env(PODIUM_ADDRESS="x", PODIUM_API_KEY="pdm_x") == Settings()


class TestWrongValues:
    def test_everything_is_reported_at_once_with_its_origin(self) -> None:
        write("podium.toml", "oops = 1\n[run]\nmax_turns = 0\n[server]\nlisten = 'nowhere'\n")
        write(".env", "PODIUM_NOPE=1\n")
        environ = {"PODIUM_LOG__LEVEL": "loud", "PODIUM_TOOLS__THREADS": "many"}
        error = refused(environ=environ, flags={"ops.listen": "unix:/x"})
        wheres = {problem.where for problem in error.problems}
        assert wheres == {
            "podium.toml: oops",
            "podium.toml: run.max_turns",
            "podium.toml: server.listen",
            ".env:1 PODIUM_NOPE",
            "environment variable PODIUM_LOG__LEVEL",
            "environment variable PODIUM_TOOLS__THREADS",
            "ops",
        }
        assert error.message.startswith("The configuration has 7 problems:\n")
        assert "input should be greater than or equal to 1; given 0 for run.max_turns" in error.message
        assert "see command line, --ops-listen" in error.message
        assert error.exit_code == 2

    @pytest.mark.parametrize(
        "address", ["50051", "host:", "host:x", "host:70000", "::1:50051", "unix:", "unix:/" + "a" * 100, "host:٣"]
    )
    def test_addresses(self, address: str) -> None:
        error = refused(flags={"server.listen": [address]})
        assert len(error.problems) == 1
        assert "--listen" in error.message

    @pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:50051", "localhost:1", "unix:/run/podium.sock"])
    def test_good_addresses(self, address: str) -> None:
        assert load_settings(environ={}, flags={"server.listen": address}).settings.server.listen == (address,)

    def test_tls_needs_both_files(self) -> None:
        assert "set tls_cert_file and tls_key_file together" in refused(flags={"server.tls_cert_file": "a"}).message
        assert "tls_client_ca_file needs" in refused(flags={"server.tls_client_ca_file": "a"}).message

    def test_a_table_in_place_of_a_value_and_the_other_way_round(self) -> None:
        write("podium.toml", "run = 3\nmodels = 4\n[log]\nlevel = {}\n")
        error = refused()
        assert "write it as a table: [run]" in error.message
        assert "write [models.NAME]" in error.message
        assert "log.level" in error.message

    def test_lists_are_words_or_json(self) -> None:
        assert env(PODIUM_TOOLS__PYTHON="a.b, c,").tools.python == ("a.b", "c")
        assert env(PODIUM_TOOLS__PYTHON='["a"]').tools.python == ("a",)
        assert env(PODIUM_TOOLS__PYTHON="[]").tools.python == ()
        assert "not a JSON array" in refused(environ={"PODIUM_TOOLS__PYTHON": "[a]"}).message

    def test_an_empty_variable_is_not_set(self) -> None:
        assert env(PODIUM_LOG__LEVEL="", LOG_LEVEL=" ", PODIUM_NOPE="").log.level == "INFO"

    def test_a_value_under_a_secret_sounding_name_is_not_repeated(self) -> None:
        error = refused(environ={"PODIUM_SERVER__TLS_KEY_FILE": "/private/place"})
        assert "/private/place" not in error.message


class TestModels:
    def test_the_built_in_model_can_be_changed_key_by_key(self) -> None:
        settings = env(PODIUM_MODELS__EMBEDDED__MODEL="/m.gguf")
        assert settings.models == {"embedded": EmbeddedModel(kind="embedded", model="/m.gguf")}

    def test_a_configured_model_takes_its_place(self) -> None:
        write("podium.toml", "[models.demo]\nkind = 'scripted'\nfile = 'demo.toml'\n")
        settings = load_settings(environ={}).settings
        assert settings.models == {"demo": ScriptedModel(kind="scripted", file=Path("demo.toml"))}
        assert settings.model_name == "demo"

    def test_several_models_need_a_default(self) -> None:
        text = "[models.a]\nkind='scripted'\nfile='a'\n[models.b]\nkind='scripted'\nfile='b'\n"
        write("podium.toml", text)
        assert "say which one is default_model" in refused().message
        assert env(PODIUM_DEFAULT_MODEL="b").model_name == "b"
        assert "names none of the configured models (a, b)" in refused(environ={"RCA_LLM_MODEL": "gpt-4"}).message

    def test_every_kind(self) -> None:
        write(
            "podium.toml",
            """
            default_model = "all"
            [models.gpu]
            kind = "trtllm"
            addresses = ["10.0.0.5:50051", "unix:/run/e.sock"]
            tokenizer = "tok"
            [models.local]
            kind = "openai"
            vendor = "ollama"
            model = "qwen3:8b"
            [models.cloud]
            kind = "anthropic"
            model = "claude"
            api_key_file = "/run/secrets/key"
            [routes.all]
            models = ["gpu", "local"]
            order = "fastest"
            """,
        )
        settings = env()
        assert settings.model_name == "all"
        assert settings.models["gpu"] == TrtllmModel(
            kind="trtllm", addresses=("10.0.0.5:50051", "unix:/run/e.sock"), tokenizer=Path("tok")
        )
        assert settings.models["local"] == OpenAIModel(kind="openai", vendor="ollama", model="qwen3:8b")
        assert settings.models["cloud"] == AnthropicModel(
            kind="anthropic", model="claude", api_key_file=Path("/run/secrets/key")
        )
        assert settings.routes == {"all": RouteTable(models=("gpu", "local"), order="fastest")}

    def test_a_route_named_default_is_the_default(self) -> None:
        text = "[models.a]\nkind='scripted'\nfile='a'\n[models.b]\nkind='scripted'\nfile='b'\n"
        write("podium.toml", text + "[routes.default]\nmodels=['b', 'a']\n")
        assert env().model_name == "default"

    def test_models_and_routes_in_variables(self) -> None:
        settings = env(
            PODIUM_MODELS__A__KIND="openai",
            PODIUM_MODELS__A__BASE_URL="http://127.0.0.1:1/v1",
            PODIUM_MODELS__A__MODEL="m",
            PODIUM_ROUTES__R__MODELS="a",
        )
        assert settings.models["a"] == OpenAIModel(kind="openai", base_url="http://127.0.0.1:1/v1", model="m")
        assert settings.routes["r"].models == ("a",)

    @pytest.mark.parametrize(
        ("tables", "said"),
        [
            ("[models.a]\nkind='openai'\nmodel='m'\n", "base_url is needed"),
            ("[models.a]\nkind='openai'\nmodel='m'\nbase_url='ftp://x'\n", "models.a.base_url"),
            ("[models.a]\nkind='openai'\nmodel='m'\nbase_url='http://u:p@x/v1'\n", "models.a.base_url"),
            (
                "[models.a]\nkind='anthropic'\nmodel='m'\napi_key_env='A'\napi_key_file='f'\n",
                "set api_key_env or api_key_file, not both",
            ),
            ("[models.a]\nkind='trtllm'\naddresses=[]\n", "models.a.addresses"),
            ("[routes.r]\nmodels=['nope']\n", "routes.r names models that are not configured: nope"),
            ("[routes.embedded]\nmodels=['embedded']\n", "embedded is a model and a route"),
            ("[routes.r]\nmodells=['embedded']\n", "did you mean routes.r.models?"),
            ("[routes]\nmodels=['embedded']\n", "routes are tables"),
        ],
    )
    def test_what_is_wrong_is_said(self, tables: str, said: str) -> None:
        write("podium.toml", tables)
        assert said in refused().message

    def test_what_is_wrong_with_tables(self) -> None:
        write(
            "podium.toml",
            "[models.a]\nkind='scripted'\nengine='openvino'\n[models.b]\nmodel='x'\n[models.c]\nkind='magic'\n"
            "[models.D]\nkind='scripted'\nfile='x'\n",
        )
        message = refused().message
        assert "models.a.file: is needed and missing" in message
        assert "this kind of model has no such key" in message
        assert "models.b: kind is missing: say embedded, trtllm, openai, anthropic or scripted" in message
        assert "there is no kind 'magic'" in message
        assert "models.D" in message


class TestBind:
    @pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1", "unix:/run/x.sock"])
    def test_this_machine_needs_no_credentials(self, address: str) -> None:
        check_bind(load_settings(environ={}, flags={"server.listen": address}).settings)

    @pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1", "127.example.org:1"])
    def test_others_do(self, address: str) -> None:
        settings = load_settings(environ={}, flags={"server.listen": ["127.0.0.1:1", address]}).settings
        with pytest.raises(SettingsError) as caught:
            check_bind(settings)
        assert f"{address} can be reached from other machines" in caught.value.message
        assert "auth.enabled = true" in caught.value.message
        assert len(caught.value.problems) == 1

    @pytest.mark.parametrize(
        "flags",
        [
            {"auth.enabled": True},
            {"server.tls_cert_file": "a", "server.tls_key_file": "b", "server.tls_client_ca_file": "c"},
        ],
    )
    def test_with_auth_any_address_will_do(self, flags: Mapping[str, Any]) -> None:
        listen = {"server.listen": "0.0.0.0:1", "ops.listen": "0.0.0.0:2"}
        check_bind(load_settings(environ={}, flags={**listen, **flags}).settings)

    def test_the_ops_port_follows_the_same_rule_unless_it_is_off(self) -> None:
        flags = {"ops.listen": "0.0.0.0:8000"}
        with pytest.raises(SettingsError, match=r"ops\.listen"):
            check_bind(load_settings(environ={}, flags=flags).settings)
        check_bind(load_settings(environ={}, flags={**flags, "ops.enabled": False}).settings)


def test_the_public_names_of_the_package() -> None:
    groups = [name for name in settings_package.__all__ if name.endswith("Settings")]
    assert len(groups) == 19
    assert [name for name in settings_package.__all__ if name not in groups] == [
        "AnthropicModel",
        "EmbeddedModel",
        "Layer",
        "Loaded",
        "ModelTable",
        "OpenAIModel",
        "Origin",
        "Problem",
        "RouteTable",
        "ScriptedModel",
        "SettingsError",
        "TrtllmModel",
        "bind_problems",
        "check_bind",
        "load_settings",
    ]
