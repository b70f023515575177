"""Chat models behind HTTP: OpenAI-compatible servers and Anthropic's Messages API.

Each implements `orchestration.chat.ChatModel` over a pool of connections that asks the egress policy
before it sends anything. Retries, fallback and breakers are never here: they belong to the router.
"""

from podium.inference.http.anthropic_chat import AnthropicChatModel, anthropic_endpoint
from podium.inference.http.api_key import ApiKeySource
from podium.inference.http.client import HttpEndpoint
from podium.inference.http.egress import EgressPolicy
from podium.inference.http.openai_chat import OpenAIChatModel
from podium.inference.http.openai_quirks import Vendor
from podium.inference.http.turn_clock import TurnLimits

__all__ = [
    "AnthropicChatModel",
    "ApiKeySource",
    "EgressPolicy",
    "HttpEndpoint",
    "OpenAIChatModel",
    "TurnLimits",
    "Vendor",
    "anthropic_endpoint",
]
