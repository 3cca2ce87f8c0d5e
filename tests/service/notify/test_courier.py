"""One receiver's deliveries, in manual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from schemas.control import Match, Silence
from service.notify.backlog import Source
from service.notify.courier import Courier
from service.notify.pipeline import RetryPolicy
from service.notify.receiver import Delivered, Failure, Final, Retry
from service.runtime.clock import ManualClock
from tests.service.notify.support import MINUTE, NOW, PaperOffice, Script, alert, entry, resolved
from tests.support.patience import PATIENCE_S

POLICY = RetryPolicy(max_attempts=3, initial_s=1.0, max_s=60.0)
DOWN = Retry(Failure.SERVER_ERROR, "500 down")


class Bench:
    def __init__(self, *answers: Delivered | Retry | Final, interval_s: float = 0.0) -> None:
        self.clock = ManualClock(NOW)
        self.office = PaperOffice()
        self.script = Script(*answers, interval_s=interval_s)
        self.courier = Courier(
            "slack",
            self.script,
            self.office,
            policy=POLICY,
            repeat_interval=timedelta(hours=4),
            clock=self.clock,
            chance=lambda: 0.0,
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        work = asyncio.create_task(self.courier.run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)

    async def deliver(self, count: int) -> None:
        async with self.at_work():
            await self.until(lambda: len(self.office.finished_sources) == count)


async def test_a_delivery_is_logged_before_it_is_finished() -> None:
    bench = Bench()
    bench.courier.put(alert(), Source(0, 4))
    await bench.deliver(1)
    told = bench.office.last_told("slack", alert().fingerprint)
    assert told == entry(alert())
    assert bench.office.finished_sources == [Source(0, 4)]


async def test_a_failure_is_tried_again_later_each_time() -> None:
    bench = Bench(DOWN, DOWN)
    bench.courier.put(alert(), Source(0, 4))
    await bench.deliver(1)
    assert len(bench.script.sent) == 3
    assert bench.clock.monotonic() == pytest.approx(1.0 + 2.0)
    assert bench.office.parked == []


async def test_retry_after_is_obeyed_for_every_alert_of_the_receiver() -> None:
    bench = Bench(Retry(Failure.RATE_LIMITED, "429", after_s=30.0))
    async with bench.at_work():
        bench.courier.put(alert(fingerprint="a"), Source(0, 1))
        await bench.until(lambda: len(bench.script.sent) == 1)
        bench.courier.put(alert(fingerprint="b"), Source(0, 2))
        await bench.until(lambda: len(bench.office.finished_sources) == 2)
    assert bench.clock.monotonic() >= 30.0


async def test_out_of_attempts_it_is_parked() -> None:
    bench = Bench(DOWN, DOWN, DOWN)
    bench.courier.put(alert(), Source(0, 4))
    await bench.deliver(1)
    (parked,) = bench.office.parked
    assert (parked.outcome, parked.attempts, parked.detail) == ("retries_exhausted", 3, "500 down")
    assert parked.alert == alert()


async def test_a_final_error_is_parked_at_once_and_not_asked_again_for_the_same_state() -> None:
    bench = Bench(Final(Failure.REJECTED, "404 no_service"))
    async with bench.at_work():
        bench.courier.put(alert(sequence=1), Source(0, 1))
        await bench.until(lambda: len(bench.office.finished_sources) == 1)
        bench.courier.put(alert(sequence=2), Source(0, 2))
        await bench.until(lambda: len(bench.office.finished_sources) == 2)
        assert len(bench.script.sent) == 1
        bench.courier.put(alert(sequence=3, severity="warning"), Source(0, 3))
        await bench.until(lambda: len(bench.office.finished_sources) == 3)
    assert [sent.sequence for sent in bench.script.sent] == [1, 3]
    assert [(p.outcome, p.attempts) for p in bench.office.parked] == [("final_error", 1)]


async def test_the_beginning_is_told_before_the_end_however_long_it_takes() -> None:
    bench = Bench(DOWN)
    bench.courier.put(alert(), Source(0, 1))
    bench.courier.put(resolved(), Source(0, 2))
    await bench.deliver(2)
    assert [sent.status for sent in bench.script.sent] == ["firing", "firing", "resolved"]


async def test_who_never_heard_of_it_is_not_told_that_it_is_over() -> None:
    bench = Bench()
    bench.courier.put(resolved(), Source(0, 1))
    await bench.deliver(1)
    assert bench.script.sent == []


async def test_the_interval_is_kept_from_answer_to_request() -> None:
    bench = Bench(interval_s=1.0)
    for number in range(4):
        bench.courier.put(alert(fingerprint=str(number)), Source(0, number))
    await bench.deliver(4)
    assert bench.clock.monotonic() == pytest.approx(3.0)


async def test_a_silence_that_begins_between_attempts_ends_them() -> None:
    bench = Bench(DOWN, DOWN, DOWN)
    silence = Silence(
        name="s", match=Match(), starts_at=NOW, ends_at=NOW + MINUTE, author="ops", reason="known"
    )
    async with bench.at_work():
        bench.courier.put(alert(), Source(0, 1))
        await bench.until(lambda: len(bench.script.sent) == 1)
        bench.office.book = bench.office.book.apply("silence/s", silence.to_json(), 1)
        await bench.until(lambda: len(bench.office.finished_sources) == 1)
    assert len(bench.script.sent) == 1
    assert bench.office.parked == []


async def test_a_replaced_record_is_finished_without_being_sent() -> None:
    bench = Bench()
    bench.courier.put(alert(sequence=1), Source(0, 1))
    bench.courier.put(alert(sequence=2), Source(0, 2))
    await bench.deliver(2)
    assert [sent.sequence for sent in bench.script.sent] == [2]


class Hanging(Script):
    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def send(self, alert: object) -> Delivered:
        await self.release.wait()
        return Delivered()


async def test_quiet_waits_for_what_is_out_and_forgets_the_rest() -> None:
    bench = Bench()
    hanging = Hanging()
    bench.courier._receiver = hanging
    async with bench.at_work():
        bench.courier.put(alert(fingerprint="a"), Source(0, 1))
        bench.courier.put(alert(fingerprint="b"), Source(0, 2))
        await bench.until(lambda: len(bench.courier._attempts) == 1)
        quiet = asyncio.create_task(bench.courier.quiet(5.0))
        await asyncio.sleep(0)
        assert not quiet.done()
        hanging.release.set()
        await quiet
        assert bench.office.finished_sources == [Source(0, 1)]
        assert len(bench.courier.backlog) == 0


async def test_quiet_cancels_what_takes_too_long() -> None:
    bench = Bench()
    bench.courier._receiver = Hanging()
    async with bench.at_work():
        bench.courier.put(alert(), Source(0, 1))
        await bench.until(lambda: len(bench.courier._attempts) == 1)
        await bench.courier.quiet(0.01)
        assert bench.office.finished_sources == []
        bench.courier._receiver = bench.script
        bench.courier.put(alert(), Source(0, 1))
        await bench.until(lambda: bench.office.finished_sources == [Source(0, 1)])


class Broken(PaperOffice):
    async def delivered(self, entry: object) -> None:
        raise ConnectionError("the log is gone")


async def test_a_delivery_that_cannot_be_logged_ends_the_courier() -> None:
    bench = Bench()
    bench.courier._office = Broken()
    bench.courier.put(alert(), Source(0, 1))
    with pytest.raises(ConnectionError):
        await bench.courier.run()


async def test_failures_are_logged_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(DOWN)
    bench.courier.put(alert(), Source(0, 4))
    with caplog.at_level(logging.INFO, "service.notify"):
        await bench.deliver(1)
    assert "again in 1.0 s: server_error: 500 down" in caplog.text
    assert "told of retry_loop in 'support-agent'" in caplog.text
