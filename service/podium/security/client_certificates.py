"""Callers known by their TLS client certificate, as a mesh or an operator's authority issues them."""

from __future__ import annotations

from podium.security.principal import ALL_SCOPES, Credentials, Principal

__all__ = ["ClientCertificateAuthenticator"]


class ClientCertificateAuthenticator:
    """Takes the identity of a verified client certificate: its SPIFFE URI, else its common name.

    gRPC has checked the certificate against the authorities before any call arrives here, so
    whoever has one may do everything; the name serves limits, logs and the ownership of runs.
    """

    def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return the caller, or None when the connection has no client certificate."""
        context = credentials.auth_context()
        for key in ("peer_uri", "x509_common_name"):
            names = context.get(key)
            if names:
                return Principal(name=f"cert:{names[0].decode('utf-8', 'replace')}", scopes=ALL_SCOPES)
        return None
