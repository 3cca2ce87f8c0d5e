"""One receiver's deliveries, in manual time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notifications import NotificationLogEntry
from service.notify.receiver import Delivered, Failure, Final, Retry
from service.notify.retry import RetryPolicy, backoff
from tests.service.notify.bench import Bench, page
from tests.service.notify.support import NOW, Script, alert, resolved

DOWN = Retry(Failure.SERVER_ERROR, "500 down")


async def test_a_delivery_is_remembered() -> None:
    bench = Bench(Delivered("C1:17.2"))
    bench.put(alert())
    await bench.deliver(1)
    (entry,) = bench.entries
    assert [(one.fingerprint, one.severity) for one in entry.firing] == [(alert().fingerprint, "critical")]
    assert (entry.sequence, entry.sent_at, entry.reference) == (1, NOW, "C1:17.2")


async def test_what_the_receiver_calls_the_incident_comes_back_to_it() -> None:
    bench = Bench(Delivered("C1:17.2"))
    async with bench.at_work():
        bench.put(alert())
        await bench.until(lambda: len(bench.entries) == 1)
        bench.clock.advance(60)
        bench.put(resolved())
        await bench.until(lambda: len(bench.entries) == 2)
    assert [said.reference for said in bench.script.sent] == [None, "C1:17.2"]


async def test_a_failure_is_tried_again_later_each_time() -> None:
    bench = Bench(DOWN, DOWN)
    bench.put(alert())
    await bench.deliver(1)
    assert len(bench.script.sent) == 3
    assert len({said.idempotency_key for said in bench.script.sent}) == 1
    assert bench.clock.monotonic() == pytest.approx(1.0 + 2.0)
    assert bench.parked == []


async def test_retry_after_is_obeyed_for_every_incident_of_the_receiver() -> None:
    bench = Bench(Retry(Failure.RATE_LIMITED, "429", after_s=30.0))
    async with bench.at_work():
        bench.put(page(1))
        await bench.until(lambda: len(bench.script.sent) == 1)
        bench.put(page(2))
        await bench.until(lambda: len(bench.entries) == 2)
    assert bench.clock.monotonic() >= 30.0


async def test_out_of_attempts_it_is_parked() -> None:
    bench = Bench(DOWN, DOWN, DOWN)
    bench.put(alert())
    await bench.deliver(1)
    (parked,) = bench.parked
    assert (parked.outcome, parked.attempts, parked.detail) == ("retries_exhausted", 3, "500 down")
    assert parked.alert == alert()
    assert parked.others == []


async def test_what_goes_on_is_tried_again_a_while_after_it_was_parked() -> None:
    bench = Bench(DOWN, DOWN, DOWN)
    bench.put(alert())
    await bench.deliver(2)
    assert len(bench.entries) == 1
    assert bench.clock.monotonic() >= 300


async def test_a_final_error_is_parked_at_once_and_not_asked_again_for_the_same_state() -> None:
    bench = Bench(Final(Failure.REJECTED, "404 no_service"))
    async with bench.at_work():
        bench.put(alert(severity="warning", sequence=1))
        await bench.until(lambda: len(bench.parked) == 1)
        bench.put(alert(severity="warning", sequence=2))
        bench.clock.advance(900)
        bench.courier.wake()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(bench.script.sent) == 1
        bench.put(alert(sequence=3))
        await bench.until(lambda: len(bench.entries) == 1)
    assert [said.firing[0].alert.sequence for said in bench.script.sent] == [1, 3]
    assert [(p.outcome, p.attempts) for p in bench.parked] == [("final_error", 1)]


async def test_the_beginning_is_told_before_the_end_however_long_it_takes() -> None:
    bench = Bench(DOWN)
    async with bench.at_work():
        bench.put(alert())
        await bench.until(lambda: len(bench.script.sent) == 1)
        bench.clock.advance(1)
        bench.put(resolved())
        await bench.until(lambda: len(bench.entries) == 2)
    assert [said.over for said in bench.script.sent] == [False, False, True]


async def test_the_interval_is_kept_from_answer_to_request() -> None:
    bench = Bench(interval_s=1.0)
    bench.put(*(page(number) for number in range(4)))
    await bench.deliver(4)
    assert bench.clock.monotonic() == pytest.approx(3.0)


async def test_the_most_urgent_is_tried_first_also_of_what_is_tried_again() -> None:
    bench = Bench(DOWN)
    async with bench.at_work():
        bench.put(alert(fingerprint="ticket", team="t", severity="warning"))
        await bench.until(lambda: len(bench.script.sent) == 1)
        bench.put(page(1))
        await bench.until(lambda: len(bench.entries) == 2)
    leads = [said.lead.fingerprint for said in bench.script.sent if said.lead is not None]
    assert leads == ["ticket", "1", "ticket"]


async def test_nothing_is_begun_while_the_office_is_closed() -> None:
    bench = Bench()
    bench.open = False
    async with bench.at_work():
        bench.put(alert())
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.script.sent == []
        bench.open = True
        bench.courier.wake()
        await bench.until(lambda: len(bench.entries) == 1)


class Hanging(Script):
    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def send(self, notification: object) -> Delivered:
        await self.release.wait()
        return Delivered()


async def test_quiet_waits_for_what_is_out_and_forgets_the_rest() -> None:
    bench = Bench()
    hanging = Hanging()
    bench.courier = bench.courier_to(hanging)
    async with bench.at_work():
        bench.put(page(1), page(2))
        await bench.until(lambda: len(bench.courier._attempts) == 1)
        quiet = asyncio.create_task(bench.courier.quiet(5.0))
        await asyncio.sleep(0)
        assert not quiet.done()
        hanging.release.set()
        await quiet
        assert len(bench.entries) == 1
        assert len(bench.desk.outboxes["slack"]) == 0


async def test_quiet_cancels_what_takes_too_long() -> None:
    bench = Bench()
    bench.courier = bench.courier_to(Hanging())
    async with bench.at_work():
        bench.put(alert())
        await bench.until(lambda: len(bench.courier._attempts) == 1)
        await bench.courier.quiet(0.01)
        assert bench.entries == []


async def test_a_delivery_that_cannot_be_logged_ends_the_courier(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    async def broken(entry: NotificationLogEntry) -> None:
        raise ConnectionError("the log is gone")

    monkeypatch.setattr(bench, "record", broken)
    bench.put(alert())
    with pytest.raises(ConnectionError):
        await bench.courier.run()


async def test_failures_are_logged_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(DOWN)
    bench.put(alert())
    with caplog.at_level(logging.INFO, "service.notify"):
        await bench.deliver(1)
    assert "again in 1.0 s: server_error: 500 down" in caplog.text
    assert "told of retry_loop in 'support-agent'" in caplog.text


WAITS = RetryPolicy(max_attempts=8, initial_s=1.0, max_s=60.0)


@pytest.mark.parametrize(("attempts", "longest"), [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (1_000, 60.0)])
def test_waits_double_up_to_the_maximum(attempts: int, longest: float) -> None:
    assert backoff(WAITS, attempts, None, 0.0) == longest
    assert backoff(WAITS, attempts, None, 1.0) == longest / 2


@given(st.integers(1, 200), st.none() | st.floats(0, 3_600), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_asked_for(attempts: int, after_s: float | None, chance: float) -> None:
    wait_s = backoff(WAITS, attempts, after_s, chance)
    assert wait_s >= max(after_s or 0.0, 0.5)
    assert wait_s <= max(after_s or 0.0, 60.0)
