"""Typed settings: what can be set, where values come from, and what is wrong with them.

Everything here is pure: reading builds a new frozen object, and nothing else in Podium reads the
environment or a configuration file. Nothing here starts, opens or checks the machine itself.
"""

from podium.settings.groups import (
    AuthSettings,
    BreakerSettings,
    DeadlineSettings,
    HealthSettings,
    LimitSettings,
    LogSettings,
    MetricSettings,
    OpsSettings,
    PreflightSettings,
    RunSettings,
    ServerSettings,
    ShutdownSettings,
    StorageSettings,
    ToolSettings,
)
from podium.settings.loading import Loaded, bind_problems, check_bind, load_settings
from podium.settings.models import (
    AnthropicModel,
    EmbeddedModel,
    EngineSettings,
    LlmSettings,
    ModelSettings,
    ModelTable,
    OpenAIModel,
    RouteTable,
    ScriptedModel,
    TensorRtSettings,
    TrtllmModel,
)
from podium.settings.problems import Layer, Origin, Problem, SettingsError
from podium.settings.root import Settings

__all__ = [
    "AnthropicModel",
    "AuthSettings",
    "BreakerSettings",
    "DeadlineSettings",
    "EmbeddedModel",
    "EngineSettings",
    "HealthSettings",
    "Layer",
    "LimitSettings",
    "LlmSettings",
    "Loaded",
    "LogSettings",
    "MetricSettings",
    "ModelSettings",
    "ModelTable",
    "OpenAIModel",
    "OpsSettings",
    "Origin",
    "PreflightSettings",
    "Problem",
    "RouteTable",
    "RunSettings",
    "ScriptedModel",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "ShutdownSettings",
    "StorageSettings",
    "TensorRtSettings",
    "ToolSettings",
    "TrtllmModel",
    "bind_problems",
    "check_bind",
    "load_settings",
]
