"""Who is calling and what they may do: principals, API keys, and the file that keeps them.

Nothing here knows gRPC; `podium.interceptors` asks these objects at every call.
"""

from __future__ import annotations

from podium.security.api_keys import ApiKey, ApiKeyAuthenticator
from podium.security.key_store import KeyFileError, KeyStore
from podium.security.principal import ALL_SCOPES, LOCAL, Authenticator, Credentials, Principal

__all__ = [
    "ALL_SCOPES",
    "LOCAL",
    "ApiKey",
    "ApiKeyAuthenticator",
    "Authenticator",
    "Credentials",
    "KeyFileError",
    "KeyStore",
    "Principal",
]
