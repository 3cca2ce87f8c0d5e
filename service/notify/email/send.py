"""Delivery to one list of addresses by one SMTP server."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final as Constant
from typing import Literal

from service.errors import SettingsError
from service.notify.email.render import render
from service.notify.notification import NEWS, Notification
from service.notify.receiver import Delivered, Failure, Final, Result, Retry
from service.notify.text import clean, fit

MAX_DETAIL: Constant = 300
_GRACE: Constant = 2.0
"""One timeout for each answer of the server, and this many of them for all: a slow drip must end, too."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail goes, and how. `context`: None for no TLS at all."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    context: ssl.SSLContext | None
    username: str | None = None
    password: str | None = None


class Email:
    """One mail for each notification, to all addresses at once."""

    vendor = "email"
    interval_s = 0.0
    concurrency = 1
    wants = NEWS

    def __init__(self, server: Server, sender: str, to: Sequence[str], *, timeout_s: float) -> None:
        self._server = server
        self._sender = sender
        self._to = list(to)
        self._timeout_s = timeout_s

    async def send(self, notification: Notification) -> Result:
        message = render(notification, self._sender, self._to)
        try:
            # smtplib blocks: in a thread, which ends by its own timeouts even when nobody waits for it any more.
            async with asyncio.timeout(_GRACE * self._timeout_s):
                refused = await asyncio.to_thread(self._deliver, message)
        except (TimeoutError, OSError, smtplib.SMTPException) as error:
            return judge(error, self._hide)
        for code, text in refused.values():
            # The others have it, and to send it again would tell them twice.
            _LOG.warning("a mail to %d: one address was refused: %d %s", len(self._to), code, _text(text))
        return Delivered()

    def _deliver(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """The addresses that the server would not have, if it had any. Raises OSError, SMTPException."""
        smtp = self._connect()
        try:
            if self._server.security == "starttls":
                smtp.starttls(context=self._server.context)
            if self._server.username is not None:
                smtp.login(self._server.username, self._server.password or "")
            refused = smtp.send_message(message, from_addr=self._sender, to_addrs=self._to)
            # The server has it: what it says to a goodbye must not make it a failure, and be sent again.
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            return refused
        finally:
            smtp.close()

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout_s, context=server.context)
        return smtplib.SMTP(server.host, server.port, timeout=self._timeout_s)

    def _hide(self, text: str) -> str:
        return text.replace(self._server.password, "***") if self._server.password else text


def context(security: Literal["starttls", "tls", "none"], ca_file: Path | None) -> ssl.SSLContext | None:
    """What checks the server's certificate and name. Raises SettingsError: the file cannot be read."""
    if security == "none":
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"ca_file: {error.strerror or error}") from None


def judge(error: Exception, hide: Callable[[str], str] = str) -> Result:
    """What an error means: 4xx passes, 5xx stays (RFC 5321, 4.2.1), and what is no answer at all passes.

    A certificate that does not check is final: trying again mends nothing, and somebody has to know.
    """
    match error:
        case TimeoutError():
            return Retry(Failure.TIMEOUT, "no answer in time")
        case ssl.SSLCertVerificationError():
            return Final(Failure.REJECTED, f"certificate: {clean(error.verify_message)}")
        case smtplib.SMTPRecipientsRefused():
            answers = list(error.recipients.values())
            detail = _told("; ".join(f"{code} {_text(text)}" for code, text in answers), hide)
            if all(code >= 500 for code, _ in answers):
                return Final(Failure.REJECTED, detail)
            return Retry(Failure.SERVER_ERROR, detail)
        case smtplib.SMTPResponseException():
            detail = _told(f"{error.smtp_code} {_text(error.smtp_error)}", hide)
            if error.smtp_code >= 500:
                return Final(Failure.REJECTED, detail)
            # 421 in the greeting, 450 to 452 later: too busy, greylisted, too many messages.
            return Retry(Failure.SERVER_ERROR, detail)
        case smtplib.SMTPNotSupportedError():
            return Final(Failure.REJECTED, _told(str(error), hide))
        case _:
            return Retry(Failure.UNREACHABLE, type(error).__name__)


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _told(text: str, hide: Callable[[str], str]) -> str:
    return fit(hide(clean(text)), MAX_DETAIL)
