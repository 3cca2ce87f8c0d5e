"""The image: what is in it, who runs it, and the check that says whether its role makes progress."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from asyncio import to_thread
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from service.runtime.clock import ManualClock
from service.runtime.health import Health, serve
from service.settings import CallbacksSettings, DecisionsSettings, DoorSettings, HealthSettings, Role
from service.settings_sources import load
from tests.deploy.files import DEPLOY, ROOT, is_command, read

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DOCKERFILE = read("deploy/Dockerfile")
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ").strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_it_is_built_in_two_stages_from_a_pinned_slim_python() -> None:
    assert instructions("ARG") == ["PYTHON=python:3.11-slim-bookworm"]
    assert instructions("FROM") == ["${PYTHON} AS build", "${PYTHON}"]
    wanted = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert wanted == ">=3.11"


def test_it_does_not_run_as_root() -> None:
    assert instructions("USER") == ["10001:10001"], "by number: Kubernetes cannot look a name up"
    assert DOCKERFILE.index("USER 10001") < DOCKERFILE.index("ENTRYPOINT")


def test_everything_it_installs_is_pinned_by_hash() -> None:
    commands = " ; ".join(instructions("RUN")).replace("&&", ";")
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) ([^;]*)", commands)
    assert len(installs) == 4
    for arguments in installs:
        from_lock = "--require-hashes -r requirements-" in arguments
        only_ours = "--no-deps" in arguments and (
            "/wheel/" in arguments or "--no-build-isolation" in arguments
        )
        assert from_lock or only_ours, arguments


def test_its_entry_point_is_the_command_line() -> None:
    assert instructions("ENTRYPOINT") == ['["tidegate"]']
    assert "tidegate" in tomllib.loads(read("pyproject.toml"))["project"]["scripts"]
    for role in (*get_args(Role), "up"):
        assert is_command([role])


def test_its_variables_are_settings() -> None:
    variables = dict(re.findall(r"(TIDEGATE_\w+)=(\S+)", " ".join(instructions("ENV"))))
    assert variables
    loaded = load(environ=variables)
    assert not loaded.ignored
    assert loaded.settings.health.host == "0.0.0.0"


def test_it_exposes_the_roles_ports() -> None:
    health = HealthSettings()
    ports = sorted(health.port_of(role) for role in get_args(Role))
    ports += [DoorSettings().port, DecisionsSettings().port, CallbacksSettings().port]
    assert instructions("EXPOSE") == [" ".join(str(port) for port in ports)]


def test_what_it_copies_is_let_through_and_nothing_else() -> None:
    ignored = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert copied == let_through
    for source in copied:
        assert (ROOT / source).exists(), source
    packages = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= copied


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", read(lock), re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements-runtime.lock", "requirements-build.lock"])
def test_what_is_deployed_is_what_was_tested(lock: str) -> None:
    tested, deployed = pins("requirements.lock"), pins(lock)
    assert deployed
    assert deployed.items() <= tested.items(), "run `make lock`"
    assert "://" not in read(lock), "no index may be named: everybody has their own"


def test_the_runtime_lock_has_what_the_project_needs_and_not_what_its_developers_need() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    needed = {re.split(r"[><=\[ ]", line)[0] for line in project["dependencies"]}
    runtime = pins("requirements-runtime.lock")
    assert needed <= set(runtime)
    assert not {"pytest", "hypothesis", "mypy", "ruff", "noida-db"} & set(runtime)
    assert "hatchling" in pins("requirements-build.lock")


async def check(**ports: int) -> int:
    """Exit status of the image's health check in an environment that names these ports."""
    environment = {f"TIDEGATE_HEALTH__{name}": str(port) for name, port in ports.items()}
    command = [sys.executable, "-I", "-S", str(DEPLOY / "healthcheck.py")]
    run = await to_thread(
        subprocess.run, command, env=environment, capture_output=True, timeout=30, check=False
    )
    assert run.stderr == b""
    return run.returncode


async def test_the_check_follows_the_progress_of_the_role() -> None:
    clock = ManualClock(NOON)
    health = Health("ingest", clock, 30.0)
    health.expect("loop")
    async with serve(health, "127.0.0.1", 0) as port:
        assert await check(PORT=port) == 0
        clock.advance(31.0)
        assert await check(PORT=port) == 1
        health.beat("loop")
        assert await check(PORT=port) == 0
    assert await check(PORT=port) == 1


async def test_the_check_of_all_roles_in_one_container_fails_with_the_first_that_stalls() -> None:
    clock = ManualClock(NOON)
    fine, stalled = Health("ingest", clock, 30.0), Health("detect", clock, 30.0)
    stalled.expect("loop")
    async with serve(fine, "127.0.0.1", 0) as one, serve(stalled, "127.0.0.1", 0) as other:
        # Nobody listens on the third: a role that is not in this container.
        ports = {"INGEST_PORT": one, "DETECT_PORT": other, "NOTIFY_PORT": 1}
        assert await check(**ports) == 0
        clock.advance(31.0)
        assert await check(**ports) == 1


def test_the_check_knows_the_roles_default_ports() -> None:
    source = (DEPLOY / "healthcheck.py").read_text(encoding="utf-8")
    health = HealthSettings()
    for role in get_args(Role):
        assert f'"{role.upper()}_PORT": "{health.port_of(role)}"' in source
    assert Path(DEPLOY / "healthcheck.py").stat().st_size < 4_096
