"""Log lines: readable by people or machines, and never with a secret in them."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from service.runtime import logs
from service.settings import KafkaSettings, LogSettings


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_json_lines_carry_what_was_given(stream: io.StringIO) -> None:
    logs.configure(LogSettings(format="json"), stream)
    logging.getLogger("service.x").warning("lane %d fenced", 3, extra={"partition": 3})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"], line["message"], line["partition"]) == (
        "WARNING",
        "service.x",
        "lane 3 fenced",
        3,
    )


def test_text_is_one_line_and_a_traceback_when_there_is_one(stream: io.StringIO) -> None:
    logs.configure(LogSettings(), stream)
    log = logging.getLogger("service.x")
    log.info("started", extra={"port": 9101})
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("stopped")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("INFO    service.x: started port=9101")
    assert rest[-1] == "ValueError: boom"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_that_was_read_is_masked_everywhere(stream: io.StringIO, form: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct-horse\n")
    kafka = KafkaSettings(
        security_protocol="SASL_PLAINTEXT", sasl_username="tidegate", sasl_password_file=file
    )
    assert kafka.security()["sasl_plain_password"] == "correct-horse"
    logs.configure(LogSettings.model_validate({"format": form}), stream)
    log = logging.getLogger("service.x")
    log.info("password is %s", "correct-horse", extra={"url": "https://u:correct-horse@x"})
    try:
        raise ValueError("correct-horse is wrong")
    except ValueError:
        log.exception("refused")
    assert "correct-horse" not in stream.getvalue()
    assert logs.MASK in stream.getvalue()


def test_httpx_never_logs_an_address(stream: io.StringIO) -> None:
    logs.configure(LogSettings(level="DEBUG"), stream)
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.slack.com/services/T/B/x")
    assert stream.getvalue() == ""
