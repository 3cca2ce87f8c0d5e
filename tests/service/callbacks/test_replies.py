"""Words to who pressed a button, and the secrets that the role starts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from service.callbacks.app import load
from service.callbacks.replies import Replies
from service.errors import SettingsError
from service.settings import CallbacksSettings

HOOKS = "https://hooks.slack.com/"


async def told(url: str, text: str, answer: int | Exception = 200) -> list[httpx.Request]:
    sent: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    async with httpx.AsyncClient(transport=httpx.MockTransport(take)) as client:
        await Replies(client, HOOKS).tell(url, text)
    return sent


async def test_only_the_person_sees_it_and_it_mentions_nobody() -> None:
    [request] = await told(HOOKS + "actions/T1/2/secret", "silence for <!channel> & co")
    assert orjson.loads(request.content) == {
        "response_type": "ephemeral",
        "replace_original": False,
        "text": "silence for &lt;!channel&gt; &amp; co",
    }


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://hooks.slack.com.evil.example/x", ""])
async def test_nothing_is_posted_elsewhere(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await told(url, "x") == []
    assert "elsewhere" in caplog.text


@pytest.mark.parametrize(
    "answer", [500, 404, httpx.ConnectError("no route to https://hooks.slack.com/actions/secret")]
)
async def test_a_failure_is_in_the_log_without_the_address(
    answer: int | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    await told(HOOKS + "actions/secret", "x", answer)
    assert "secret" not in caplog.text


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    settings = CallbacksSettings.model_validate({"slack": {"app": {"signing_secret_file": str(file)}}})
    assert load(settings) == {"slack": {"app": b"0123456789abcdef"}, "pagerduty": {}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give the secret of at least one"),
        ({"slack": {"app": {"signing_secret": "short"}}}, "callbacks.slack.app.signing_secret: has at least"),
        (
            {"pagerduty": {"a": {"signing_secret_file": "/nowhere"}}},
            "callbacks.pagerduty.a.signing_secret_file",
        ),
    ],
)
def test_without_a_usable_secret_it_does_not_start(given: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(CallbacksSettings.model_validate(given))


@pytest.mark.parametrize(
    "given",
    [
        {"tokens": {"a": {"token": "x" * 20}}},
        {"allow_anonymous": True},
        {"slack": {"app": {}}},
        {"slack_users": ["ada"]},
        {"answer_within_s": 3.0},
        {"slack_hooks": "hooks.slack.com"},
    ],
)
def test_settings_that_make_no_sense_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CallbacksSettings.model_validate(given)
