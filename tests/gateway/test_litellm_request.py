"""What is taken from LiteLLM's requests and payloads, and that ingest reads the same of what is published."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway.decision import Decision
from gateway.litellm_request import Spent, apply, call_of, record, spent
from service.ingest.adapters.litellm import from_litellm
from tests.service.ingest.adapters.golden_files import GOLDEN, Golden

PAYLOADS = [golden for golden in GOLDEN if golden.format == "litellm" and golden.events is not None]
KEY = SimpleNamespace(
    key_alias="checkout", api_key="88dc28d0", team_alias=None,
    team_id="t-1", end_user_id="acme",
)  # fmt: skip


def request(**fields: Any) -> dict[str, Any]:
    return {
        "model": "gpt-4o",
        "litellm_call_id": "c-1",
        "metadata": {
            "requester_metadata": {"workflow": "support", "feature": "triage"},
            "trace_id": "run-1",
            "tags": ["workflow:by-tag", "environment:production", 3],
        },
        **fields,
    }


@pytest.mark.parametrize("golden", PAYLOADS, ids=lambda golden: str(golden.name))
def test_ingest_reads_of_what_is_published_what_it_reads_of_the_whole_payload(golden: Golden) -> None:
    payload = golden.record | {"messages": [{"content": "SECRET"}], "response": "SECRET"}
    payload.setdefault("metadata", {})["requester_ip_address"] = "SECRET"
    kept = record(payload)
    assert b"SECRET" not in kept.value
    assert from_litellm(orjson.loads(kept.value)) == from_litellm(deepcopy(golden.record))


def test_a_call_has_the_names_that_its_event_will_have() -> None:
    call = call_of(request(max_tokens=500, max_completion_tokens=300), KEY)
    assert (call.model, call.workflow, call.feature, call.environment) == (
        "gpt-4o", "support", "triage", "production",
    )  # fmt: skip
    assert (call.trace_id, call.customer, call.team, call.api_key) == ("run-1", "acme", "t-1", "checkout")
    assert call.max_output_tokens == 300


def test_where_metadata_is_the_apis_own_the_proxy_has_another_place_for_it() -> None:
    data = request(metadata={"user_id": "x"}, litellm_metadata={"requester_metadata": {"workflow": "agents"}})
    assert call_of(data, KEY).workflow == "agents"


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"metadata": [1], "model": 7, "max_tokens": "many"}])
def test_a_request_without_any_of_it_is_a_call_all_the_same(odd: dict[str, Any]) -> None:
    call = call_of(odd, None)
    assert (call.workflow, call.model, call.max_output_tokens) == ("unattributed", "unknown", None)


def test_a_key_itself_is_hashed_as_litellm_does() -> None:
    call = call_of(request(), SimpleNamespace(key_alias=None, api_key="sk-1234"))
    assert call.api_key == "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {"max_tokens": 9}),
        ({"max_tokens": 50}, {"max_tokens": 9}),
        ({"max_completion_tokens": 50}, {"max_completion_tokens": 9}),
        ({"max_output_tokens": 50}, {"max_output_tokens": 9}),
    ],
)
def test_a_decision_changes_the_model_and_the_limit_that_the_caller_gave(
    given: dict[str, int], changed: dict[str, int]
) -> None:
    data: dict[str, Any] = {"model": "gpt-4o", **given}
    apply(Decision(model="gpt-4o-mini", max_output_tokens=9), data)
    assert data == {"model": "gpt-4o-mini", **changed}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"response_cost": 0.0000135, "total_tokens": 13}, Spent(13_500, 13)),
        ({"response_cost": None, "total_tokens": None}, Spent(0, 0)),
        ({"response_cost": float("nan"), "total_tokens": -1}, Spent(0, 0)),
        ({}, Spent(0, 0)),
    ],
)
def test_what_a_try_cost_is_what_litellm_says(payload: dict[str, Any], expected: Spent) -> None:
    assert spent(payload) == expected
