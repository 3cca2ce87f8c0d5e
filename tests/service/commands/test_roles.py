"""`tidegate up`: several roles, none of which dies unnoticed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from service.commands.roles import supervise
from service.errors import RoleDied
from service.settings import Role
from tests.support.patience import PATIENCE_S


def child(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def waits(note: Path) -> list[str]:
    """Runs until SIGTERM, which it notes, as it does before that it is ready for one."""
    return child(
        "import signal, sys, time\n"
        f"signal.signal(15, lambda *_: (open({str(note)!r}, 'w').close(), sys.exit(0)))\n"
        f"open({str(ready(note))!r}, 'w').close()\ntime.sleep(600)"
    )


def ready(note: Path) -> Path:
    return note.with_suffix(".ready")


async def until_exists(*files: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not all(file.exists() for file in files):  # noqa: ASYNC110 - another process has no Event
            await asyncio.sleep(0.01)


async def test_the_first_to_die_stops_the_others_and_its_status_is_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands: dict[Role, list[str]] = {
        "ingest": waits(tmp_path / "ingest"),
        "detect": child(
            "import os, time\n"
            f"while len(os.listdir({str(tmp_path)!r})) < 2: time.sleep(0.01)\n"
            "print('state is 70,000 bytes'); raise SystemExit(5)"
        ),
        "notify": waits(tmp_path / "notify"),
    }
    with pytest.raises(RoleDied, match="detect ended with status 5") as caught:
        await supervise(commands, asyncio.Event())
    assert caught.value.exit_code == 5
    assert (tmp_path / "ingest").exists()
    assert (tmp_path / "notify").exists()
    assert "detect | state is 70,000 bytes\n" in capfd.readouterr().err


async def test_stopping_stops_all_and_is_no_error(tmp_path: Path) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(
        supervise({"ingest": waits(tmp_path / "a"), "detect": waits(tmp_path / "b")}, stop)
    )
    await until_exists(ready(tmp_path / "a"), ready(tmp_path / "b"))
    stop.set()
    await running
    await until_exists(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("code", ["pass", "import os; os.kill(os.getpid(), 9)"])
async def test_an_end_without_a_status_of_its_own_is_status_8(code: str) -> None:
    with pytest.raises(RoleDied) as caught:
        await supervise({"ingest": child(code)}, asyncio.Event())
    assert caught.value.exit_code == 8


async def test_a_role_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    stop = asyncio.Event()
    pid = tmp_path / "pid"
    stubborn = child(
        "import os, signal, time; signal.signal(15, signal.SIG_IGN)\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    running = asyncio.create_task(supervise({"ingest": stubborn}, stop, grace_s=0.2))
    await until_exists(pid)
    stop.set()
    await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGTERM)
