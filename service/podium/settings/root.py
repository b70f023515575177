"""`Settings`: everything that can be set, as one frozen object."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from podium.settings import groups, orchestration
from podium.settings.models import (
    BUILT_IN_MODEL,
    BUILT_IN_NAME,
    EngineSettings,
    LlmSettings,
    ModelName,
    ModelSettings,
    RouteTable,
    TensorRtSettings,
)

__all__ = ["Settings"]


class Settings(BaseSettings):
    """All settings. `Settings()` holds the defaults and reads nothing; `load_settings` reads the rest."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    environment: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = Field(
        default="development", description="Name of the environment; production writes JSON logs on terminals too."
    )
    default_model: str | None = Field(
        default=None,
        description="The model or route of requests that name none; may be left out when there is just one model.",
        examples=[BUILT_IN_NAME],
    )
    server: groups.ServerSettings = groups.ServerSettings()
    ops: groups.OpsSettings = groups.OpsSettings()
    auth: groups.AuthSettings = groups.AuthSettings()
    limits: groups.LimitSettings = groups.LimitSettings()
    breaker: groups.BreakerSettings = groups.BreakerSettings()
    deadlines: groups.DeadlineSettings = groups.DeadlineSettings()
    run: groups.RunSettings = groups.RunSettings()
    tools: groups.ToolSettings = groups.ToolSettings()
    governor: orchestration.GovernorSettings = orchestration.GovernorSettings()
    speculation: orchestration.SpeculationSettings = orchestration.SpeculationSettings()
    cache: orchestration.CacheSettings = orchestration.CacheSettings()
    budgets: orchestration.BudgetSettings = orchestration.BudgetSettings()
    llm: LlmSettings = LlmSettings()
    engine: EngineSettings = EngineSettings()
    tensorrt: TensorRtSettings = TensorRtSettings()
    log: groups.LogSettings = groups.LogSettings()
    metrics: groups.MetricSettings = groups.MetricSettings()
    health: groups.HealthSettings = groups.HealthSettings()
    shutdown: groups.ShutdownSettings = groups.ShutdownSettings()
    storage: groups.StorageSettings = groups.StorageSettings()
    preflight: groups.PreflightSettings = groups.PreflightSettings()
    models: dict[ModelName, ModelSettings] = Field(
        default={BUILT_IN_NAME: BUILT_IN_MODEL},
        min_length=1,
        description="Models by name. While no other is configured there is the built-in one.",
    )
    routes: dict[ModelName, RouteTable] = Field(
        default={}, description="Routes by name: each is asked for like a model, and one of several models answers."
    )
    prices: dict[ModelName, orchestration.PriceTable] = Field(
        default={}, description="Prices by model name, for budgets of money."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor only.

        The library's own sources overlook misspelt variables and flat names, and forget where a
        value came from; `loading.py` reads the layers instead.
        """
        return (init_settings,)

    @model_validator(mode="after")
    def _default_model_exists(self) -> Self:
        names = ", ".join(sorted([*self.models, *self.routes]))
        if self.default_model is None and len(self.models) > 1 and "default" not in self.routes:
            raise ValueError(f"there are several models ({names}): say which one is default_model")
        if self.default_model is not None and self.default_model not in {*self.models, *self.routes}:
            raise ValueError(f"default_model names none of the configured models ({names})")
        return self

    @model_validator(mode="after")
    def _routes_lead_to_models(self) -> Self:
        for name, route in self.routes.items():
            if name in self.models:
                raise ValueError(f"{name} is a model and a route: give one of them another name")
            unknown = [model for model in route.models if model not in self.models]
            if unknown:
                raise ValueError(f"routes.{name} names models that are not configured: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _shared_cache_is_encrypted(self) -> Self:
        storage = self.storage
        if self.cache.redis_url is None or not storage.encrypt_at_rest:
            return self
        if storage.secret_key is None or storage.privacy_salt is None:
            raise ValueError(
                "cache.redis_url keeps results outside this process: set storage.secret_key and storage.privacy_salt to"
                " encrypt them, or storage.encrypt_at_rest = false"
            )
        return self

    @model_validator(mode="after")
    def _prices_are_of_models(self) -> Self:
        unknown = [name for name in self.prices if name not in self.models]
        if unknown:
            raise ValueError(f"prices name models that are not configured: {', '.join(unknown)}")
        return self

    @property
    def model_name(self) -> str:
        """Name of the model or route that answers requests which name none."""
        if self.default_model is not None:
            return self.default_model
        return "default" if "default" in self.routes else next(iter(self.models))
