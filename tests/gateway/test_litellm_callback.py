"""The hooks in the order in which the proxy calls them. Without LiteLLM, on stand-ins of its base classes."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway import Connection, Gate, Publisher
from gateway.letter import unseal
from schemas.throttles import Cap, Downgrade, Slow
from service.ingest.adapters.litellm import from_litellm
from tests.gateway.clock import HandClock
from tests.gateway.records import command, snapshot

KEY = SimpleNamespace(key_alias="k", end_user_id=None, team_alias=None, team_id=None, api_key=None)


def _say(error: Any, **said: Any) -> None:
    error.__dict__.update(said)


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("litellm") is None:
        refusal = type(
            "HTTPException", (Exception,), {"__init__": _say, "__str__": lambda self: str(self.detail)}
        )
        modules: dict[str, dict[str, Any]] = {
            "fastapi": {"HTTPException": refusal},
            "litellm": {"token_counter": lambda model, text: len(text.split())},
            "litellm.integrations": {},
            "litellm.integrations.custom_logger": {"CustomLogger": object},
        }
        for name, parts in modules.items():
            module = ModuleType(name)
            vars(module).update(parts)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "gateway.litellm_callback", raising=False)
    from gateway.litellm_callback import Tidegate

    # Not started: what is published waits where it can be looked at.
    yield Tidegate(Gate("gw", clock=HandClock()), Publisher(Connection(topic_prefix="t."), None))
    sys.modules.pop("gateway.litellm_callback", None)


def request(call_id: str = "c-1") -> dict[str, Any]:
    return {
        "model": "gpt-4o",
        "litellm_call_id": call_id,
        "metadata": {"requester_metadata": {"workflow": "w"}},
    }


def logged(call_id: str = "c-1", status: str = "success", cost: float = 0.0000001) -> dict[str, Any]:
    payload = {
        "id": "p-1",
        "litellm_call_id": call_id,
        "status": status,
        "call_type": "acompletion",
        "model": "gpt-4o",
        "endTime": 1_772_452_800.0,
        "response_cost": cost,
        "total_tokens": 13,
        "metadata": {"requester_metadata": {"workflow": "w"}},
    }
    return {"standard_logging_object": payload}


def published(callback: Any) -> list[dict[str, Any]]:
    letters = [unseal(payload) for payload in callback.publisher._queue]
    assert all(
        letter is not None and letter.format == b"litellm" and letter.key == b"w" for letter in letters
    )
    return [orjson.loads(letter.value) for letter in letters if letter is not None]


async def pre_call(callback: Any, data: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = await callback.async_pre_call_hook(KEY, None, data, "acompletion")
    return changed


async def test_a_block_is_an_error_that_no_sdk_repeats_and_says_whose_limit_it_is(callback: Any) -> None:
    callback.gate.obey(command())
    with pytest.raises(Exception) as caught:
        await pre_call(callback, request())
    error: Any = caught.value
    assert (error.status_code, error.detail, error.type) == (403, "Stopped: a loop.", "tidegate_rejection")
    assert error.provider_specific_fields == {"code": "throttled", "scope": "workflow:w", "command_id": "c1"}


async def test_what_was_refused_is_not_published_as_a_call_that_failed(callback: Any) -> None:
    callback.gate.obey(command())
    with pytest.raises(Exception, match="Stopped"):
        await pre_call(callback, request())
    await callback.async_log_failure_event(logged(status="failure", cost=0), None, None, None)
    await callback.async_log_failure_event(logged("c-2", status="failure", cost=0), None, None, None)
    assert [event["litellm_call_id"] for event in published(callback)] == ["c-2"]


async def test_a_limit_on_a_model_finds_the_group_that_calls_it(callback: Any) -> None:
    callback.gate.obey(command(kind="model", value="openai/gpt-4o"))
    await pre_call(callback, request("c-1"))
    event = logged()
    event["standard_logging_object"] |= {"model": "openai/gpt-4o", "model_group": "gpt-4o"}
    await callback.async_log_success_event(event, None, None, None)
    with pytest.raises(Exception, match="Stopped"):
        await pre_call(callback, request("c-2"))
    event["standard_logging_object"] |= {"model": "azure/gpt-4o"}
    await callback.async_log_success_event(event, None, None, None)
    await pre_call(callback, request("c-3"))


async def test_a_request_is_changed_as_decided(callback: Any) -> None:
    callback.gate.obey(command(action=Downgrade(fallback_model="gpt-4o-mini")))
    callback.gate.obey(command(kind="api_key", value="k", action=Cap(max_output_tokens=50)))
    assert await pre_call(callback, request()) == request() | {"model": "gpt-4o-mini", "max_tokens": 50}


async def test_a_downgrade_to_a_model_that_the_proxy_does_not_know_is_no_outage(
    callback: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def listed(model_name: str) -> list[str]:
        return [model_name] if model_name == "gpt-4o-mini" else []

    router = SimpleNamespace(
        get_model_list=listed, deployment_names=["openai/gpt-4o-mini"], default_deployment=None
    )
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", SimpleNamespace(llm_router=router))
    called = []
    for sequence, fallback in enumerate(("gpt-4o-mini", "openai/gpt-4o-mini", "unheard-of"), start=1):
        callback.gate.obey(command(sequence, Downgrade(fallback_model=fallback)))
        called += [(await pre_call(callback, request()))["model"] for _ in range(2)]
    assert called == 2 * ["gpt-4o-mini"] + 2 * ["openai/gpt-4o-mini"] + 2 * ["gpt-4o"]
    assert len([line for line in caplog.messages if "unheard-of" in line]) == 1, "said once"
    router.default_deployment = {"model_name": "anything"}
    assert (await pre_call(callback, request()))["model"] == "unheard-of"


async def test_a_failed_try_settles_nothing_and_the_one_that_succeeds_does(callback: Any) -> None:
    callback.gate.take(snapshot(reserve=400))
    await pre_call(callback, request())
    await callback.async_log_failure_event(logged(status="failure", cost=0), None, None, None)
    assert callback.gate.left("b") == 600
    await callback.async_log_success_event(logged(), None, None, None)
    assert callback.gate.left("b") == 900
    await callback.async_log_success_event(logged(), None, None, None)
    assert callback.gate.left("b") == 900, "once"
    assert [event["status"] for event in published(callback)] == ["failure", "success", "success"]


async def test_a_request_that_is_given_up_gives_back_what_was_held(callback: Any) -> None:
    callback.gate.take(snapshot(reserve=400))
    await pre_call(callback, request())
    await callback.async_post_call_failure_hook(request(), RuntimeError(), KEY)
    assert callback.gate.left("b") == 1_000


async def test_a_request_of_which_nothing_is_logged_gives_back_what_was_held_a_moment_after_its_end(
    callback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["gateway.litellm_callback"], "_LOGGED_S", 0.1)
    callback.gate.take(snapshot(reserve=400))
    for call_id in ("left", "logged"):
        await asyncio.create_task(pre_call(callback, request(call_id)))
    # What is logged in time is counted and not only let go.
    await callback.async_log_success_event(logged("logged"), None, None, None)
    assert callback.gate.left("b") == 1_000 - 400 - 100
    async with asyncio.timeout(10):
        while callback.gate.left("b") != 1_000 - 100:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    # What is logged late counts all the same.
    await callback.async_log_success_event(logged("left"), None, None, None)
    assert callback.gate.left("b") == 1_000 - 200


async def test_a_client_that_leaves_while_it_is_slowed_gives_back_what_was_held(callback: Any) -> None:
    callback.gate.take(snapshot(reserve=100))
    callback.gate.obey(command(action=Slow(max_rps=0.5)))
    await pre_call(callback, request("first"))
    waiting = asyncio.create_task(pre_call(callback, request("second")))
    await asyncio.sleep(0.05)
    assert callback.gate.left("b") == 800
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert callback.gate.left("b") == 900


def details(call_type: str) -> dict[str, Any]:
    called = {"call_type": call_type, "model": "gpt-4o", "custom_llm_provider": "openai"}
    return {"litellm_logging_obj": SimpleNamespace(model_call_details=called)}


async def pass_on(callback: Any, data: dict[str, Any], chunks: list[Any], take: int) -> list[Any]:
    """What a client gets that leaves after so many chunks."""

    async def stream() -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk

    passed = callback.async_post_call_streaming_iterator_hook(KEY, stream(), data)
    taken = [await anext(passed) for _ in range(take)]
    await passed.aclose()
    return taken


@pytest.mark.parametrize("call_type", ["aresponses", "anthropic_messages"])
async def test_a_stream_that_is_left_and_that_litellm_does_not_log_is_published_as_a_guess(
    callback: Any, call_type: str
) -> None:
    callback.gate.take(snapshot(reserve=400))
    data = request() | details(call_type) | {"input": "one two three", "stream": True}
    data["metadata"] |= {"user_api_key_hash": "h", "trace_id": "t-1"}
    await pre_call(callback, data)
    chunks = [SimpleNamespace(type="response.output_text.delta", delta="a b ")] * 5
    assert await pass_on(callback, data, chunks, take=2) == chunks[:2]
    (told,) = published(callback)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (3, 4)
    (event,) = from_litellm(told)
    assert (event["event_id"], event["trace_id"], event["workflow"]) == ("c-1", "t-1", "w")
    assert (event["status"], event["usage_source"], event["model"]) == (
        "cancelled",
        "estimated",
        "openai/gpt-4o",
    )
    assert callback.gate.left("b") == 1_000, "given back"


async def test_a_stream_that_litellm_logs_is_not_published_twice(callback: Any) -> None:
    delta = SimpleNamespace(type="response.output_text.delta", delta="a")
    last = SimpleNamespace(type="response.completed")
    await pass_on(callback, request("chat") | details("acompletion"), [b"data: {}"] * 5, take=2)
    await pass_on(callback, request("told") | details("aresponses"), [delta, last, last], take=2)
    data = request("logged") | details("aresponses")
    passed = callback.async_post_call_streaming_iterator_hook(KEY, _two(delta), data)
    await anext(passed)
    await callback.async_log_success_event(logged("logged"), None, None, None)
    await passed.aclose()
    assert [event["litellm_call_id"] for event in published(callback)] == ["logged"]


async def _two(chunk: Any) -> AsyncIterator[Any]:
    yield chunk
    yield chunk


async def test_two_requests_of_one_id_hold_no_more_than_one(callback: Any) -> None:
    callback.gate.take(snapshot(reserve=100))
    await pre_call(callback, request())
    await pre_call(callback, request())
    assert callback.gate.left("b") == 900


async def test_a_call_that_says_nothing_of_itself_is_not_published_and_breaks_nothing(callback: Any) -> None:
    await callback.async_log_success_event({}, None, None, None)
    assert published(callback) == []
