"""The role: what it says of itself, and what it does without a broker."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.commands import roles
from service.decisions.app import connect, policy, run
from service.kafka.embedded.broker import free_port
from service.settings import ROLES, DecisionsSettings, KafkaSettings, Settings
from tests.service.decisions.support import TOKEN
from tests.support.patience import PATIENCE_S


async def answer(client: httpx.AsyncClient, method: str, url: str, **more: Any) -> httpx.Response:
    """As soon as somebody listens."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await client.request(method, url, **more)
            except httpx.ConnectError:
                await asyncio.sleep(0.02)


async def test_without_a_broker_it_opens_after_a_while_and_answers_as_it_is_set_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    port, health, stop = free_port(), free_port(), asyncio.Event()
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
            "decisions": {
                "port": port,
                "tokens": {"gw": {"token": TOKEN}},
                "on_stale": "closed",
                "stale_after_s": 0.5,
            },
            "health": {"port": health},
        }
    )
    role = asyncio.create_task(run(settings, stop=stop))
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        before = await answer(client, "GET", f"http://127.0.0.1:{health}/readyz")
        assert before.status_code == 503
        assert before.json()["conditions"]["limits"]["why"] == "not read yet"
        decided = await answer(
            client,
            "POST",
            f"http://127.0.0.1:{port}/v1/decisions",
            json={"calls": [{"model": "m"}]},
            headers={"authorization": f"Bearer {TOKEN}"},
        )
        (decision,) = decided.json()["decisions"]
        assert decision["rejection"]["code"] == "limits_unknown"
        assert (await client.get(f"http://127.0.0.1:{health}/readyz")).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{health}/healthz")).status_code == 200
        assert (
            "tidegate_decisions_calls_total" in (await client.get(f"http://127.0.0.1:{health}/metrics")).text
        )
    stop.set()
    await asyncio.wait_for(role, PATIENCE_S)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the roles that `up` would run."""
    names: list[str] = []

    async def note(commands: Mapping[str, Any], stop: asyncio.Event) -> None:
        names.extend(commands)

    monkeypatch.setattr(roles, "supervise", note)
    return names


@pytest.mark.parametrize(
    ("environment", "more"),
    [
        ({}, []),
        ({"TIDEGATE_DECISIONS__TOKENS__GW__TOKEN": TOKEN}, ["decisions"]),
        (
            {"TIDEGATE_DECISIONS__ALLOW_ANONYMOUS": "1", "TIDEGATE_DOOR__ALLOW_ANONYMOUS": "1"},
            ["door", "decisions"],
        ),
    ],
)
def test_up_runs_it_when_somebody_may_ask(
    environment: dict[str, str], more: list[str], started: list[str]
) -> None:
    result = CliRunner().invoke(app, ["up"], env=environment)
    assert result.exit_code == 0, result.output
    assert started == [*ROLES, *more]


def test_for_nobody_it_is_a_settings_error(capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(app, ["decisions"])
    assert result.exit_code == 2
    assert "decisions.tokens: none is given" in capfd.readouterr().err + result.output


def test_what_is_set_reaches_the_gate() -> None:
    given = {
        "on_stale": "closed",
        "stale_after_s": 7,
        "processes": 3,
        "max_delay_s": 2,
        "reservation_s": 60,
        "exempt_workflows": ["pager"],
    }
    made = policy(DecisionsSettings.model_validate(given))
    assert {name: getattr(made, name) for name in given} == {**given, "exempt_workflows": {"pager"}}


def test_the_gateway_library_reaches_the_broker_as_other_roles_do() -> None:
    kafka = KafkaSettings.model_validate(
        {
            "bootstrap_servers": "kafka:9093",
            "topic_prefix": "t.",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "decisions",
            "sasl_password": "secret",
        }
    )
    connection = connect(kafka)
    assert (connection.bootstrap_servers, connection.topic_prefix) == ("kafka:9093", "t.")
    assert (connection.security_protocol, connection.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (connection.sasl_username, connection.sasl_password) == ("decisions", "secret")
    assert isinstance(connection.ssl_context, ssl.SSLContext)
