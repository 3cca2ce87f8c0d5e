"""An SMTP server on this machine that holds clients to the protocol, and fails when told to.

A thread for each connection. Source: RFC 5321 (commands, replies, line lengths), 3207 (STARTTLS), 4954 (AUTH PLAIN
and LOGIN: refused without TLS).
"""

from __future__ import annotations

import base64
import binascii
import re
import socketserver
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from types import TracebackType
from typing import Final, Literal, Self

_MAX_COMMAND: Final = 512
_MAX_TEXT: Final = 1_000
"""Bytes of a line of a message, its CRLF included."""
_PATH: Final = re.compile(r"<([^<>\s]+@[^<>\s]+)>( .*)?", re.ASCII)

Stage = Literal["greeting", "mail", "rcpt", "data", "end"]
"""Where a scripted reply is given: to the connection, MAIL, RCPT, DATA, or the message."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A message that was taken.

    Attributes
    ----------
    tls, user
        Whether it came encrypted, and who had logged in.
    """

    sender: str
    to: tuple[str, ...]
    message: EmailMessage
    tls: bool
    user: str | None


class LocalSmtp:
    """One server on a free port of loopback. Use as a context manager.

    Attributes
    ----------
    mails : list of Mail
        Every message that was taken, in order.
    violations : list of str
        Every breach of the protocol. Must be empty in the end.
    refused : int
        Replies that were given as scripted.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        from_the_start: bool = False,
        user: tuple[str, str] | None = None,
    ) -> None:
        """`tls`: offered with STARTTLS, or `from_the_start`. `user`: name and password that are asked for."""
        self.mails: list[Mail] = []
        self.violations: list[str] = []
        self.tls = tls
        self.from_the_start = from_the_start
        self.user = user
        self.refused = 0
        self._script: deque[tuple[Stage, str]] = deque()
        self._always: tuple[Stage, str, Callable[[], bool]] | None = None
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def fail(self, replies: Iterable[tuple[Stage, str]]) -> None:
        """Answer so, one reply each, when its stage is reached; an empty reply hangs up."""
        with self._lock:
            self._script.extend(replies)

    def fail_while(self, stage: Stage, reply: str, holds: Callable[[], bool]) -> None:
        """Answer so whenever its stage is reached, as long as `holds()`."""
        with self._lock:
            self._always = stage, reply, holds

    def scripted(self, stage: Stage) -> str | None:
        with self._lock:
            reply = None
            if self._script and self._script[0][0] == stage:
                reply = self._script.popleft()[1]
            elif self._always is not None and self._always[0] == stage and self._always[2]():
                reply = self._always[1]
            self.refused += reply is not None
        return reply

    def complain(self, what: str) -> None:
        with self._lock:
            self.violations.append(what)

    def take(self, mail: Mail) -> None:
        with self._lock:
            self.mails.append(mail)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, smtp: LocalSmtp) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.smtp = smtp

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up or does not like our certificate is what some tests are about."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 20

    def setup(self) -> None:
        smtp = self.server.smtp
        if smtp.tls is not None and smtp.from_the_start:
            self.request = smtp.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self._smtp = smtp
        self._tls = smtp.from_the_start
        self._reset()
        self._greeted = False
        self._name: str | None = None

    def finish(self) -> None:
        super().finish()
        # The server closes the socket that it accepted, which TLS has wrapped since.
        self.request.close()

    def _reset(self) -> None:
        self._sender: str | None = None
        self._to: list[str] = []

    def handle(self) -> None:
        if not self._say(self._smtp.scripted("greeting") or "220 local ESMTP"):
            return
        while (line := self._line(_MAX_COMMAND)) is not None:
            verb, _, rest = line.decode("ascii", "replace").partition(" ")
            reply = self._command(verb.upper(), rest)
            if not self._say(reply) or verb.upper() == "QUIT" or reply.startswith("421"):
                return
            if reply.startswith("220 go"):
                self._encrypt()

    def _line(self, limit: int) -> bytes | None:
        line = self.rfile.readline(65_536)
        if not line:
            return None
        if not line.endswith(b"\r\n"):
            self._smtp.complain("a line does not end with CRLF")
        if len(line) > limit:
            self._smtp.complain(f"a line of {len(line)} bytes, at most {limit}")
        return line.rstrip(b"\r\n")

    def _say(self, reply: str) -> bool:
        """False: hang up."""
        if reply:
            self.wfile.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        return bool(reply)

    def _bad(self, reply: str) -> str:
        self._smtp.complain(reply)
        return reply

    def _command(self, verb: str, rest: str) -> str:
        match verb:
            case "EHLO" | "HELO":
                self._greeted = True
                self._reset()
                return self._hello() if verb == "EHLO" else "250 local"
            case "QUIT":
                return "221 bye"
            case "NOOP" | "RSET":
                self._reset()
                return "250 ok"
            case "STARTTLS":
                usable = self._smtp.tls is not None and not self._tls
                return "220 go ahead" if usable else self._bad("503 no TLS here")
        if not self._greeted:
            return self._bad(f"503 {verb} before EHLO")
        match verb:
            case "AUTH":
                return self._auth(rest)
            case "MAIL":
                return self._mail(rest)
            case "RCPT":
                return self._rcpt(rest)
            case "DATA":
                return self._data()
            case _:
                return self._bad(f"500 {verb[:20]!r} is not known")

    def _hello(self) -> str:
        offers = ["SIZE 1000000", "8BITMIME"]
        if self._smtp.tls is not None and not self._tls:
            offers.append("STARTTLS")
        elif self._smtp.user is not None:
            offers.append("AUTH PLAIN LOGIN")
        return "\n".join(["250-local", *(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}"])

    def _encrypt(self) -> None:
        assert self._smtp.tls is not None
        self.request = self._smtp.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        # What was said in the clear does not count (RFC 3207, 4.2).
        self._tls, self._greeted = True, False
        self._reset()

    def _auth(self, rest: str) -> str:
        if not self._tls:
            return self._bad("538 a password in the clear")
        method, _, first = rest.partition(" ")
        try:
            if method.upper() == "PLAIN":
                _, name, password = base64.b64decode(first or self._asked("")).decode().split("\0")
            elif method.upper() == "LOGIN":
                name = base64.b64decode(first or self._asked("VXNlcm5hbWU6")).decode()
                password = base64.b64decode(self._asked("UGFzc3dvcmQ6")).decode()
            else:
                return self._bad("504 not offered")
        except (binascii.Error, ValueError):
            return self._bad("501 not base64")
        if (name, password) != self._smtp.user:
            return "535 5.7.8 wrong name or password"
        self._name = name
        return "235 welcome"

    def _asked(self, prompt: str) -> bytes:
        self._say(f"334 {prompt}")
        return self._line(12_288) or b""

    def _mail(self, rest: str) -> str:
        if self._smtp.user is not None and self._name is None:
            return "530 5.7.0 log in first"
        found = _PATH.fullmatch(rest[5:].strip()) if rest.upper().startswith("FROM:") else None
        if found is None or self._sender is not None:
            return self._bad(f"501 MAIL {rest[:80]}")
        self._sender = found[1]
        return self._smtp.scripted("mail") or "250 ok"

    def _rcpt(self, rest: str) -> str:
        found = _PATH.fullmatch(rest[3:].strip()) if rest.upper().startswith("TO:") else None
        if found is None or self._sender is None:
            return self._bad(f"503 RCPT {rest[:80]}")
        if (reply := self._smtp.scripted("rcpt")) is not None:
            return reply
        self._to.append(found[1])
        return "250 ok"

    def _data(self) -> str:
        if self._sender is None or not self._to:
            return self._bad("503 DATA without MAIL and RCPT")
        if (reply := self._smtp.scripted("data")) is not None:
            return reply
        self._say("354 go on")
        lines: list[bytes] = []
        while (line := self._line(_MAX_TEXT)) != b".":
            if line is None:
                return ""
            lines.append(line[1:] if line.startswith(b".") else line)
        content = b"\r\n".join(lines) + b"\r\n"
        if (reply := self._smtp.scripted("end")) is not None:
            return reply
        for complaint in complaints(content):
            self._smtp.complain(complaint)
        message = message_from_bytes(content, policy=SMTP)
        self._smtp.take(Mail(self._sender, tuple(self._to), message, self._tls, self._name))
        self._reset()
        return "250 taken"


def complaints(content: bytes) -> list[str]:
    """Everything wrong with a message (RFC 5322, 3.6: which headers there must be, and how often)."""
    message = message_from_bytes(content, policy=SMTP)
    wrong = [f"{type(defect).__name__} in the message" for defect in message.defects]
    head = content.partition(b"\r\n\r\n")[0]
    if not head.isascii():
        wrong.append("a header is not ASCII")
    for name in ("From", "To", "Date", "Subject", "Message-ID"):
        if len(message.get_all(name, [])) != 1:
            wrong.append(f"expected {name} once")
    for name in ("Cc", "Bcc", "Sender", "Reply-To"):
        if name in message:
            wrong.append(f"{name}: nobody wrote that")
    if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", str(message.get("Message-ID", ""))):
        wrong.append("Message-ID is none")
    return wrong
