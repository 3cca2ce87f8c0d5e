"""One POST, and what its answer means as far as all vendors agree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final as Constant

import httpx

from service.notify.receiver import Failure, Final, Retry
from service.notify.text import clean, fit

MAX_ANSWER_BYTES: Constant = 4_096
"""What is read of an answer: enough for any vendor's error, too little to be hurt by."""
MAX_RETRY_AFTER_S: Constant = 3_600.0
"""A receiver that asks for more is asked again after this."""
_RETRYABLE: Constant = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer.

    Attributes
    ----------
    text : str
        One line, cut short, free of secrets: for people.
    body : bytes
        As it came, up to the limit: for programs.
    """

    status: int
    text: str
    retry_after_s: float | None
    body: bytes = field(default=b"", repr=False)


def client() -> httpx.AsyncClient:
    """The client that all receivers share. Honours HTTPS_PROXY and NO_PROXY; follows no redirects.

    httpx logs every URL at INFO, and a webhook's URL is its password: both its loggers are raised to WARNING.
    """
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx.AsyncClient(headers={"User-Agent": f"tidegate/{version('tidegate')}"})


async def post(
    client: httpx.AsyncClient,
    url: str,
    *,
    content: bytes,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    now: datetime,
    secrets: Iterable[str] = (),
    limit: int = MAX_ANSWER_BYTES,
) -> Answer | Retry:
    """POST JSON, once, in at most `timeout_s` from first to last byte. A failure to get an answer is a Retry.

    Of the answer `limit` bytes are read at most.
    Neither the URL nor an exception's own text (which may hold it) reaches the result.
    """
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream("POST", url, content=content, headers=sent, timeout=timeout_s) as response,
        ):
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= limit:
                    break
    except (TimeoutError, httpx.TimeoutException):
        return Retry(Failure.TIMEOUT, f"no answer within {timeout_s:g} s")
    except httpx.HTTPError as error:
        return Retry(Failure.UNREACHABLE, type(error).__name__)
    text = clean(body[:MAX_ANSWER_BYTES].decode("utf-8", "replace"))
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    waits = retry_after(response.headers.get("Retry-After"), now)
    return Answer(response.status_code, fit(text, 300), waits, body)


def refusal(answer: Answer) -> Retry | Final | None:
    """What a status other than 2xx means everywhere: 408, 425, 429 and 5xx pass, anything else stays."""
    if 200 <= answer.status < 300:
        return None
    detail = f"{answer.status} {answer.text}".strip()
    if answer.status == 429:
        return Retry(Failure.RATE_LIMITED, detail, answer.retry_after_s)
    if answer.status in _RETRYABLE or answer.status >= 500:
        return Retry(Failure.SERVER_ERROR, detail, answer.retry_after_s)
    return Final(Failure.REJECTED, detail)


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, 10.2.3); None if absent or unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        if until.tzinfo is None:
            return None
        seconds = (until - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
