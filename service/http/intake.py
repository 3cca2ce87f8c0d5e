"""What is asked of every request before anything is done with it: who sends it, and a body within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from aiohttp import web

from service.http.body import Damaged, Full, InFlight, TooLong, read
from service.http.keyring import Keyring
from service.http.problem import Kind, Problem, later
from service.settings import HttpSettings

BUSY_RETRY_S: Final = 1


class Intake:
    """Lets requests in, in the order: `who`, `check`, `read`."""

    def __init__(
        self, settings: HttpSettings, keyring: Keyring, media_types: Collection[str], in_flight: InFlight
    ) -> None:
        """`media_types`: of bodies that are read here."""
        self._settings = settings
        self._keyring = keyring
        self._media_types = media_types
        self._told = ", ".join(media_types)
        self._in_flight = in_flight

    def who(self, request: web.Request) -> str:
        """The name of the request's token. Raises Problem."""
        token = self._keyring.admit(request.headers.get("Authorization"))
        if token is None:
            given = "Authorization" in request.headers
            challenge = 'Bearer realm="tidegate"' + (', error="invalid_token"' if given else "")
            raise Problem(
                Kind.UNAUTHORIZED,
                "the token is not known here" if given else "there is no Authorization header",
                {"WWW-Authenticate": challenge},
            )
        return token

    def check(self, request: web.Request) -> bool:
        """Everything that can be said of a body before it is read; whether it is gzip. Raises Problem."""
        if request.content_type not in self._media_types or (request.charset or "utf-8").lower() != "utf-8":
            raise Problem(
                Kind.UNSUPPORTED,
                f"Content-Type must be one of {self._told}, in UTF-8",
                {"Accept-Post": self._told},
            )
        coding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise Problem(
                Kind.UNSUPPORTED, "Content-Encoding must be gzip or absent", {"Accept-Encoding": "gzip"}
            )
        length, limit = request.content_length or 0, self._settings.max_body_bytes
        if length > limit:
            raise Problem(Kind.TOO_LARGE, f"{length} bytes, at most {limit} are read")
        if not self._in_flight.has_room(length):
            raise later(Kind.BUSY, "too many bytes are in flight", BUSY_RETRY_S)
        return coding == "gzip"

    async def read(self, request: web.Request, *, gzip: bool, take: Callable[[int], None]) -> bytes:
        """The whole body, unpacked. `take` claims room for it, see `InFlight.claim`. Raises Problem."""
        limit = self._settings.max_body_bytes
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                return await read(request.content, request.content_length, gzip=gzip, limit=limit, take=take)
        except TooLong as error:
            raise Problem(Kind.TOO_LARGE, str(error)) from None
        except (Damaged, web.RequestPayloadError) as error:
            raise Problem(Kind.BAD_REQUEST, str(error) or "the body is cut off") from None
        except Full as error:
            raise later(Kind.BUSY, str(error), BUSY_RETRY_S) from None
        except TimeoutError:
            raise Problem(Kind.TOO_SLOW, f"not here after {self._settings.body_timeout_s:g} s") from None
