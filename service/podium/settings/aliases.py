"""Other names of settings: every variable of the systems that Podium replaces, one table.

An entry says what becomes of a name: it sets a setting (`To`), belongs to a feature that this
version lacks (`Later`), or means nothing to Podium (`Ignored`). `docs/settings.md` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["ALIASES", "Alias", "Ignored", "Later", "To"]


@dataclass(frozen=True, slots=True)
class To:
    """The name sets the setting at `path`.

    `convert` turns the text into what the setting takes, None meaning "as if it were not set",
    and raises ValueError saying what is right. `part` marks a name that gives only the host or
    the port of an address.
    """

    path: str
    convert: Callable[[str], str | None] | None = None
    part: Literal["host", "port"] | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """The name belongs to a feature that this version lacks.

    Attributes:
        feature: what it is, in words.
        harmless: values (lower case) that ask for what Podium does anyway; nothing is said.
        stops: whether another value stops the start, since going on would break a promise.
            Otherwise it is only noted: the name is often set for other programs.
        target: names with the same target must not contradict each other.
    """

    feature: str
    harmless: frozenset[str] = frozenset()
    stops: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The name means nothing to Podium, and nothing is said."""

    why: str


Alias = To | Later | Ignored

_OFF = frozenset({"false", "0", "no", "off"})
_ON = frozenset({"true", "1", "yes", "on"})


def _from_ms(text: str) -> str:
    try:
        return repr(float(text) / 1000)
    except ValueError:
        raise ValueError("a number of milliseconds is wanted") from None


def _debug(text: str) -> str | None:
    word = text.strip().lower()
    if word in _ON:
        return "DEBUG"
    if word in _OFF:
        return None
    raise ValueError("true or false is wanted")


def _ollama_url(text: str) -> str:
    # Ollama itself takes host or host:port too, and binds 0.0.0.0, which nobody can connect to by name.
    if "://" in text:
        return text
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "11434"
    return f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"  # noqa: S104  not bound, connected to


_SECRET = To("storage.secret_key")
_ORIGINS = Later("the gRPC-Web gateway and its allowed origins", target="web_origins")
_SQL = Later("questions to a SQL database")
_PLATFORMS = Later("repository and data set platforms (GitHub, Hugging Face, Kaggle)")
_REMOTE = To("llm.remote_enabled")
_PROVIDER_KEY = Ignored("models of kind openai and anthropic read the key of their provider when they use it")
_OLLAMA = To("llm.ollama_url", _ollama_url)
_WORKERS = Later("several worker processes", harmless=frozenset({"1"}), stops=True, target="workers")
_RETRIES = To("run.max_retries")
_WINDOW = Later("a window of metrics kept in the process", target="metrics_window")
_PROMETHEUS = Later("links and queries to a Prometheus server", target="prometheus_url")
_VALIDATION = Later("levels of strictness in validation", harmless=frozenset({"moderate"}), target="validation_level")
_URLS = Later("switching off the checks of URLs (they are always on)", harmless=_ON, stops=True, target="validate_urls")
_CLARIFY = Later("questions back to the user", harmless=_OFF, target="clarification")
_ENCRYPT = To("storage.encrypt_at_rest")
_REDACT = Later("redaction of personal data", stops=True, target="redaction_level")
_RETAIN = Later("retention of stored data by days (nothing is stored yet)", stops=True, target="retention_days")
_BUDGET = To("budgets.enforce")
_SEARCH = Later("web search", harmless=_OFF, stops=True, target="search_enabled")
_NPU = Later("neural processors", harmless=_OFF, target="npu_force")
_SALT = To("storage.privacy_salt")

# Names of the earlier systems, as they wrote them.
_SEED_NAMES: dict[str, Alias] = {
    "APP_ENV": To("environment", str.lower),
    "DEBUG": To("log.level", _debug),
    "LOG_LEVEL": To("log.level"),
    "PYTHONPATH": Ignored("Podium is an installed package; Python itself reads this"),
    "GITHUB_TOKEN": _PLATFORMS,
    "HUGGINGFACE_TOKEN": _PLATFORMS,
    "KAGGLE_USERNAME": _PLATFORMS,
    "KAGGLE_KEY": _PLATFORMS,
    "OLLAMA_HOST": _OLLAMA,
    "CLOUD_LLM_ENABLED": _REMOTE,
    "OPENAI_API_KEY": _PROVIDER_KEY,
    "ANTHROPIC_API_KEY": _PROVIDER_KEY,
    "MASK_SECRETS_IN_LOGS": To("log.mask"),
    "VALIDATE_INPUT_URLS": _URLS,
    "MAX_QUERY_LENGTH": To("tools.max_query_chars"),
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": To("breaker.failure_threshold"),
    "CIRCUIT_BREAKER_RECOVERY_TIMEOUT": To("breaker.recovery_seconds"),
    "CIRCUIT_BREAKER_SUCCESS_THRESHOLD": To("breaker.success_threshold"),
    "CIRCUIT_BREAKER_TIMEOUT": To("breaker.call_timeout_seconds"),
    "METRICS_RETENTION_HOURS": _WINDOW,
    "CORRELATION_ID_IN_LOGS": To("log.correlation"),
    "HEALTH_CHECK_INTERVAL": To("health.interval_seconds"),
    "REQUEST_TIMEOUT_SECONDS": To("deadlines.http_seconds"),
    "MAX_RETRIES": _RETRIES,
    "GRACEFUL_SHUTDOWN_TIMEOUT": To("shutdown.seconds"),
    "ORCHESTRATOR_MAX_PARALLEL": To("run.parallel"),
    "ORCHESTRATOR_TIMEOUT_MS": To("deadlines.run_seconds", _from_ms, unit="milliseconds"),
    "ORCHESTRATOR_LOG_LEVEL": To("log.level"),
    "PROMETHEUS_ENDPOINT": _PROMETHEUS,
    "VALIDATION_LEVEL": _VALIDATION,
    "RATE_LIMIT_REQUESTS_PER_MINUTE": To("limits.requests_per_minute"),
    "RCA_CORS_ORIGINS": _ORIGINS,
    "MAX_CONTENT_LENGTH": To("server.max_message_bytes"),
    "RCA_SECRET_KEY": _SECRET,
    "RCA_WORKERS": _WORKERS,
    "RCA_THREADS": To("tools.threads"),
    "RCA_TIMEOUT": To("deadlines.generate_seconds"),
    "RCA_LLM_TIMEOUT": To("deadlines.llm_seconds"),
    "RCA_DEBUG": To("log.level", _debug),
    "RCA_LOG_LEVEL": To("log.level"),
    "RCA_LLM_MODEL": To("default_model"),
    "RCA_HOST": To("server.listen", part="host"),
    "RCA_PORT": To("server.listen", part="port"),
    "RCA_DB_TYPE": _SQL,
    "RCA_DB_HOST": _SQL,
    "RCA_DB_PORT": _SQL,
    "RCA_DB_NAME": _SQL,
    "RCA_DB_USER": _SQL,
    "RCA_DB_PASSWORD": _SQL,
    "SPYNE_CLARIFICATION_MODE": _CLARIFY,
    "SECRET_KEY": _SECRET,
    "PRIVACY_SALT": _SALT,
    "BACKEND_CORS_ORIGINS": _ORIGINS,
    "PRIVACY_ENCRYPT_AT_REST": _ENCRYPT,
    "PRIVACY_REDACT_AGGRESSIVENESS": _REDACT,
    "PRIVACY_RETENTION_DAYS": _RETAIN,
    "BUDGET_ENFORCE": _BUDGET,
    "SEARCH_ENABLED": _SEARCH,
    "REMOTE_LLM_ENABLED": _REMOTE,
    "NPU_FORCE_ENABLE": _NPU,
}

# The flat PODIUM_ names for the same things.
_PODIUM_NAMES: dict[str, Alias] = {
    "PODIUM_ENV": To("environment", str.lower),
    "PODIUM_DEBUG": To("log.level", _debug),
    "PODIUM_LOG_LEVEL": To("log.level"),
    "PODIUM_GITHUB_TOKEN": _PLATFORMS,
    "PODIUM_HUGGINGFACE_TOKEN": _PLATFORMS,
    "PODIUM_KAGGLE_USERNAME": _PLATFORMS,
    "PODIUM_KAGGLE_KEY": _PLATFORMS,
    "PODIUM_OLLAMA_URL": _OLLAMA,
    "PODIUM_REMOTE_LLM_ENABLED": _REMOTE,
    "PODIUM_OPENAI_API_KEY": _PROVIDER_KEY,
    "PODIUM_ANTHROPIC_API_KEY": _PROVIDER_KEY,
    "PODIUM_MASK_SECRETS": To("log.mask"),
    "PODIUM_VALIDATE_URLS": _URLS,
    "PODIUM_MAX_QUERY_LENGTH": To("tools.max_query_chars"),
    "PODIUM_BREAKER_FAILURE_THRESHOLD": To("breaker.failure_threshold"),
    "PODIUM_BREAKER_RECOVERY_SECONDS": To("breaker.recovery_seconds"),
    "PODIUM_BREAKER_SUCCESS_THRESHOLD": To("breaker.success_threshold"),
    "PODIUM_BREAKER_CALL_TIMEOUT_SECONDS": To("breaker.call_timeout_seconds"),
    "PODIUM_METRICS_WINDOW_HOURS": _WINDOW,
    "PODIUM_LOG_CORRELATION_ID": To("log.correlation"),
    "PODIUM_HEALTH_INTERVAL_SECONDS": To("health.interval_seconds"),
    "PODIUM_HTTP_TIMEOUT_SECONDS": To("deadlines.http_seconds"),
    "PODIUM_MAX_RETRIES": _RETRIES,
    "PODIUM_SHUTDOWN_SECONDS": To("shutdown.seconds"),
    "PODIUM_MAX_PARALLEL_TOOLS": To("run.parallel"),
    "PODIUM_MAX_PARALLEL_PER_TYPE": To("run.parallel_type"),
    "PODIUM_TOTAL_TIMEOUT_MS": To("deadlines.run_seconds", _from_ms, unit="milliseconds"),
    "PODIUM_TOOL_TIMEOUT_MS": To("deadlines.tool_seconds", _from_ms, unit="milliseconds"),
    "PODIUM_GLOBAL_MAX": To("limits.global_per_second"),
    "PODIUM_PROMETHEUS_URL": _PROMETHEUS,
    "PODIUM_VALIDATION_LEVEL": _VALIDATION,
    "PODIUM_RATE_LIMIT_PER_MINUTE": To("limits.requests_per_minute"),
    "PODIUM_WEB_ORIGINS": _ORIGINS,
    "PODIUM_MAX_MESSAGE_BYTES": To("server.max_message_bytes"),
    "PODIUM_SECRET_KEY": _SECRET,
    "PODIUM_WORKERS": _WORKERS,
    "PODIUM_BLOCKING_THREADS": To("tools.threads"),
    "PODIUM_QUERY_TIMEOUT_SECONDS": To("deadlines.generate_seconds"),
    "PODIUM_LLM_TIMEOUT_SECONDS": To("deadlines.llm_seconds"),
    "PODIUM_LLM_MODEL": To("default_model"),
    "PODIUM_HOST": To("server.listen", part="host"),
    "PODIUM_PORT": To("server.listen", part="port"),
    "PODIUM_SQL_TYPE": _SQL,
    "PODIUM_SQL_HOST": _SQL,
    "PODIUM_SQL_PORT": _SQL,
    "PODIUM_SQL_NAME": _SQL,
    "PODIUM_SQL_USER": _SQL,
    "PODIUM_SQL_PASSWORD": _SQL,
    "PODIUM_CLARIFICATION_ENABLED": _CLARIFY,
    "PODIUM_PRIVACY_SALT": _SALT,
    "PODIUM_ENCRYPT_AT_REST": _ENCRYPT,
    "PODIUM_REDACTION_LEVEL": _REDACT,
    "PODIUM_RETENTION_DAYS": _RETAIN,
    "PODIUM_BUDGET_ENFORCE": _BUDGET,
    "PODIUM_SEARCH_ENABLED": _SEARCH,
    "PODIUM_NPU_FORCE": _NPU,
    "PODIUM_MAX_MEMORY_GB": To("limits.max_memory_gb"),
    "PODIUM_ENABLE_RESULT_COMPRESSION": To("cache.compress"),
    "PODIUM_CACHE_TTL_SECONDS": To("cache.ttl_seconds"),
    "PODIUM_MAX_CACHE_SIZE": To("cache.max_entries"),
    "PODIUM_SERVICE_LIMITS": To("limits.service_limits"),
    "PODIUM_MAX_CONCURRENT_CLONES": Later("repository and data set platforms (GitHub, Hugging Face, Kaggle)"),
    "PODIUM_TOOLS_PYTHON": To("tools.python"),
    "PODIUM_DATA_DIR": To("storage.data_dir"),
}

ALIASES: Mapping[str, Alias] = {**_SEED_NAMES, **_PODIUM_NAMES}

# Names that begin with PODIUM_ and are not the server's to judge.
EXTERNAL_NAMES: Mapping[str, str] = {
    "PODIUM_CONFIG": "path of the configuration file, like --config",
    "PODIUM_ADDRESS": "address of the server that the client and `podium run` talk to",
    "PODIUM_API_KEY": "API key that the client and `podium run` present",
}
