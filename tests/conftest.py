"""Fixtures shared by every test: the broker under test, and names that never collide on it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.embedded.noida import NoidaBroker
from tests.support.broker import broker_under_test, describe_choice

# A loaded machine is no bug: no example has a deadline, none is made too slowly. `make fuzz` asks for many more.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Every change runs them all; `make fuzz` looks twenty times as far.
settings.register_profile("default", _PATIENT, max_examples=50)
settings.register_profile("fuzz", _PATIENT, max_examples=1_000)
settings.load_profile("default")

_used = pytest.StashKey[set[str]]()
_DEFAULT_TIMEOUT_S = 300.0


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_used] = set()


def pytest_report_header() -> str:
    return f"broker under test: {describe_choice()}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests: the longest first, so that all are done at about the same time."""
    if hasattr(config, "workerinput"):
        items.sort(key=_expected_length, reverse=True)


def _expected_length(item: pytest.Item) -> tuple[float, bool, bool]:
    """Whoever is given more time takes more; then those that kill, and those that talk, before the pure."""
    given = item.get_closest_marker("timeout")
    seconds = _DEFAULT_TIMEOUT_S if given is None else float(given.args[0])
    return (
        seconds,
        item.get_closest_marker("chaos") is not None,
        item.get_closest_marker("broker") is not None,
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a process of pytest-xdist: tell the one that reports which broker was used."""
    used = session.config.stash[_used]
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["brokers"] = list(used)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # A process that crashed has told nothing.
    told: list[str] = getattr(node, "workeroutput", {}).get("brokers", [])
    node.config.stash[_used].update(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name in config.stash[_used]:
        terminalreporter.write_line(f"broker under test: {name}")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command sets logging up for its process, which here is everybody's."""
    root, kafka = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, levels = list(root.handlers), (root.level, kafka.level)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    kafka.setLevel(levels[1])


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[EmbeddedBroker]:
    """The broker under test, one for each process that runs tests, started by the first that asks for it.

    Apache Kafka where it can run, else noida-db; never the latter with CI=true or
    TIDEGATE_REQUIRE_APACHE_KAFKA=1.
    """
    running = broker_under_test()
    pytestconfig.stash[_used].add(running.name)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """noida-db, whatever the broker under test is: what the demo runs on."""
    with NoidaBroker() as running:
        yield running


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topics, groups and transactional ids that no other test has: "t-<random>."."""
    return f"t-{uuid.uuid4().hex[:10]}."
