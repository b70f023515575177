"""`[models.NAME]` and `[routes.NAME]` tables, and what all models of one sort share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from podium.settings._base import Address, Folder, Group

__all__ = [
    "AnthropicModel",
    "EmbeddedModel",
    "EngineSettings",
    "LlmSettings",
    "ModelName",
    "ModelSettings",
    "ModelTable",
    "OpenAIModel",
    "RouteTable",
    "ScriptedModel",
    "TensorRtSettings",
    "TrtllmModel",
    "Vendor",
]

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Vendor = Literal["generic", "openai", "vllm", "ollama", "lm_studio", "trtllm_serve"]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2048)]


class ModelTable(Group):
    """What the table of any model may say."""

    requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="Turns a minute; 0: as limits.service_limits says, if it says anything.",
    )
    tokens_per_minute: int = Field(
        default=0, ge=0, le=10**12, description="Tokens of prompts and answers a minute; 0: likewise."
    )
    max_concurrent: int = Field(
        default=0, ge=0, le=100_000, description="Turns at once; more wait in a bounded queue. 0 for no limit."
    )
    tenants: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")], ...] = Field(
        default=(),
        max_length=1024,
        description="Tenants that may name this model; empty for all. Routes lead every tenant to it.",
    )
    overlong: Literal["trim", "summarise", "refuse"] = Field(
        default="trim",
        description="What happens to a conversation that is too long for the model: its oldest turns go (trim), are"
        " summarised by the model (summarise), or the request is refused.",
    )


class EmbeddedModel(ModelTable):
    """A model that an engine host of ours runs on this machine."""

    kind: Literal["embedded"] = Field(description="embedded: an engine host that Podium starts runs it.")
    engine: Literal["openvino", "tensorrt_llm"] = Field(
        default="openvino", description="The engine: openvino (CPU, Intel GPU) or tensorrt_llm (NVIDIA GPU)."
    )
    model: str = Field(
        min_length=1,
        max_length=1024,
        description="A name that `podium models pull` knows, or the path of a GGUF file or model directory.",
    )
    dialect: str = Field(
        default="auto",
        max_length=32,
        description="How the model writes tool calls: auto (from its chat template), guided (planned by Podium, for"
        " small models) or a dialect of docs/backends.md.",
    )


class ScriptedModel(ModelTable):
    """A model that plays a file, for tests and demonstrations."""

    kind: Literal["scripted"] = Field(description="scripted: plays the answers written in a file.")
    file: Folder = Field(description="The script: a file of requests, answers and timings.")


class TrtllmModel(ModelTable):
    """A model behind one or more engines that speak `trtllm.TrtllmService`."""

    kind: Literal["trtllm"] = Field(description="trtllm: engines that others run, such as `trtllm-serve --grpc`.")
    addresses: tuple[Address, ...] = Field(
        min_length=1, max_length=256, description="Addresses of the engines, all with the same model."
    )
    tokenizer: Folder | None = Field(
        default=None,
        description="Folder with tokenizer.json and tokenizer_config.json, for engines that do not hand theirs out.",
    )
    dialect: str = Field(default="auto", max_length=32, description="As for embedded models.")
    context_length: int = Field(
        default=0, ge=0, le=10_000_000, description="Tokens of prompt and answer together; 0: as the engine says."
    )
    max_in_flight: int = Field(default=256, ge=1, le=100_000, description="Generations at once on one engine.")


class _HttpModel(ModelTable):
    """What models behind an HTTP API share."""

    model: str = Field(min_length=1, max_length=256, description="Name of the model at the provider.")
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the provider's key, read when it is used.",
    )
    api_key_file: Folder | None = Field(
        default=None, description="File that holds the provider's key, such as a mounted secret; read anew on change."
    )
    context_length: int = Field(
        default=0, ge=0, le=10_000_000, description="Tokens of prompt and answer together; 0 when not known."
    )
    max_output_tokens: int = Field(
        default=0, ge=0, le=10_000_000, description="Most tokens of an answer; 0: the provider's own limit."
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("set api_key_env or api_key_file, not both")
        return self


class OpenAIModel(_HttpModel):
    """A model behind an OpenAI-compatible HTTP API."""

    kind: Literal["openai"] = Field(description="openai: an OpenAI-compatible HTTP API.")
    vendor: Vendor = Field(
        default="generic", description="Whose API it is: decides quirks, and base_url when that is left out."
    )
    base_url: HttpUrl | None = Field(
        default=None, description="Root of the API, up to and with /v1; needed when vendor is generic."
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.base_url is None and self.vendor == "generic":
            raise ValueError("base_url is needed, such as http://localhost:8000/v1 (or name the vendor)")
        return self


class AnthropicModel(_HttpModel):
    """A model of Anthropic's Messages API."""

    kind: Literal["anthropic"] = Field(description="anthropic: Anthropic's Messages API.")
    base_url: HttpUrl = Field(default="https://api.anthropic.com", description="Root of the API, without /v1.")


ModelSettings = Annotated[
    EmbeddedModel | ScriptedModel | TrtllmModel | OpenAIModel | AnthropicModel, Field(discriminator="kind")
]

BUILT_IN_NAME = "embedded"
BUILT_IN_MODEL = EmbeddedModel(kind="embedded", model="smollm2-135m-instruct")


class RouteTable(Group):
    """A name for several models, of which the first that can answers."""

    models: tuple[ModelName, ...] = Field(min_length=1, max_length=32, description="Models to try, in order.")
    order: Literal["listed", "fastest"] = Field(
        default="listed", description="Which is asked first: the first listed, or the one that answers fastest lately."
    )
    first_output_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long one model may take to its first output before the next."
    )


class LlmSettings(Group):
    """Models behind APIs, all together."""

    remote_enabled: bool = Field(
        default=False, description="Whether requests may leave this machine; off, only loopback addresses are asked."
    )
    ollama_url: HttpUrl = Field(default="http://localhost:11434", description="Where Ollama listens.")
    structured_repairs: int = Field(
        default=2, ge=0, le=10, description="How often a model is asked to mend an answer that misses its schema."
    )


class EngineSettings(Group):
    """The embedded engine host, one process per embedded model."""

    kv_cache_tokens: int = Field(
        default=32_768,
        ge=512,
        le=16_777_216,
        description="Tokens that the key-value cache of one model holds, prompts and outputs together.",
    )
    threads: int = Field(default=0, ge=0, le=1024, description="Threads that compute; 0 leaves it to the engine.")
    max_active: int = Field(default=32, ge=1, le=4096, description="Requests that generate at once.")
    max_waiting: int = Field(default=256, ge=0, le=100_000, description="Requests that wait; more are refused.")
    nice: int = Field(
        default=10, ge=0, le=19, description="Niceness of the host process: it yields the processor to the server."
    )
    start_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="How long a host may take to load its model, in seconds."
    )


class TensorRtSettings(Group):
    """TensorRT-LLM in an engine host, for models with engine = "tensorrt_llm"."""

    python: Folder | None = Field(
        default=None,
        description="Interpreter that has tensorrt_llm; the server's own when left out.",
        examples=["/opt/trtllm/bin/python"],
    )
    tensor_parallel_size: int = Field(default=1, ge=1, le=1024, description="GPUs that share each layer.")
    pipeline_parallel_size: int = Field(default=1, ge=1, le=1024, description="GPUs that share the layers.")
    max_batch_size: int = Field(default=256, ge=1, le=16_384, description="Sequences that a step computes at most.")
    max_num_tokens: int = Field(default=8192, ge=64, le=1_048_576, description="Tokens that a step computes at most.")
    max_seq_len: int = Field(
        default=0, ge=0, le=10_000_000, description="Tokens of prompt and answer; 0: as model and memory allow."
    )
    kv_cache_fraction: float = Field(
        default=0.88, gt=0, le=1, description="Share of the GPU memory left after the weights for the KV cache."
    )
    kv_cache_dtype: Literal["auto", "fp8", "nvfp4"] = Field(default="auto", description="Type of the KV cache.")
    kv_events: bool = Field(default=False, description="Whether cache events are kept for routers.")
    chunked_prefill: bool = Field(default=True, description="Whether long prompts are computed in parts.")
    cuda_graphs: bool = Field(default=True, description="Whether CUDA graphs are captured up to the batch limit.")
    guided_backend: Literal["xgrammar", "llguidance", ""] = Field(
        default="xgrammar", description="What guides decoding; empty for none: requests with a schema are refused."
    )
    stream_interval: int = Field(default=1, ge=1, le=100, description="Decode steps between two deltas of a stream.")
    speculative_config: str = Field(
        default="",
        max_length=8192,
        description="Speculative decoding: a JSON object with decoding_type and its options.",
    )
    lora: tuple[str, ...] = Field(
        default=(), max_length=1024, description="LoRA adapters: NAME=FOLDER, from our configuration only."
    )
    extra: str = Field(
        default="",
        max_length=8192,
        description="Further arguments of tensorrt_llm.LLM: a JSON object, passed as it is.",
    )
    metrics_listen: Address | None = Field(
        default=None,
        description="Loopback address on which the host serves the engine's own figures for Prometheus.",
        examples=["127.0.0.1:8001"],
    )
    start_seconds: float = Field(
        default=1800.0, gt=0, le=86_400, description="How long loading may take, in seconds; large models take minutes."
    )
