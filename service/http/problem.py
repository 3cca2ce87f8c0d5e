"""What a client is told when its request is not done: RFC 9457 problem details, each kind said once."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import orjson
from aiohttp import web

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:tidegate:"


class Kind(Enum):
    """The kinds of problem: type, status, title. Types are stable: clients match on them."""

    BAD_REQUEST = "bad-request", 400, "The request cannot be read"
    UNSIGNED = "unsigned", 401, "The request is not signed as it should be"
    UNAUTHORIZED = "unauthorized", 401, "A valid bearer token is needed"
    FORBIDDEN = "forbidden", 403, "The token does not allow this"
    NOT_FOUND = "not-found", 404, "There is nothing here"
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The method is not allowed here"
    TOO_SLOW = "too-slow", 408, "The body did not arrive in time"
    TOO_LARGE = "too-large", 413, "The request is too large"
    UNSUPPORTED = "unsupported", 415, "The content's type or coding is not read here"
    EXPECTATION_FAILED = "expectation-failed", 417, "The expectation cannot be met"
    INVALID_EVENTS = "invalid-events", 422, "Some events are not valid"
    INVALID = "invalid", 422, "The body is not what is expected here"
    BUSY = "busy", 429, "Too much is under way"
    BUG = "bug", 500, "This should not have happened"
    UNAVAILABLE = "unavailable", 503, "This cannot be done now"

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


BY_STATUS: Final = {kind.status: kind for kind in Kind}


class Problem(Exception):
    """Ends a request with an answer that says why.

    Parameters
    ----------
    detail : str
        One sentence about this occurrence. It holds nothing that was sent, except what the client may see.
    headers : mapping
        Of the answer, such as `Retry-After`.
    members : mapping
        Extension members of the body, such as `rejected`.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def response(self, role: str) -> web.Response:
        """The answer. `role`: part of the problem's type."""
        body = {
            "type": f"{_TYPE}{role}:{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            **self.members,
        }
        return web.Response(
            status=self.kind.status, body=orjson.dumps(body), content_type=MEDIA_TYPE, headers=self.headers
        )


def later(kind: Kind, detail: str, after_s: int) -> Problem:
    """A problem that goes away by itself: the same request may be sent again, after so many seconds."""
    return Problem(kind, detail, {"Retry-After": str(after_s)})
