"""Builds one configured model from its table: the backend, and what stands around every backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from podium.errors import FailedPrecondition, InvalidRequest, PodiumError
from podium.inference.context_window import FittedModel, ModelSummariser, WindowPolicy
from podium.inference.dialects import dialect_named
from podium.inference.embedded import EmbeddedModel
from podium.inference.engine_endpoint import PoolPolicy
from podium.inference.engine_profile import AUTO, GUIDED
from podium.inference.http import (
    AnthropicChatModel,
    ApiKeySource,
    EgressPolicy,
    HttpEndpoint,
    OpenAIChatModel,
    TurnLimits,
    Vendor,
    anthropic_endpoint,
)
from podium.inference.http.http_chat import HttpChatModel
from podium.inference.model_store import ModelStore
from podium.inference.remote_engine import RemoteEngineModel
from podium.inference.routing.provider_limits import LimitedModel, ProviderLimits, ProviderQuota
from podium.inference.scripted import ScriptedModel, load_script_file
from podium.inference.structured import StructuredModel
from podium.inference.token_model import TokenModel
from podium.orchestration.chat import ChatModel
from podium.orchestration.tool import ToolSpec
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel
from podium.settings import AnthropicModel as AnthropicTable
from podium.settings import EmbeddedModel as EmbeddedTable
from podium.settings import EngineSettings, ModelTable, Settings, TensorRtSettings
from podium.settings import OpenAIModel as OpenAITable
from podium.settings import ScriptedModel as ScriptedTable
from podium.settings import TrtllmModel as TrtllmTable

__all__ = ["BuiltModel", "ModelBuilder", "model_path"]

_VENDOR_URLS = {
    Vendor.OPENAI: "https://api.openai.com/v1",
    Vendor.VLLM: "http://localhost:8000/v1",
    Vendor.LM_STUDIO: "http://localhost:1234/v1",
    Vendor.TRTLLM_SERVE: "http://localhost:8000/v1",
}
_VENDOR_KEYS = {Vendor.OPENAI: "OPENAI_API_KEY"}
_WINDOWS = {
    "trim": WindowPolicy.TRIM_OLDEST,
    "summarise": WindowPolicy.SUMMARISE,
    "refuse": WindowPolicy.REFUSE,
}


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A model that is open.

    Attributes:
        model: as requests use it: limited, fitted, held to schemas, behind its breaker.
        tokens: what takes token ids directly, for models that are engines.
        host: the model, when its engine host is ours.
        stack: closes it.
    """

    model: ChatModel
    tokens: TokenModel | None
    host: EmbeddedModel | None
    stack: AsyncExitStack


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBuilder:
    """Builds models.

    Attributes:
        tools: the tools that most requests may use; planning gets ready for them.
        breakers: where models' breakers are kept.
        host_changed: told whenever the readiness of a host of ours may have changed.
        model_changed: told the name of a model that has become ready.
        first_output: told a model's name and the seconds to a turn's first output.
    """

    tools: Callable[[], tuple[ToolSpec, ...]]
    breakers: Breakers
    host_changed: Callable[[EmbeddedModel], None]
    model_changed: Callable[[str], None]
    first_output: Callable[[str, float], None]

    async def build(self, name: str, settings: Settings) -> BuiltModel:
        """Build and open the model of that name. Hosts and engines get ready later.

        Raises:
            FailedPrecondition: a file is missing, or a setting is wrong; the message says what to do.
        """
        table = settings.models[name]
        async with AsyncExitStack() as stack:
            try:
                backend = await self._backend(name, table, settings, stack)
            except (ValueError, InvalidRequest) as error:
                message = error.message if isinstance(error, PodiumError) else str(error)
                raise FailedPrecondition(f"models.{name}: {message}") from error
            return BuiltModel(
                model=self._around(backend, name, table, settings),
                tokens=backend if isinstance(backend, EmbeddedModel | RemoteEngineModel) else None,
                host=backend if isinstance(backend, EmbeddedModel) else None,
                stack=stack.pop_all(),
            )

    def _around(self, backend: ChatModel, name: str, table: ModelTable, settings: Settings) -> ChatModel:
        guarded = GuardedModel(backend, self.breakers, first_output=self.first_output)
        quota = _quota(name, table, settings)
        limited = guarded if quota is None else LimitedModel(guarded, ProviderLimits(name, quota))
        policy = _WINDOWS[table.overlong]
        summarise = ModelSummariser(limited) if policy is WindowPolicy.SUMMARISE else None
        structured = StructuredModel(limited, repairs=settings.llm.structured_repairs)
        return FittedModel(structured, policy, summarise=summarise)

    async def _backend(self, name: str, table: ModelTable, settings: Settings, stack: AsyncExitStack) -> ChatModel:
        match table:
            case ScriptedTable():
                return ScriptedModel(name, load_script_file(table.file))
            case EmbeddedTable():
                return await stack.enter_async_context(self._embedded(name, table, settings))
            case TrtllmTable():
                return await stack.enter_async_context(self._remote(name, table, settings))
            case OpenAITable():
                return _opened(_openai(name, table, settings), stack)
            case AnthropicTable():
                return _opened(_anthropic(name, table, settings), stack)
        raise TypeError(f"models.{name} is of a kind that nothing builds")

    def _embedded(self, name: str, table: EmbeddedTable, settings: Settings) -> EmbeddedModel:
        _check_dialect(table.dialect)
        nvidia = table.engine == "tensorrt_llm"
        return EmbeddedModel(
            name,
            model_path(name, table.model, settings.storage.models_dir),
            tools=self.tools(),
            engine=table.engine,
            options=_tensorrt_options(settings) if nvidia else _host_options(settings.engine),
            python=settings.tensorrt.python if nvidia else None,
            dialect=table.dialect,
            nice=settings.engine.nice,
            # Beside loading, the host tries the package's import; to stop, it drains and shuts the engine down.
            start_seconds=settings.tensorrt.start_seconds + 180 if nvidia else settings.engine.start_seconds,
            stop_seconds=20.0 if nvidia else 7.0,
            turn_seconds=settings.deadlines.llm_seconds,
            on_change=self.host_changed,
        )

    def _remote(self, name: str, table: TrtllmTable, settings: Settings) -> RemoteEngineModel:
        _check_dialect(table.dialect)
        policy = _egress(settings)
        hosts = [address.rpartition(":")[0].strip("[]") for address in table.addresses if not _is_socket(address)]
        zones = [policy.check_host(host) for host in hosts]
        seconds = settings.deadlines.llm_seconds
        return RemoteEngineModel(
            name,
            table.addresses,
            tokenizer=table.tokenizer,
            dialect=table.dialect,
            context_length=table.context_length,
            policy=PoolPolicy(
                max_in_flight=table.max_in_flight, request_timeout=seconds, first_token_timeout=min(60.0, seconds)
            ),
            remote=any(zone.value != "loopback" for zone in zones),
            on_change=lambda: self.model_changed(name),
        )


def model_path(name: str, model: str, models_dir: Path | None = None) -> Path:
    """Return where an embedded model lies: a path as it is, a name in the user's cache.

    Raises:
        FailedPrecondition: there is nothing there; the message says how to get it.
    """
    as_path = Path(model).expanduser()
    if as_path.suffix == ".gguf" or len(as_path.parts) > 1:
        if not as_path.exists():
            raise FailedPrecondition(f"models.{name}.model: there is no file or folder {model!r}")
        return as_path
    stored = ModelStore(models_dir).find(model)
    if stored is None:
        raise FailedPrecondition(
            f"models.{name}.model: {model!r} has not been fetched yet; run `podium models pull` "
            "(`podium models pull --from FILE` where the package index is out of reach)"
        )
    return stored.path


def _check_dialect(dialect: str) -> None:
    if dialect not in (AUTO, GUIDED):
        dialect_named(dialect)


def _is_socket(address: str) -> bool:
    return address.startswith("unix:")


def _egress(settings: Settings) -> EgressPolicy:
    # One switch for both, as both names of the earlier systems set it.
    enabled = settings.llm.remote_enabled
    return EgressPolicy(cloud_enabled=enabled, remote_enabled=enabled)


def _opened(model: HttpChatModel, stack: AsyncExitStack) -> HttpChatModel:
    stack.push_async_callback(model.aclose)
    return model


def _openai(name: str, table: OpenAITable, settings: Settings) -> OpenAIChatModel:
    vendor = Vendor(table.vendor)
    base_url = table.base_url or _VENDOR_URLS.get(vendor) or f"{settings.llm.ollama_url.rstrip('/')}/v1"
    endpoint = HttpEndpoint(
        name,
        base_url.rstrip("/"),
        policy=_egress(settings),
        key=_key(table, _VENDOR_KEYS.get(vendor, "")),
        limits=_turn_limits(settings),
    )
    return OpenAIChatModel(
        name,
        table.model,
        endpoint,
        vendor=vendor,
        context_length=table.context_length,
        max_output_tokens=table.max_output_tokens,
    )


def _anthropic(name: str, table: AnthropicTable, settings: Settings) -> AnthropicChatModel:
    endpoint = anthropic_endpoint(
        name,
        table.base_url.rstrip("/"),
        policy=_egress(settings),
        key=_key(table, "ANTHROPIC_API_KEY"),
        limits=_turn_limits(settings),
    )
    return AnthropicChatModel(
        name,
        table.model,
        endpoint,
        max_output_tokens=table.max_output_tokens or 8192,
        context_length=table.context_length,
    )


def _key(table: OpenAITable | AnthropicTable, usual: str) -> ApiKeySource | None:
    if table.api_key_file is not None:
        return ApiKeySource.from_file(table.api_key_file)
    variable = table.api_key_env or usual
    return ApiKeySource.from_env(variable) if variable else None


def _turn_limits(settings: Settings) -> TurnLimits:
    total = settings.deadlines.llm_seconds
    return TurnLimits(first_event=min(60.0, total), between_events=min(30.0, total), total=total)


def _quota(name: str, table: ModelTable, settings: Settings) -> ProviderQuota | None:
    calls, tokens = _service_limit(name, table, settings)
    calls, tokens = table.requests_per_minute or calls, table.tokens_per_minute or tokens
    if not (calls or tokens or table.max_concurrent):
        return None
    return ProviderQuota(
        calls_per_minute=calls or None, tokens_per_minute=tokens or None, concurrent=table.max_concurrent or None
    )


def _service_limit(name: str, table: ModelTable, settings: Settings) -> tuple[int, int]:
    """Return the turns and tokens a minute that `limits.service_limits` allows, 0 for no limit."""
    limits = dict(entry.split("=", 1) for entry in settings.limits.service_limits)
    # Of the kind openai it is the vendor that counts: a server of one's own has no quota of OpenAI's.
    for key in (name, getattr(table, "vendor", getattr(table, "kind", ""))):
        if key in limits:
            calls, _, tokens = limits[key].partition("/")
            return int(calls), int(tokens or 0)
    return 0, 0


def _host_options(engine: EngineSettings) -> tuple[str, ...]:
    return (
        "--threads", str(engine.threads),
        "--max-active", str(engine.max_active),
        "--max-waiting", str(engine.max_waiting),
        "--kv-cache-tokens", str(engine.kv_cache_tokens),
    )  # fmt: skip


def _tensorrt_options(settings: Settings) -> tuple[str, ...]:
    options = json.dumps(_tensorrt_json(settings.tensorrt))
    most = settings.tensorrt.max_seq_len
    return (
        "--max-active", str(settings.tensorrt.max_batch_size),
        "--max-waiting", str(settings.engine.max_waiting),
        "--options-json", options,
        *(("--max-seq-len", str(most)) if most else ()),
        *(("--metrics-listen", listen) if (listen := settings.tensorrt.metrics_listen) else ()),
    )  # fmt: skip


def _tensorrt_json(tensorrt: TensorRtSettings) -> Mapping[str, object]:
    return {
        "tensor_parallel_size": tensorrt.tensor_parallel_size,
        "pipeline_parallel_size": tensorrt.pipeline_parallel_size,
        "max_batch_size": tensorrt.max_batch_size,
        "max_num_tokens": tensorrt.max_num_tokens,
        "enable_chunked_prefill": tensorrt.chunked_prefill,
        "kv_cache_fraction": tensorrt.kv_cache_fraction,
        "kv_cache_dtype": tensorrt.kv_cache_dtype,
        "kv_event_buffer": 16_384 if tensorrt.kv_events else 0,
        "cuda_graph_max_batch": None if tensorrt.cuda_graphs else 0,
        "guided_decoding_backend": tensorrt.guided_backend or None,
        "stream_interval": tensorrt.stream_interval,
        "speculative": _json_object("tensorrt.speculative_config", tensorrt.speculative_config) or None,
        "lora": dict(_pair(entry) for entry in tensorrt.lora),
        "extra": _json_object("tensorrt.extra", tensorrt.extra),
        "construct_limit": tensorrt.start_seconds,
    }


def _json_object(setting: str, text: str) -> dict[str, object]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise FailedPrecondition(f'{setting} is a JSON object, such as {{"key": "value"}}')
    return found


def _pair(entry: str) -> tuple[str, str]:
    name, equals, folder = entry.partition("=")
    if not (name and equals and folder):
        raise FailedPrecondition("tensorrt.lora has entries of the form NAME=FOLDER")
    return name, folder
