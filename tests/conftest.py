"""Fixtures shared by every test: the broker under test, and names that never collide on it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import settings

from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.embedded.noida import NoidaBroker
from tests.support.broker import broker_under_test, describe_choice

# A loaded machine is no bug, so no example has a deadline; `make fuzz` asks for many more of them.
settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=1_000)
settings.load_profile("default")

_used = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_used] = []


def pytest_report_header() -> str:
    return f"broker under test: {describe_choice()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name in config.stash[_used]:
        terminalreporter.write_line(f"broker under test: {name}")


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[EmbeddedBroker]:
    """The broker under test, one for the whole run, started by the first test that asks for it.

    Apache Kafka where it can run, else noida-db; never the latter with CI=true or
    TIDEGATE_REQUIRE_APACHE_KAFKA=1.
    """
    running = broker_under_test()
    pytestconfig.stash[_used].append(running.name)
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
