"""The command line inside the test's process."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.kafka.embedded.broker import EmbeddedBroker


class Tidegate(Protocol):
    def __call__(self, *arguments: str, stdin: Any = None, **environment: str) -> Result: ...


@pytest.fixture
def tidegate(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Tidegate:
    """`tidegate(...)` in an empty folder, with none of our own environment."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    for name in ("TIDEGATE_CONFIG_FILE",):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment)

    return run


@pytest.fixture
def cluster(broker: EmbeddedBroker, topic_prefix: str, tidegate: Tidegate) -> Tidegate:
    """`tidegate(...)` with settings that point at the broker under test, where its topics have been created."""
    here = {
        "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "TIDEGATE_KAFKA__TOPIC_PREFIX": topic_prefix,
        "TIDEGATE_KAFKA__PARTITIONS": "2",
    }

    def run(*arguments: str, stdin: bytes | None = None, **environment: str) -> Result:
        return tidegate(*arguments, stdin=stdin, **(here | environment))

    created = run("topics", "create")
    assert created.exit_code == 0, created.output
    return run
