"""Feedback that others put on the topic is settled a moment later, and again if that fails."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from schemas.feedback import Feedback
from service.callbacks.hearsay import WAIT_S, Hearsay
from service.errors import Fenced
from service.runtime.clock import ManualClock
from tests.service.notify.support import NOW


def feedback(workflow: str, worth: str = "expected") -> Feedback:
    return Feedback.model_validate(
        {
            "fingerprint": f"of-{workflow}",
            "workflow": workflow,
            "kind": "creep",
            "worth": worth,
            "author": "ada",
            "at": NOW,
            "via": "cli",
        }
    )


async def test_what_is_heard_is_settled_once_for_each_workflow_and_again_if_it_fails() -> None:
    clock = ManualClock(NOW)
    settled: list[tuple[str, str]] = []
    failures = [Fenced("somebody else")]
    done = asyncio.Event()

    async def settle(said: Feedback) -> bool:
        if said.workflow == "chat" and failures:
            raise failures.pop()
        settled.append((said.workflow, said.worth))
        if len(settled) == 2:
            done.set()
        return True

    hearsay = Hearsay(settle, clock)
    hearsay.hear(feedback("agent"))
    hearsay.hear(feedback("agent", "real"))
    hearsay.hear(feedback("chat"))
    work = asyncio.create_task(hearsay.run())
    await asyncio.wait_for(done.wait(), 10)
    work.cancel()
    await hearsay.end()
    assert settled == [("agent", "real"), ("chat", "expected")]
    assert clock.now() >= NOW + timedelta(seconds=2 * WAIT_S)


async def test_what_has_begun_is_settled_before_the_end() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    settled: list[str] = []

    async def settle(said: Feedback) -> bool:
        begun.set()
        await go_on.wait()
        settled.append(said.workflow)
        return True

    hearsay = Hearsay(settle, ManualClock(NOW))
    hearsay.hear(feedback("agent"))
    work = asyncio.create_task(hearsay.run())
    await asyncio.wait_for(begun.wait(), 10)
    work.cancel()
    end = asyncio.create_task(hearsay.end())
    await asyncio.sleep(0)
    assert not end.done()
    go_on.set()
    await end
    assert settled == ["agent"]
