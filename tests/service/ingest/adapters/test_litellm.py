"""LiteLLM payloads: tries, batches, costs of nothing, labels that cannot be used."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from schemas.decode import validate
from schemas.events import CostEvent
from schemas.reasons import Reason, Refused
from service.ingest.adapters.litellm import from_litellm
from tests.service.ingest.adapters.golden_files import but, ids, record

PAYLOAD = record("litellm", "cached-and-reasoning-tokens-are-inside-the-totals")
FAILED = record("litellm", "failed-try-before-a-paid-one-has-an-id-of-its-own")
BATCH = record("litellm", "finished-batch-is-one-batch-however-often-it-is-read")


def test_a_failed_try_and_the_paid_one_share_a_call_id_and_are_two_events() -> None:
    assert FAILED["litellm_call_id"] == PAYLOAD["litellm_call_id"]
    tries = [
        from_litellm(FAILED),
        from_litellm(but(FAILED, endTime=FAILED["endTime"] + 0.5)),
        from_litellm(PAYLOAD),
    ]
    assert len({event_id for each in tries for event_id in ids(each)}) == 3


def test_tokens_of_a_stream_that_broke_off_are_a_guess() -> None:
    (event,) = from_litellm(but(PAYLOAD, status="failure"))
    assert (event["status"], event.get("usage_source")) == ("error", "estimated")
    (event,) = from_litellm(FAILED)
    assert (event["status"], event.get("usage_source")) == ("error", None)


def test_a_providers_id_that_repeats_makes_no_duplicate() -> None:
    assert ids(from_litellm(but(PAYLOAD, litellm_call_id="other"))) != ids(from_litellm(PAYLOAD))


def test_a_payload_without_a_call_id_gets_the_same_id_each_time() -> None:
    nameless = but(PAYLOAD, litellm_call_id=None)
    assert ids(from_litellm(nameless)) == ids(from_litellm(deepcopy(nameless)))
    assert ids(from_litellm(nameless)) != ids(from_litellm(but(nameless, endTime=PAYLOAD["endTime"] + 1)))


def test_a_batch_read_twice_is_one_event() -> None:
    again = but(BATCH, litellm_call_id="another-read", endTime=BATCH["endTime"] + 60)
    assert ids(from_litellm(again)) == ids(from_litellm(BATCH))


@pytest.mark.parametrize("cost", [0, 0.0, "0", None])
def test_a_cost_of_nothing_is_unknown_unless_the_gateway_answered_itself(cost: Any) -> None:
    assert "cost_usd" not in from_litellm(but(PAYLOAD, response_cost=cost))[0]
    cached = from_litellm(but(PAYLOAD, response_cost=cost, cache_hit=True))[0]
    assert cached.get("cost_usd") == (None if cost is None else "0")


def test_the_caller_is_asked_for_its_workflow_first_then_its_headers_then_its_tags() -> None:
    payload = but(PAYLOAD, request_tags=["workflow:by-tag"])
    metadata = payload["metadata"]
    metadata["spend_logs_metadata"] = {"workflow": "by-header"}
    assert from_litellm(payload)[0]["workflow"] == "support-agent"
    metadata["requester_metadata"] = {"workflow": ["not a name"]}
    assert from_litellm(payload)[0]["workflow"] == "by-header"
    metadata["spend_logs_metadata"] = None
    assert from_litellm(payload)[0]["workflow"] == "by-tag"
    payload["request_tags"] = None
    assert "workflow" not in from_litellm(payload)[0]


def test_a_key_that_was_logged_in_the_clear_does_not_get_through() -> None:
    payload = but(PAYLOAD)
    payload["metadata"]["user_api_key_alias"] = "sk-1234567890"
    assert "sk-" not in from_litellm(payload)[0]["api_key"]


def test_a_request_that_failed_before_it_had_a_model_is_no_call() -> None:
    assert from_litellm(but(FAILED, model="", model_group=None)) == []


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("endTime", None, Reason.MISSING_FIELD),
        ("status", None, Reason.MISSING_FIELD),
        ("status", "pending", Reason.INVALID_VALUE),
        ("prompt_tokens", -1, Reason.NEGATIVE),
        ("completion_tokens", "many", Reason.WRONG_TYPE),
        ("response_cost", float("nan"), Reason.NOT_FINITE),
        ("response_cost", 2_000_000, Reason.OUT_OF_RANGE),
        ("response_cost", [], Reason.WRONG_TYPE),
    ],
)
def test_a_payload_whose_money_cannot_be_read_is_refused(field: str, value: Any, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        from_litellm(but(PAYLOAD, **{field: value}))
    assert (caught.value.reason, caught.value.path) == (reason, field)


def test_labels_that_cannot_be_used_refuse_nothing() -> None:
    odd = but(PAYLOAD, trace_id=[], session_id={}, end_user=True, request_tags="a", startTime="yesterday")
    odd["metadata"] |= {
        "user_api_key_team_alias": "\n",
        "requester_metadata": "x",
        "user_api_key_user_id": 1.5,
    }
    (document,) = from_litellm(odd)
    event = validate(CostEvent, document)
    assert event.team == "team-7f31"
    assert event.customer == "acme"
    assert (event.trace_id, event.session_id, event.workflow, event.latency_ms) == (None, None, None, None)


def test_at_most_as_many_tags_as_an_event_may_have() -> None:
    (document,) = from_litellm(but(PAYLOAD, request_tags=[f"t{n}" for n in range(99)]))
    assert len(validate(CostEvent, document).request_tags or ()) == 32
