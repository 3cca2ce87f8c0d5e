"""A role as a process: how it is asked to stop, and what its end says."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from service.errors import BrokerUnavailable, SettingsError, StateTooLarge
from service.runtime.process import BUG, run_role


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_role_to_finish_and_that_is_success(number: signal.Signals) -> None:
    finished = []

    async def role(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()
        await asyncio.sleep(0.01)
        finished.append(True)

    assert run_role(role) == 0
    assert finished == [True]


def test_a_second_signal_cancels_a_role_that_takes_its_time() -> None:
    async def role(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    assert run_role(role) == 128 + signal.SIGTERM


def test_a_role_that_does_not_stop_is_told_so_and_ended(capsys: pytest.CaptureFixture[str]) -> None:
    async def role(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    assert run_role(role, grace_s=0.05) == 6
    assert capsys.readouterr().err == "tidegate: did not stop within 0.05 s\n"


@pytest.mark.parametrize(
    ("error", "status"), [(BrokerUnavailable("gone"), 3), (StateTooLarge("70,000 bytes"), 5)]
)
def test_an_error_of_ours_is_one_line_and_its_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def role(stop: asyncio.Event) -> None:
        raise error

    assert run_role(role) == status
    assert capsys.readouterr().err == f"tidegate: {error}\n"


def test_each_problem_of_the_settings_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def role(stop: asyncio.Event) -> None:
        raise SettingsError("a: wrong", "b: wrong, too")

    assert run_role(role) == 2
    assert capsys.readouterr().err == "tidegate: a: wrong\ntidegate: b: wrong, too\n"


def test_a_bug_is_a_traceback_in_the_log_and_status_70(caplog: pytest.LogCaptureFixture) -> None:
    async def role(stop: asyncio.Event) -> None:
        raise KeyError("nobody foresaw this")

    assert run_role(role) == BUG
    assert "nobody foresaw this" in caplog.text


def test_signals_do_what_they_did_before_once_the_role_has_ended() -> None:
    async def role(stop: asyncio.Event) -> None:
        return

    before = signal.getsignal(signal.SIGTERM)
    assert run_role(role) == 0
    assert signal.getsignal(signal.SIGTERM) == before
