"""The proxy's other interfaces: the Responses API and Anthropic's messages are counted like chats."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from service.ingest.call import Call
from tests.litellm.conftest import Surroundings
from tests.litellm.records import counted
from tests.support.patience import until

pytestmark = pytest.mark.broker


async def ask(litellm: Surroundings, path: str, call: str, *, leave_after_lines: int | None = None) -> int:
    """Returns the status. Streams, if the call's name says so."""
    said = f"{call} " + "word " * 50
    told = {"messages": [{"role": "user", "content": said}]} if path == "/v1/messages" else {"input": said}
    body = {
        "model": "gpt-4o-mini",
        "max_tokens" if path == "/v1/messages" else "max_output_tokens": 2_000,
        "stream": "stream" in call,
        "metadata": {"workflow": "interfaces", "trace_id": call},
        **told,
    }
    headers = {"authorization": "Bearer sk-master"}
    async with (
        httpx.AsyncClient(base_url=litellm.base_url, headers=headers, timeout=60) as client,
        client.stream("POST", path, json=body) as response,
    ):
        lines = 0
        async for _ in response.aiter_lines():
            lines += 1
            if lines == leave_after_lines:
                break
        return response.status_code


async def spent(litellm: Surroundings, calls: set[str]) -> dict[str, list[Call]]:
    """The events that say what was spent, once each of the calls has one."""
    found: dict[str, list[Call]] = {}

    async def all_told() -> bool:
        events = [e for e in await counted(litellm.connection) if e.input_tokens and e.trace_id in calls]
        found.clear()
        for event in events:
            found.setdefault(str(event.trace_id), []).append(event)
        return set(found) == calls

    await until(all_told, every_s=0.5)
    return found


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_calls_of_other_interfaces_are_counted_to_the_nano_dollar_too(
    litellm: Surroundings, path: str
) -> None:
    name = path.rpartition("/")[2]
    exact = {f"{how}-{name}-{form}" for how in ("plain", "fails") for form in ("whole", "stream")}
    left = f"long-{name}-stream"
    statuses = await asyncio.gather(*(ask(litellm, path, call) for call in exact))
    assert set(statuses) == {200}
    await ask(litellm, path, left, leave_after_lines=20)
    found = await spent(litellm, exact | {left})
    bills = {bill.call: bill for bill in litellm.upstream.bills}
    for call in exact:
        (event,) = found[call]
        assert (event.cost_nanos, event.usage_source) == (bills[call].nanos, "reported")
    (event,) = found[left]
    assert (event.status, event.usage_source, event.workflow) == ("cancelled", "estimated", "interfaces")
    assert event.model == "openai/gpt-4o-mini"
    assert 50 <= event.input_tokens <= 70
    assert 0 < event.output_tokens < bills[left].output_tokens
