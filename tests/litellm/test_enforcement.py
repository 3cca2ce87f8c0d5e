"""What Tidegate decides, as an agent sees it: through the real proxy, with the real client."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from schemas.throttles import Block, Downgrade, Release, ThrottleAck
from schemas.topics import THROTTLE_ACKS
from tests.litellm.calls import Ask, Told
from tests.litellm.conftest import Surroundings
from tests.litellm.proxy import Client
from tests.litellm.records import budget, command, put
from tests.support.broker import read_all
from tests.support.patience import until

pytestmark = pytest.mark.broker


def error_of(told: Told) -> dict[str, Any]:
    assert isinstance(told.error, dict), told
    return told.error


async def acks(litellm: Surroundings) -> list[ThrottleAck]:
    connection = litellm.connection
    records = await read_all(connection.bootstrap_servers, connection.topic(THROTTLE_ACKS))
    return [ThrottleAck.from_json(record.value) for record in records]


async def test_a_looping_agent_is_stopped_and_the_others_go_on(litellm: Surroundings) -> None:
    steps = 0

    async def step(client: Client) -> Told:
        nonlocal steps
        steps += 1
        return await client.ask(Ask(f"plain-step-{steps}", workflow="agent", trace="loop"))

    async with Client(litellm.base_url) as client:
        made = [await step(client) for _ in range(5)]
        assert {told.outcome for told in made} == {"ok"}
        await put(litellm.connection, command("trace", "loop", Block(message="Stopped: 5 equal calls.")))
        refused: list[Told] = []

        async def is_refused() -> bool:
            told = await step(client)
            (made if told.outcome == "ok" else refused).append(told)
            return told.outcome != "ok"

        await until(is_refused)
        refused += [await step(client) for _ in range(5)]
        other = await client.ask(Ask("plain-other-trace", workflow="agent", trace="another"))
        stream = await client.ask(Ask("plain-in-a-stream", kind="stream", workflow="agent", trace="loop"))
    assert {(told.outcome, told.requests) for told in [*refused, stream]} == {("403", 1)}, "sent once each"
    error = error_of(refused[0])
    assert (error["message"], error["type"], error["code"]) == (
        "Stopped: 5 equal calls.",
        "tidegate_rejection",
        "403",
    )
    assert error["provider_specific_fields"] == {
        "code": "throttled",
        "scope": "trace:loop",
        "command_id": "command-trace-loop-1",
    }
    assert other.outcome == "ok"
    reached = {call for call in litellm.upstream.tries if call.startswith("plain-step-")}
    assert reached == {told.call for told in made}, "what was refused was not made"
    assert ("command-trace-loop-1", "applied", "litellm-1") in {
        (ack.command_id, ack.result, ack.gateway) for ack in await acks(litellm)
    }


@pytest.mark.parametrize("fallback", ["gpt-4o-mini", "openai/gpt-4o-mini"])
async def test_a_downgrade_changes_the_model_that_is_called_until_it_is_taken_back(
    litellm: Surroundings, fallback: str
) -> None:
    workflow = f"summaries-{fallback.replace('/', '-')}"
    calls = 0

    async def model() -> str:
        nonlocal calls
        calls += 1
        call = f"plain-{workflow}-{calls}"
        told = await client.ask(Ask(call, workflow=workflow))
        assert told.outcome == "ok", told
        (called,) = litellm.upstream.models[call]
        return called

    async with Client(litellm.base_url) as client:
        await put(litellm.connection, command("workflow", workflow, Downgrade(fallback_model=fallback)))

        async def is_the_small_one() -> bool:
            return await model() == "gpt-4o-mini"

        async def is_the_large_one() -> bool:
            return await model() != "gpt-4o-mini"

        await until(is_the_small_one)
        assert {await model() for _ in range(3)} == {"gpt-4o-mini"}
        await put(litellm.connection, command("workflow", workflow, Release(), sequence=2))
        await until(is_the_large_one)


async def test_a_hard_budget_that_is_spent_rejects_with_422_which_the_client_does_not_repeat(
    litellm: Surroundings,
) -> None:
    async with Client(litellm.base_url) as client:
        told = await client.ask(Ask("plain-before", workflow="spent"))
        assert told.outcome == "ok"
        calls = 0

        async def rejected() -> bool:
            nonlocal calls, told
            calls += 1
            told = await client.ask(Ask(f"plain-spent-{calls}", workflow="spent"))
            return told.outcome != "ok"

        await put(litellm.connection, budget("spent", limit=10**9, spent=10**9))
        await until(rejected)
        others = await asyncio.gather(
            *(client.ask(Ask(f"plain-thrifty-{n}", workflow="thrifty")) for n in range(4))
        )
    assert (told.outcome, told.requests) == ("422", 1)
    assert error_of(told)["provider_specific_fields"]["code"] == "budget_exhausted"
    assert {answer.outcome for answer in others} == {"ok"}
    assert told.call not in litellm.upstream.tries


async def test_a_downgrade_to_a_model_that_nobody_configured_stops_no_call(litellm: Surroundings) -> None:
    async with Client(litellm.base_url) as client:
        await put(
            litellm.connection, command("workflow", "misled", Downgrade(fallback_model="gpt-unheard-of"))
        )

        async def applied() -> bool:
            return any(ack.command_id == "command-workflow-misled-1" for ack in await acks(litellm))

        await until(applied, every_s=0.5)
        told = await client.ask(Ask("plain-misled", workflow="misled"))
    assert (told.outcome, told.requests) == ("ok", 1)
    (called,) = litellm.upstream.models["plain-misled"]
    assert called.startswith("gpt-4o")


async def test_what_is_held_for_a_call_is_given_back_however_it_ends(litellm: Surroundings) -> None:
    """With room for two calls, three of each kind: of a kind that gives nothing back the third would never pass."""
    calls = 0
    held = 10**12

    async def passes(ask: Ask) -> bool:
        nonlocal calls
        calls += 1
        told = await client.ask(replace(ask, call=f"{ask.call}-held-{calls}", workflow="roomy"))
        return told.outcome != "422"

    async def is_stopped() -> bool:
        return not await passes(Ask("bad"))

    async with Client(litellm.base_url) as client:
        # So that it is known when the second holds.
        await put(litellm.connection, budget("roomy", limit=2 * held, spent=2 * held))
        await until(is_stopped)
        await put(litellm.connection, budget("roomy", limit=2 * held, reserve=held, sequence=2))
        for ask in (
            Ask("plain"),
            Ask("plain", kind="stream"),
            Ask("bad"),
            Ask("breaks"),
            Ask("cut", kind="stream"),
            Ask("slow", leave_after_s=0.2),
            Ask("slow", kind="stream", leave_after_s=0.2),
            Ask("long", kind="stream", leave_after_chunks=4),
        ):
            for _ in range(3):
                await until(partial(passes, ask))
