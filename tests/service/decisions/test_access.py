"""Who may ask for what, and what is answered to requests that are none."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from service.errors import SettingsError
from service.http.keyring import Keyring
from service.settings import DecisionsSettings, Settings
from service.settings_sources import load
from tests.service.decisions.support import ASKS, READS, TOKEN, open_api, settings

CALLS = {"calls": [{"model": "m"}]}


@pytest.mark.parametrize(
    ("token", "decide", "settle", "snapshot"),
    [(TOKEN, 200, 200, 200), (ASKS, 200, 403, 403), (READS, 403, 403, 200), ("guessed-by-nobody", 401, 401, 401),
     (None, 401, 401, 401)],
)  # fmt: skip
async def test_a_token_opens_what_its_scopes_say(
    token: str | None, decide: int, settle: int, snapshot: int
) -> None:
    async with open_api() as here:
        here.client.headers.pop("authorization")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        answers = [
            await here.client.post("/v1/decisions", json=CALLS, headers=headers),
            await here.client.post(
                "/v1/settlements", json={"settlements": [{"ticket": "t"}]}, headers=headers
            ),
            await here.client.get("/v1/snapshot", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [decide, settle, snapshot]
        for answer in answers:
            if answer.status_code == 403:
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
                assert answer.json()["type"] == "urn:tidegate:decisions:forbidden"
        assert (await here.client.get("/v1/openapi.json")).status_code == 200


@pytest.mark.parametrize(
    ("content", "content_type", "status", "kind"),
    [
        (b"", "application/json", 400, "bad-request"),
        (b"{", "application/json", 400, "bad-request"),
        (b"\xff", "application/json", 400, "bad-request"),
        (b"[]", "application/json", 422, "invalid"),
        (b'{"calls":[]}', "application/json", 422, "invalid"),
        (b"x" * 2_001, "application/json", 413, "too-large"),
        (b"{}", "text/plain", 415, "unsupported"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported"),
    ],
)
async def test_each_fault_has_its_problem(content: bytes, content_type: str, status: int, kind: str) -> None:
    name, labels = "tidegate_decisions_requests_total", {"status": str(status)}
    before = REGISTRY.get_sample_value(name, labels) or 0
    async with open_api(max_body_bytes=2_000) as here:
        answer = await here.client.post(
            "/v1/decisions", content=content, headers={"content-type": content_type}
        )
        assert answer.status_code == answer.json()["status"] == status
        assert answer.json()["type"] == f"urn:tidegate:decisions:{kind}"
        assert answer.headers["content-type"] == "application/problem+json"
    assert REGISTRY.get_sample_value(name, labels) == before + 1


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [("GET", "/v1/decisions", 405, "POST"), ("POST", "/v1/snapshot", 405, "GET,HEAD"), ("GET", "/", 404, None),
     ("POST", "/v1/events", 404, None), ("POST", "/v1/decisions?x=1", 400, None)],
)  # fmt: skip
async def test_there_is_nothing_else(method: str, path: str, status: int, allow: str | None) -> None:
    async with open_api() as here:
        answer = await here.client.request(method, path)
        assert answer.status_code == status
        assert answer.headers.get("allow") in (allow, "GET" if allow else None)


def test_scopes_come_from_a_file_or_a_variable_and_default_to_what_a_gateway_needs() -> None:
    variables = {
        "TIDEGATE_DECISIONS__TOKENS__A__TOKEN": TOKEN,
        "TIDEGATE_DECISIONS__TOKENS__B__TOKEN": ASKS,
        "TIDEGATE_DECISIONS__TOKENS__B__SCOPES": "snapshot decide",
    }
    loaded = load(None, variables)
    assert not loaded.ignored
    tokens = loaded.settings.decisions.tokens
    assert tokens["a"].scopes == {"decide", "settle"}
    assert tokens["b"].scopes == {"decide", "snapshot"}
    assert TOKEN not in str(loaded.settings.masked()) + repr(loaded.settings)


@pytest.mark.parametrize("scopes", ["", [], "decide everything"])
def test_a_scope_that_is_none_is_refused(scopes: object) -> None:
    with pytest.raises(ValidationError):
        settings(tokens={"a": {"token": TOKEN, "scopes": scopes}})


def test_an_api_for_nobody_does_not_start() -> None:
    assert not DecisionsSettings().configured
    with pytest.raises(SettingsError, match=r"decisions\.tokens: none is given"):
        Keyring.load(DecisionsSettings(), "decisions")


async def test_on_loopback_everybody_may_be_let_in() -> None:
    async with open_api(tokens={}, allow_anonymous=True) as here:
        here.client.headers.pop("authorization")
        assert (await here.client.get("/v1/snapshot")).status_code == 200


def test_waiting_leaves_connections_for_decisions() -> None:
    with pytest.raises(ValidationError, match="max_waiting must be below"):
        Settings.model_validate({"decisions": {"max_waiting": 500}})
