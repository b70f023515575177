"""Every other name of a setting, one by one, against the list of requirements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from podium.settings import Settings, SettingsError, load_settings
from podium.settings.aliases import ALIASES, EXTERNAL_NAMES, Ignored, Later, To
from podium.settings.fields import setting_fields


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def value_at(settings: Settings, path: str) -> Any:
    group, _, name = path.rpartition(".")
    return getattr(getattr(settings, group) if group else settings, name)


# name, text, path, value: one line for each name that sets something in this version.
SECRET = "k" * 32

WORKING = [
    ("APP_ENV", "Production", "environment", "production"),
    ("PODIUM_ENV", "staging", "environment", "staging"),
    ("DEBUG", "true", "log.level", "DEBUG"),
    ("DEBUG", "false", "log.level", "INFO"),
    ("RCA_DEBUG", "1", "log.level", "DEBUG"),
    ("PODIUM_DEBUG", "on", "log.level", "DEBUG"),
    ("LOG_LEVEL", "warning", "log.level", "WARNING"),
    ("ORCHESTRATOR_LOG_LEVEL", "ERROR", "log.level", "ERROR"),
    ("RCA_LOG_LEVEL", "debug", "log.level", "DEBUG"),
    ("PODIUM_LOG_LEVEL", "critical", "log.level", "CRITICAL"),
    ("MASK_SECRETS_IN_LOGS", "false", "log.mask", False),
    ("PODIUM_MASK_SECRETS", "false", "log.mask", False),
    ("CORRELATION_ID_IN_LOGS", "false", "log.correlation", False),
    ("PODIUM_LOG_CORRELATION_ID", "false", "log.correlation", False),
    ("MAX_QUERY_LENGTH", "500", "tools.max_query_chars", 500),
    ("PODIUM_MAX_QUERY_LENGTH", "501", "tools.max_query_chars", 501),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "7", "breaker.failure_threshold", 7),
    ("PODIUM_BREAKER_FAILURE_THRESHOLD", "8", "breaker.failure_threshold", 8),
    ("CIRCUIT_BREAKER_RECOVERY_TIMEOUT", "61.5", "breaker.recovery_seconds", 61.5),
    ("PODIUM_BREAKER_RECOVERY_SECONDS", "62", "breaker.recovery_seconds", 62.0),
    ("CIRCUIT_BREAKER_SUCCESS_THRESHOLD", "3", "breaker.success_threshold", 3),
    ("PODIUM_BREAKER_SUCCESS_THRESHOLD", "4", "breaker.success_threshold", 4),
    ("CIRCUIT_BREAKER_TIMEOUT", "31.0", "breaker.call_timeout_seconds", 31.0),
    ("PODIUM_BREAKER_CALL_TIMEOUT_SECONDS", "32", "breaker.call_timeout_seconds", 32.0),
    ("HEALTH_CHECK_INTERVAL", "60", "health.interval_seconds", 60.0),
    ("PODIUM_HEALTH_INTERVAL_SECONDS", "61", "health.interval_seconds", 61.0),
    ("REQUEST_TIMEOUT_SECONDS", "29", "deadlines.http_seconds", 29.0),
    ("PODIUM_HTTP_TIMEOUT_SECONDS", "28", "deadlines.http_seconds", 28.0),
    ("GRACEFUL_SHUTDOWN_TIMEOUT", "45.5", "shutdown.seconds", 45.5),
    ("PODIUM_SHUTDOWN_SECONDS", "0", "shutdown.seconds", 0.0),
    ("ORCHESTRATOR_MAX_PARALLEL", "50", "run.parallel", 50),
    ("PODIUM_MAX_PARALLEL_TOOLS", "51", "run.parallel", 51),
    ("PODIUM_MAX_PARALLEL_PER_TYPE", "11", "run.parallel_type", 11),
    ("ORCHESTRATOR_TIMEOUT_MS", "30000", "deadlines.run_seconds", 30.0),
    ("PODIUM_TOTAL_TIMEOUT_MS", "1500", "deadlines.run_seconds", 1.5),
    ("PODIUM_TOOL_TIMEOUT_MS", "5500", "deadlines.tool_seconds", 5.5),
    ("RATE_LIMIT_REQUESTS_PER_MINUTE", "100", "limits.requests_per_minute", 100),
    ("PODIUM_RATE_LIMIT_PER_MINUTE", "101", "limits.requests_per_minute", 101),
    ("PODIUM_GLOBAL_MAX", "200", "limits.global_per_second", 200),
    ("MAX_CONTENT_LENGTH", "8388608", "server.max_message_bytes", 8388608),
    ("PODIUM_MAX_MESSAGE_BYTES", "4194304", "server.max_message_bytes", 4194304),
    ("RCA_THREADS", "4", "tools.threads", 4),
    ("PODIUM_BLOCKING_THREADS", "5", "tools.threads", 5),
    ("RCA_TIMEOUT", "100", "deadlines.generate_seconds", 100.0),
    ("PODIUM_QUERY_TIMEOUT_SECONDS", "101", "deadlines.generate_seconds", 101.0),
    ("RCA_LLM_TIMEOUT", "180", "deadlines.llm_seconds", 180.0),
    ("PODIUM_LLM_TIMEOUT_SECONDS", "181", "deadlines.llm_seconds", 181.0),
    ("RCA_LLM_MODEL", "embedded", "default_model", "embedded"),
    ("PODIUM_LLM_MODEL", "embedded", "default_model", "embedded"),
    ("PODIUM_DEFAULT_MODEL", "embedded", "default_model", "embedded"),
    ("RCA_HOST", "0.0.0.0", "server.listen", ("0.0.0.0:50051",)),
    ("PODIUM_HOST", "::1", "server.listen", ("[::1]:50051",)),
    ("RCA_PORT", "8080", "server.listen", ("127.0.0.1:8080",)),
    ("PODIUM_PORT", "8081", "server.listen", ("127.0.0.1:8081",)),
    ("PODIUM_TOOLS_PYTHON", "a,b.c", "tools.python", ("a", "b.c")),
    ("PODIUM_DATA_DIR", "/srv/podium", "storage.data_dir", Path("/srv/podium")),
    ("PYTHONPATH", "/app", "log.level", "INFO"),
    ("CLOUD_LLM_ENABLED", "true", "llm.remote_enabled", True),
    ("REMOTE_LLM_ENABLED", "yes", "llm.remote_enabled", True),
    ("PODIUM_REMOTE_LLM_ENABLED", "1", "llm.remote_enabled", True),
    ("OLLAMA_HOST", "http://localhost:11434", "llm.ollama_url", "http://localhost:11434"),
    ("OLLAMA_HOST", "0.0.0.0:11434", "llm.ollama_url", "http://127.0.0.1:11434"),
    ("OLLAMA_HOST", "10.0.0.9", "llm.ollama_url", "http://10.0.0.9:11434"),
    ("PODIUM_OLLAMA_URL", "https://ollama.example/", "llm.ollama_url", "https://ollama.example/"),
    ("OPENAI_API_KEY", "s3cret", "log.level", "INFO"),
    ("ANTHROPIC_API_KEY", "s3cret", "log.level", "INFO"),
    ("PODIUM_OPENAI_API_KEY", "s3cret", "log.level", "INFO"),
    ("PODIUM_ANTHROPIC_API_KEY", "s3cret", "log.level", "INFO"),
    (
        "PODIUM_SERVICE_LIMITS",
        "openai=50/150000,anthropic=30",
        "limits.service_limits",
        ("openai=50/150000", "anthropic=30"),
    ),
    ("MAX_RETRIES", "7", "run.max_retries", 7),
    ("PODIUM_MAX_RETRIES", "7", "run.max_retries", 7),
    (
        "RCA_SECRET_KEY",
        SECRET,
        "storage.secret_key",
        SecretStr(SECRET),
    ),
    (
        "SECRET_KEY",
        SECRET,
        "storage.secret_key",
        SecretStr(SECRET),
    ),
    (
        "PODIUM_SECRET_KEY",
        SECRET,
        "storage.secret_key",
        SecretStr(SECRET),
    ),
    ("PRIVACY_SALT", "salt-salt", "storage.privacy_salt", SecretStr("salt-salt")),
    ("PODIUM_PRIVACY_SALT", "salt-salt", "storage.privacy_salt", SecretStr("salt-salt")),
    ("PRIVACY_ENCRYPT_AT_REST", "false", "storage.encrypt_at_rest", False),
    ("PODIUM_ENCRYPT_AT_REST", "false", "storage.encrypt_at_rest", False),
    ("BUDGET_ENFORCE", "false", "budgets.enforce", False),
    ("PODIUM_BUDGET_ENFORCE", "false", "budgets.enforce", False),
    ("PODIUM_MAX_MEMORY_GB", "8", "limits.max_memory_gb", 8.0),
    ("PODIUM_ENABLE_RESULT_COMPRESSION", "false", "cache.compress", False),
    ("PODIUM_CACHE_TTL_SECONDS", "60", "cache.ttl_seconds", 60.0),
    ("PODIUM_MAX_CACHE_SIZE", "50", "cache.max_entries", 50),
]

# Names of features to come that are often set for other programs: noted, and the start goes on.
NOTED = [
    "GITHUB_TOKEN", "HUGGINGFACE_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY",
    "METRICS_RETENTION_HOURS", "PROMETHEUS_ENDPOINT", "VALIDATION_LEVEL",
    "RCA_CORS_ORIGINS", "RCA_DB_TYPE", "RCA_DB_HOST", "RCA_DB_PORT", "RCA_DB_NAME", "RCA_DB_USER",
    "RCA_DB_PASSWORD", "SPYNE_CLARIFICATION_MODE", "BACKEND_CORS_ORIGINS",
    "NPU_FORCE_ENABLE",
]  # fmt: skip

# Names that promise what this version does not do: name and a value that asks for it.
STOPPING = [
    ("VALIDATE_INPUT_URLS", "false"),
    ("RCA_WORKERS", "4"), ("PRIVACY_REDACT_AGGRESSIVENESS", "strict"),
    ("PRIVACY_RETENTION_DAYS", "7"), ("SEARCH_ENABLED", "true"),
    ("PODIUM_GITHUB_TOKEN", "x"), ("PODIUM_HUGGINGFACE_TOKEN", "x"), ("PODIUM_KAGGLE_USERNAME", "x"),
    ("PODIUM_KAGGLE_KEY", "x"), ("PODIUM_VALIDATE_URLS", "false"),
    ("PODIUM_METRICS_WINDOW_HOURS", "24"), ("PODIUM_PROMETHEUS_URL", "x"),
    ("PODIUM_VALIDATION_LEVEL", "strict"), ("PODIUM_WEB_ORIGINS", "x"),
    ("PODIUM_WORKERS", "2"), ("PODIUM_SQL_TYPE", "x"), ("PODIUM_SQL_HOST", "x"), ("PODIUM_SQL_PORT", "5432"),
    ("PODIUM_SQL_NAME", "x"), ("PODIUM_SQL_USER", "x"), ("PODIUM_SQL_PASSWORD", "x"),
    ("PODIUM_CLARIFICATION_ENABLED", "true"),
    ("PODIUM_REDACTION_LEVEL", "strict"), ("PODIUM_RETENTION_DAYS", "7"),
    ("PODIUM_SEARCH_ENABLED", "true"), ("PODIUM_NPU_FORCE", "true"),

    ("PODIUM_MAX_CONCURRENT_CLONES", "2"),
]  # fmt: skip

# Those of them whose value may also ask for what Podium does anyway.
HARMLESS = [
    ("CLOUD_LLM_ENABLED", "false"), ("REMOTE_LLM_ENABLED", "False"), ("PODIUM_REMOTE_LLM_ENABLED", "0"),
    ("VALIDATE_INPUT_URLS", "true"), ("PODIUM_VALIDATE_URLS", "yes"), ("RCA_WORKERS", "1"), ("PODIUM_WORKERS", "1"),

    ("SEARCH_ENABLED", "false"), ("PODIUM_SEARCH_ENABLED", "false"),
    ("SPYNE_CLARIFICATION_MODE", "false"), ("PODIUM_CLARIFICATION_ENABLED", "false"), ("VALIDATION_LEVEL", "moderate"),
    ("PODIUM_VALIDATION_LEVEL", "Moderate"), ("NPU_FORCE_ENABLE", "false"), ("PODIUM_NPU_FORCE", "false"),

]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "path", "value"), WORKING)
def test_a_name_sets_its_setting(name: str, text: str, path: str, value: object) -> None:
    loaded = load_settings(environ={name: text})
    assert value_at(loaded.settings, path) == value
    assert loaded.notices == ()


@pytest.mark.parametrize("name", NOTED)
def test_a_name_of_a_later_feature_is_noted(name: str) -> None:
    loaded = load_settings(environ={name: "s3cret"})
    (notice,) = loaded.notices
    assert f"environment variable {name}: known, not supported yet: " in notice
    assert "s3cret" not in notice
    assert loaded.settings == Settings()


@pytest.mark.parametrize(("name", "text"), STOPPING)
def test_a_promise_that_cannot_be_kept_stops_the_start(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"environment variable {name}: known, not supported yet: ") as caught:
        load_settings(environ={name: text})
    assert "no such setting" not in caught.value.message


@pytest.mark.parametrize(("name", "text"), HARMLESS)
def test_asking_for_what_podium_does_anyway_is_fine(name: str, text: str) -> None:
    loaded = load_settings(environ={name: text})
    assert loaded.notices == ()
    assert loaded.settings == Settings()


def test_every_name_of_the_table_is_tested() -> None:
    tested = {row[0] for row in WORKING} | set(NOTED) | {row[0] for row in STOPPING}
    assert tested - {"PODIUM_DEFAULT_MODEL"} == set(ALIASES)


def test_every_name_leads_to_a_setting_that_exists() -> None:
    for name, alias in ALIASES.items():
        assert isinstance(alias, To | Later | Ignored)
        if isinstance(alias, To):
            assert alias.path in setting_fields(), name


def test_no_name_is_also_the_proper_name_of_a_setting() -> None:
    proper = {field.env_name for field in setting_fields().values()}
    assert not proper & (set(ALIASES) | set(EXTERNAL_NAMES))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"LOG_LEVEL": "INFO"}, {"RCA_LOG_LEVEL": "debug"}),
        ({"LOG_LEVEL": "INFO"}, {"DEBUG": "true"}),
        ({"PODIUM_LOG__LEVEL": "INFO"}, {"PODIUM_LOG_LEVEL": "ERROR"}),
        ({"CLOUD_LLM_ENABLED": "true"}, {"REMOTE_LLM_ENABLED": "false"}),
        ({"SECRET_KEY": "one-secret" * 4}, {"RCA_SECRET_KEY": "other-secret" * 4}),
        ({"RCA_CORS_ORIGINS": "a"}, {"BACKEND_CORS_ORIGINS": "b"}),
        ({"RCA_PORT": "1"}, {"PODIUM_PORT": "2"}),
        ({"RCA_PORT": "1"}, {"PODIUM_SERVER__LISTEN": "127.0.0.1:2"}),
        ({"OLLAMA_HOST": "a"}, {"PODIUM_OLLAMA_URL": "b"}),
    ],
)
def test_contradicting_names_refuse_the_start(one: dict[str, str], other: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="contradicts environment variable") as caught:
        load_settings(environ={**one, **other})
    assert "one-secret" not in caught.value.message
    assert "other-secret" not in caught.value.message


@pytest.mark.parametrize(
    "agreeing",
    [
        {"LOG_LEVEL": "info", "RCA_LOG_LEVEL": "INFO", "PODIUM_LOG__LEVEL": "Info"},
        {"REQUEST_TIMEOUT_SECONDS": "30", "PODIUM_HTTP_TIMEOUT_SECONDS": "30.0"},
        {"RCA_HOST": "127.0.0.1", "RCA_PORT": "50051", "PODIUM_SERVER__LISTEN": "127.0.0.1:50051"},
        {"CLOUD_LLM_ENABLED": "false", "REMOTE_LLM_ENABLED": "FALSE"},
        {"LOG_LEVEL": "DEBUG", "DEBUG": "true"},
    ],
)
def test_names_that_agree_are_fine(agreeing: dict[str, str]) -> None:
    assert load_settings(environ=agreeing).settings


@pytest.mark.parametrize(
    ("name", "text", "todo"),
    [
        ("DEBUG", "maybe", "true or false is wanted"),
        ("ORCHESTRATOR_TIMEOUT_MS", "soon", "a number of milliseconds is wanted"),
        ("RCA_PORT", "http", "the port is a number"),
        ("MAX_QUERY_LENGTH", "-1", "given '-1' for tools.max_query_chars"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_setting(name: str, text: str, todo: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={name: text})
    assert f"environment variable {name}" in caught.value.message
    assert todo in caught.value.message


def test_names_work_in_dotenv_too() -> None:
    Path(".env").write_text("GRACEFUL_SHUTDOWN_TIMEOUT=12\n", encoding="utf-8")
    loaded = load_settings(environ={})
    assert loaded.settings.shutdown.seconds == 12
    assert str(loaded.origin("shutdown.seconds")) == ".env:1 GRACEFUL_SHUTDOWN_TIMEOUT"
