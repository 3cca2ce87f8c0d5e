"""The snapshot: one tag for one content, and an answer as soon as it is another."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import orjson
import pytest

from schemas.budgets import BudgetSnapshot
from schemas.throttles import Release, ThrottleCommand
from tests.gateway.records import STOP, command, snapshot
from tests.service.decisions.support import Here, open_api
from tests.support.patience import PATIENCE_S, until


async def get(here: Here, tag: str | None = None, **query: Any) -> httpx.Response:
    headers = {} if tag is None else {"if-none-match": tag}
    return await here.client.get("/v1/snapshot", params=query, headers=headers)


async def changed(here: Here, tag: str) -> httpx.Response:
    """The answer to who waits for another."""
    return await get(here, tag, wait_s=60)


async def test_it_has_every_limit_as_it_was_published() -> None:
    one, other, budget = command(1, kind="team", value="t"), command(2), snapshot(5, spent=10)
    async with open_api() as here:
        for record in (one, other):
            here.gate.obey(record)
        here.gate.take(budget)
        here.gate.take(snapshot(1, budget="soft", hard=False, stop_at=None))
        document = (await get(here)).json()
        assert document.keys() == {"stale", "commands", "budgets"}
        assert document["stale"] is False
        commands = [ThrottleCommand.from_json(orjson.dumps(each)) for each in document["commands"]]
        assert commands == [one, other]
        assert [BudgetSnapshot.from_json(orjson.dumps(each)) for each in document["budgets"]] == [budget]
        assert (await get(here, include="commands")).json().keys() == {"stale", "commands"}
        assert (await get(here, include="budgets")).json().keys() == {"stale", "budgets"}


async def test_who_has_it_is_told_so() -> None:
    async with open_api() as here:
        first = await get(here)
        tag = first.headers["etag"]
        for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = await get(here, known)
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await get(here, '"other"')).status_code == 200
        assert (await get(here, tag, include="commands")).status_code == 200, "each part has its own"


async def test_two_processes_have_one_tag_for_the_same_limits() -> None:
    records = [command(number, value=f"w{number}") for number in (1, 2, 3)]
    async with open_api() as here, open_api() as there:
        for record in records:
            here.gate.obey(record)
        for record in reversed(records):
            there.gate.obey(record)
        assert (await get(here)).headers["etag"] == (await get(there)).headers["etag"]


async def test_a_call_changes_nothing_in_it() -> None:
    async with open_api() as here:
        here.gate.obey(command(1, value="other"))
        here.gate.take(snapshot(1))
        tag = (await get(here)).headers["etag"]
        await here.ask({"model": "m", "workflow": "w"}, {"model": "m", "workflow": "other"})
        here.board.changed()
        await asyncio.sleep(0.1)
        assert (await get(here, tag)).status_code == 304


async def test_who_waits_is_woken_by_a_command_a_budget_and_their_ends() -> None:
    async with open_api() as here:
        tag = (await get(here)).headers["etag"]
        for change in (
            lambda: here.gate.obey(command(1)),
            lambda: here.gate.take(snapshot(1)),
            lambda: here.gate.obey(command(2, Release())),
            lambda: here.gate.end_budget("b"),
        ):
            waiting = asyncio.create_task(changed(here, tag))
            await until(lambda: here.board.waiting == 1)
            await asyncio.to_thread(change)  # the feed tells it from a thread of its own
            async with asyncio.timeout(PATIENCE_S):
                answer = await waiting
            assert answer.status_code == 200
            assert answer.headers["etag"] != tag
            tag = answer.headers["etag"]
        assert answer.json() == {"stale": False, "commands": [], "budgets": []}


async def test_who_waits_is_told_of_a_command_that_expires_and_of_silence() -> None:
    async with open_api(stale_after_s=30) as here:
        here.gate.obey(command(1, lasts_s=10))
        await asyncio.sleep(0.1)
        tag = (await get(here)).headers["etag"]
        waiting = asyncio.create_task(changed(here, tag))
        await until(lambda: here.board.waiting == 1)
        here.clock.advance(11)
        here.gate.heard()
        answer = await waiting
        assert answer.json()["commands"] == []
        waiting = asyncio.create_task(changed(here, answer.headers["etag"]))
        await until(lambda: here.board.waiting == 1)
        here.clock.advance(31)
        here.board.look()
        assert (await waiting).json()["stale"] is True


async def test_what_does_not_concern_the_part_wakes_nobody() -> None:
    async with open_api() as here:
        tag = (await get(here, include="commands")).headers["etag"]
        waiting = asyncio.create_task(get(here, tag, include="commands", wait_s=60))
        await until(lambda: here.board.waiting == 1)
        here.gate.take(snapshot(1))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        here.gate.obey(command(1, STOP))
        assert (await waiting).status_code == 200


async def test_waiting_has_an_end() -> None:
    async with open_api() as here:
        tag = (await get(here)).headers["etag"]
        began = time.monotonic()
        assert (await get(here, tag, wait_s=0.2)).status_code == 304
        assert time.monotonic() - began >= 0.2
        assert here.board.waiting == 0
        assert (await get(here, '"other"', wait_s=60)).status_code == 200, "there is nothing to wait for"


async def test_one_that_waits_too_many_is_turned_away_and_decisions_go_on() -> None:
    async with open_api(max_waiting=1) as here:
        tag = (await get(here)).headers["etag"]
        waiting = asyncio.create_task(changed(here, tag))
        await until(lambda: here.board.waiting == 1)
        answer = await get(here, tag, wait_s=60)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert len(await here.ask({"model": "m"})) == 1
        here.gate.obey(command(1))
        assert (await waiting).status_code == 200


async def test_closing_answers_those_who_wait() -> None:
    async with open_api() as here:
        tag = (await get(here)).headers["etag"]
        async with httpx.AsyncClient(
            base_url=here.client.base_url, headers=here.client.headers, timeout=PATIENCE_S
        ) as outside:
            waiting = asyncio.create_task(
                outside.get("/v1/snapshot?wait_s=60", headers={"if-none-match": tag})
            )
            await until(lambda: here.board.waiting == 1)
            here.board.close()
            async with asyncio.timeout(PATIENCE_S):
                assert (await waiting).status_code == 304


@pytest.mark.parametrize(
    "query",
    ["wait_s=-1", "wait_s=61", "wait_s=nan", "wait_s=soon", "wait_s=1&wait_s=1", "include=x", "wait=1"],
)
async def test_a_parameter_that_is_none_is_refused(query: str) -> None:
    async with open_api() as here:
        answer = await here.client.get(f"/v1/snapshot?{query}")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:tidegate:decisions:bad-request")
