"""Who may come in: bearer tokens (RFC 6750) by name, compared in constant time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Self

from service.errors import SettingsError
from service.settings import HttpSettings

ANONYMOUS: Final = "anonymous"
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LEAST: Final = 16
"""Characters. Guessing is not slowed down, so a token must not be guessable."""


class Keyring:
    """The tokens that are valid now. Keeps their hashes only."""

    def __init__(self, tokens: Mapping[str, str] | None) -> None:
        """`tokens` by name; None lets everybody in."""
        self._digests = None if tokens is None else [(_digest(t), name) for name, t in tokens.items()]

    @classmethod
    def load(cls, settings: HttpSettings, section: str) -> Self:
        """The tokens of the settings and their files. `section`: what the settings call themselves.

        Raises
        ------
        SettingsError
            No token at all, one that cannot be read, is too short or has characters that no header carries, or
            two names for the same one.
        """
        if not settings.configured:
            raise SettingsError(
                f"{section}.tokens: none is given; give one, or set {section}.allow_anonymous on a loopback host"
            )
        if settings.allow_anonymous:
            return cls(None)
        tokens: dict[str, str] = {}
        for name, entry in settings.tokens.items():
            token = entry.secret("token") or ""
            if len(token) < _LEAST or not _TOKEN.fullmatch(token):
                raise SettingsError(
                    f"{section}.tokens.{name}: expected {_LEAST} or more letters, digits and -._~+/ (RFC 6750)"
                )
            if token in tokens.values():
                raise SettingsError(f"{section}.tokens.{name}: another name has the same token")
            tokens[name] = token
        return cls(tokens)

    def admit(self, authorization: str | None) -> str | None:
        """The name of the token in an `Authorization` header, or None: nobody we know.

        Hashes are compared, so that neither the length nor the place of a difference shows in the time, and all
        of them always, so that neither does which name it was.
        """
        if self._digests is None:
            return ANONYMOUS
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip(" ")) if scheme.lower() == "bearer" else b""
        found = None
        for digest, name in self._digests:
            if compare_digest(digest, given):
                found = name
        return found


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
