"""Authorisation: may this caller call this method? What no policy allows is denied."""

from __future__ import annotations

from podium.errors import PermissionDenied
from podium.interceptors.call import Call, Method
from podium.interceptors.concern import Hooks

__all__ = ["Authorisation"]


class Authorisation:
    """Compares the caller's scopes with the one that the method's policy names."""

    name = "authorisation"

    def bind(self, method: Method) -> Hooks | None:
        """Return the check; a method without a policy is closed to everybody."""
        policy = method.policy
        if policy is None:
            return Hooks(admit=_deny)
        scope = policy.scope
        if scope is None:
            return None

        def admit(call: Call) -> None:
            principal = call.principal
            if principal is None or scope not in principal.scopes:
                raise PermissionDenied(
                    f"the credential lacks the scope '{scope}' that this method needs", metadata={"scope": scope}
                )

        return Hooks(admit=admit)


def _deny(call: Call) -> None:
    raise PermissionDenied(f"{call.method.rpc} is not open to anybody on this server")
