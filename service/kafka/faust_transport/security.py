"""How Faust is told to authenticate and to encrypt."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

_SASL_MECHANISMS = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
_KEYS = frozenset(
    {"security_protocol", "sasl_mechanism", "username", "password", "cafile", "certfile", "keyfile"}
)


def credentials(security: Mapping[str, Any] | None) -> SASLCredentials | SSLCredentials | None:
    """Faust credentials from a plain mapping; None for a plain connection.

    `security_protocol`: PLAINTEXT (default), SSL, SASL_PLAINTEXT, SASL_SSL. `sasl_mechanism`: PLAIN,
    SCRAM-SHA-256 or SCRAM-SHA-512, with `username` and `password` (a str, or anything with
    `get_secret_value()`). `cafile`: trusted authorities, the system's by default. `certfile`, `keyfile`: the
    client's certificate, for mutual TLS. Raises ValueError for anything else, without repeating any value
    that may be secret.
    """
    settings = {key: value for key, value in (security or {}).items() if value is not None}
    if unknown := sorted(settings.keys() - _KEYS):
        raise ValueError(f"unknown security settings: {', '.join(unknown)}")
    protocol = str(settings.get("security_protocol", "PLAINTEXT")).upper()
    if protocol not in {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}:
        raise ValueError(f"unknown security_protocol {protocol!r}")
    context = _tls(settings) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL"):
        mechanism = str(settings.get("sasl_mechanism", "")).upper()
        if mechanism not in _SASL_MECHANISMS:
            raise ValueError(f"sasl_mechanism must be one of {', '.join(sorted(_SASL_MECHANISMS))}")
        if not settings.get("username") or not settings.get("password"):
            raise ValueError(f"{protocol} needs a username and a password")
        return SASLCredentials(
            username=str(settings["username"]),
            password=_revealed(settings["password"]),
            mechanism=mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def _tls(settings: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_path(settings, "cafile"))
    certfile, keyfile = _path(settings, "certfile"), _path(settings, "keyfile")
    if keyfile and not certfile:
        raise ValueError("a keyfile needs a certfile")
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    return context


def _path(settings: Mapping[str, Any], key: str) -> str | None:
    return str(settings[key]) if settings.get(key) else None


def _revealed(secret: Any) -> str:
    reveal = getattr(secret, "get_secret_value", None)
    return str(reveal() if reveal is not None else secret)
