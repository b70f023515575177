"""Authentication: who is calling. Refuses before anything of the request is even parsed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from podium.errors import PermissionDenied, Unauthenticated
from podium.interceptors.call import Call, Method
from podium.interceptors.concern import Hooks
from podium.security.api_keys import check_tenant
from podium.security.principal import LOCAL, Authenticator, Credentials, Principal

__all__ = ["TENANT_KEY", "Authentication"]

TENANT_KEY: Final = "x-podium-tenant"
_LONGEST: Final = 8_192


class Authentication:
    """Asks each authenticator in turn; the first that knows the kind of credential decides.

    Args:
        authenticators: in order.
        required: whether callers must identify themselves, asked at every call so that the first
            key made on a running server closes it. When not required, a caller without
            credentials is `anonymous`; one with bad credentials is refused all the same.
        anonymous: the caller of a server without credentials.
    """

    name = "authentication"

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        *,
        required: Callable[[], bool] | None = None,
        anonymous: Principal = LOCAL,
    ) -> None:
        self._authenticators = tuple(authenticators)
        self._required = required if required is not None else lambda: bool(self._authenticators)
        self._anonymous = anonymous

    def bind(self, method: Method) -> Hooks | None:
        """Identify the callers of every method but the public ones."""
        if method.policy is not None and method.policy.scope is None:
            return None
        return Hooks(admit=self._admit)

    def _admit(self, call: Call) -> Awaitable[None] | None:
        metadata = call.metadata
        bearer = metadata.get("authorization")
        api_key = ""
        if isinstance(bearer, str) and bearer.startswith("Bearer pdm_") and "x-api-key" not in metadata:
            bearer = bearer[7:]  # the usual case, in as few steps as possible
        else:
            bearer, api_key = _read(call)
            if not bearer and not api_key and not self._required():
                call.principal = self._anonymous
                _choose_tenant(call)
                return None
        credentials = Credentials(bearer, api_key, call.context.auth_context)
        for index, authenticator in enumerate(self._authenticators):
            answer = authenticator.authenticate(credentials)
            if answer is None:
                continue
            if not isinstance(answer, Principal):
                return self._finish(call, credentials, answer, index + 1)
            call.principal = answer
            if TENANT_KEY in metadata:
                _choose_tenant(call)
            return None
        raise _nobody(credentials)

    async def _finish(
        self, call: Call, credentials: Credentials, answer: Awaitable[Principal | None], following: int
    ) -> None:
        principal = await answer
        for authenticator in self._authenticators[following:]:
            if principal is not None:
                break
            result = authenticator.authenticate(credentials)
            principal = result if result is None or isinstance(result, Principal) else await result
        if principal is None:
            raise _nobody(credentials)
        call.principal = principal
        _choose_tenant(call)


def _read(call: Call) -> tuple[str, str]:
    """Return the bearer token and the API key that the call brought, each "" when absent."""
    api_key = call.text("x-api-key")
    authorization = call.text("authorization")
    if len(api_key) > _LONGEST or len(authorization) > _LONGEST:
        raise Unauthenticated("the credential is too long to be one")
    if not authorization:
        return "", api_key
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the authorization metadata must be 'Bearer <token>'")
    if api_key and api_key != token:
        raise Unauthenticated("two different credentials were sent: send one")
    return token, api_key


def _nobody(credentials: Credentials) -> Unauthenticated:
    if credentials.bearer or credentials.api_key:
        return Unauthenticated("the credential is of no kind that this server takes")
    return Unauthenticated("this server needs a credential: send 'authorization: Bearer <key>' or 'x-api-key'")


def _choose_tenant(call: Call) -> None:
    wanted = call.text(TENANT_KEY)
    principal = call.principal
    if not wanted or principal is None or wanted == principal.tenant:
        return
    if not principal.any_tenant:
        raise PermissionDenied("the credential may not act for another tenant")
    call.principal = Principal(
        principal.name, principal.scopes, check_tenant(wanted), local=principal.local, any_tenant=True
    )
