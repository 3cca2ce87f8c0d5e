"""`tidegate door`, and when `tidegate up` runs one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.commands import roles
from service.settings import ROLES
from tests.service.door.support import TOKEN


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the roles that `up` would run."""
    names: list[str] = []

    async def note(commands: Mapping[str, Any], stop: asyncio.Event) -> None:
        names.extend(commands)
        assert all(command[-1] == role for role, command in commands.items())

    monkeypatch.setattr(roles, "supervise", note)
    return names


@pytest.mark.parametrize(
    ("environment", "door"),
    [
        ({}, []),
        ({"TIDEGATE_DOOR__PORT": "0"}, []),
        ({"TIDEGATE_DOOR__TOKENS__GW__TOKEN": TOKEN}, ["door"]),
        ({"TIDEGATE_DOOR__ALLOW_ANONYMOUS": "true"}, ["door"]),
    ],
)
def test_up_runs_a_door_when_somebody_may_come_in(
    environment: dict[str, str], door: list[str], started: list[str]
) -> None:
    result = CliRunner().invoke(app, ["up"], env=environment)
    assert result.exit_code == 0, result.output
    assert started == [*ROLES, *door]


def test_a_door_for_nobody_is_a_settings_error(capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(app, ["door"])
    assert result.exit_code == 2
    assert "door.tokens: none is given" in capfd.readouterr().err + result.output
