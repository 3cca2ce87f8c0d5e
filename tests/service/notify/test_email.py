"""Mails: what is in them, how they get to a server, and what its answers mean."""

from __future__ import annotations

import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.demo import smtp
from service.demo.smtp import LocalSmtp
from service.errors import SettingsError
from service.notify.email.render import MAX_BYTES, render
from service.notify.email.send import Email, Server, context, judge
from service.notify.notification import Notification
from service.notify.receiver import Delivered, Failure, Final, Result, Retry
from tests.service.notify.support import alert, alerts, largest, resolved, told
from tests.service.notify.test_rendering import CASES, golden

SENDER, TO = "tidegate@example.com", ["care@example.com", "finops@example.com"]
several = st.lists(alerts.filter(lambda one: one.status != "pending"), min_size=1, max_size=4).map(
    lambda found: told(*found)
)


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    content = body.get_content()
    assert isinstance(content, str)
    return content


def mail(said: Notification) -> EmailMessage:
    """As it arrives."""
    content = bytes(render(said, SENDER, TO))
    assert smtp.complaints(content) == []
    assert len(content) <= MAX_BYTES
    assert max(map(len, content.split(b"\r\n"))) <= 998
    return message_from_bytes(content, policy=SMTP)


@pytest.mark.parametrize("name", CASES)
def test_mails_are_as_agreed(name: str) -> None:
    found = mail(CASES[name])
    headers = {key: str(value) for key, value in found.items() if not key.startswith(("Content", "MIME"))}
    golden(f"email-{name}", {"headers": headers, "plain": part(found, "plain"), "html": part(found, "html")})


@settings(max_examples=30, deadline=None)
@given(several)
def test_no_alert_breaks_a_mail_or_writes_a_header(said: Notification) -> None:
    assert set(mail(said).keys()) == set(mail(told(*(line.alert for line in said.news))).keys())


@pytest.mark.parametrize("character", ["&", "<", "😀", '"', "é", "W", "\u202e", "\u00a0", "."])
def test_mails_of_nothing_but_long_characters_fit(character: str) -> None:
    mail(told(largest(character)))
    mail(told(*(largest(character) for _ in range(200))))


def test_a_line_break_in_a_name_is_no_header() -> None:
    found = mail(told(alert(workflow="a\r\nBcc: everybody@example.com\r\n\r\nhello", summary="x\nBcc: y")))
    assert "Bcc" not in found
    assert "a Bcc: everybody@example.com hello" in str(found["Subject"])


def test_names_are_no_markup() -> None:
    html = part(mail(told(alert(workflow='<script src="//x">', summary="<b>&"))), "html")
    assert "<script" not in html
    assert "&lt;b&gt;&amp;" in html


def test_mails_of_an_incident_are_a_thread_and_a_repeated_one_is_the_same() -> None:
    first, second = mail(told(alert())), mail(told(resolved(), sequence=2))
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert mail(told(alert(cost_nanos=7), sequence=2))["Message-ID"] == second["Message-ID"]
    assert mail(told(alert(), incident="another"))["Message-ID"] != first["Message-ID"]
    assert mail(told(alert(), receiver="another"))["Message-ID"] != first["Message-ID"]


# --- to a server ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, certificate


@pytest.fixture
def plain() -> Iterator[LocalSmtp]:
    with LocalSmtp() as server:
        yield server
        assert server.violations == []


async def send(server: LocalSmtp, said: Notification | None = None, **changed: Any) -> Result:
    to = changed.pop("to", TO)
    timeout_s = changed.pop("timeout_s", 5.0)
    where = replace(Server("127.0.0.1", server.port, "none", None), **changed)
    return await Email(where, SENDER, to, timeout_s=timeout_s).send(said or told(alert()))


async def test_one_mail_goes_to_all(plain: LocalSmtp) -> None:
    assert await send(plain) == Delivered()
    [found] = plain.mails
    assert (found.sender, found.to, found.tls) == (SENDER, tuple(TO), False)
    assert str(found.message["To"]) == "care@example.com, finops@example.com"
    assert "$212/h" in part(found.message, "plain")


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_password_goes_over_tls_only(certificate: tuple[ssl.SSLContext, Path], security: Any) -> None:
    tls, trusted = certificate
    with LocalSmtp(tls=tls, from_the_start=security == "tls", user=("ada", "s3cret")) as server:
        told_how = {"security": security, "context": context(security, trusted), "username": "ada"}
        assert await send(server, **told_how, password="s3cret") == Delivered()
        wrong = await send(server, **told_how, password="guess")
        assert isinstance(wrong, Final)
        assert wrong.detail == "535 5.7.8 wrong name or password"
        [found] = server.mails
        assert (found.tls, found.user) == (True, "ada")
        assert server.violations == []


async def test_a_certificate_that_nobody_vouches_for_is_final(
    certificate: tuple[ssl.SSLContext, Path],
) -> None:
    with LocalSmtp(tls=certificate[0]) as server:
        result = await send(server, security="starttls", context=context("starttls", None))
        assert isinstance(result, Final)
        assert result.detail.startswith("certificate: self")
        assert server.mails == []


async def test_a_server_that_drops_starttls_gets_no_mail(plain: LocalSmtp) -> None:
    # What stands between could take the offer out: then nothing is said in the clear.
    result = await send(plain, security="starttls", context=context("starttls", None))
    assert isinstance(result, Final)
    assert plain.mails == []


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        ("greeting", "421 too busy", (Retry, "421 too busy")),
        ("greeting", "554 go away", (Final, "554 go away")),
        ("mail", "452 full", (Retry, "452 full")),
        ("data", "451 later", (Retry, "451 later")),
        ("end", "550 spam", (Final, "550 spam")),
        ("end", "451 greylisted", (Retry, "451 greylisted")),
        ("end", "", (Retry, "SMTPServerDisconnected")),
    ],
)
async def test_4xx_passes_and_5xx_stays(
    plain: LocalSmtp, stage: Any, reply: str, expected: tuple[type, str]
) -> None:
    plain.fail([(stage, reply)])
    result = await send(plain)
    assert isinstance(result, (Retry, Final))
    assert (type(result), result.detail) == expected
    assert await send(plain) == Delivered()
    assert len(plain.mails) == 1


async def test_one_bad_address_does_not_keep_the_others_from_hearing(
    plain: LocalSmtp, caplog: pytest.LogCaptureFixture
) -> None:
    plain.fail([("rcpt", "550 nobody of that name")])
    assert await send(plain) == Delivered()
    assert plain.mails[0].to == (TO[1],)
    assert "nobody of that name" in caplog.text


@pytest.mark.parametrize(("code", "kind"), [(550, Final), (450, Retry)])
async def test_when_nobody_is_left_it_is_no_delivery(plain: LocalSmtp, code: int, kind: type) -> None:
    plain.fail([("rcpt", f"{code} no"), ("rcpt", "550 no")])
    assert isinstance(await send(plain), kind)


async def test_no_server_is_tried_again() -> None:
    with LocalSmtp() as gone:
        pass
    assert await send(gone) == Retry(Failure.UNREACHABLE, "ConnectionRefusedError")


def test_what_is_no_answer_passes() -> None:
    assert isinstance(judge(TimeoutError()), Retry)
    assert isinstance(judge(smtplib.SMTPServerDisconnected("gone")), Retry)


def test_an_authority_s_file_that_is_none_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ca_file"):
        context("tls", tmp_path / "none.pem")
