"""The proxy under test: one for all, for it takes ten seconds to start, in front of a provider that bills."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import Connection
from schemas.topics import BUDGETS, COST_EVENTS, THROTTLE_ACKS, THROTTLE_COMMANDS
from service.kafka.embedded.broker import EmbeddedBroker
from tests.litellm.proxy import PYTHON, running_proxy
from tests.litellm.upstream import Upstream
from tests.support.broker import create_topics


@dataclass(frozen=True)
class Surroundings:
    """What a test talks to. All share it: each has calls, traces and workflows by names of its own."""

    connection: Connection
    upstream: Upstream
    base_url: str


@pytest.fixture(scope="session")
def litellm(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """The real proxy. Skipped where `make test-litellm` has not installed it, unless this is CI."""
    if not PYTHON.exists() and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"LiteLLM is not in {PYTHON}: `make test-litellm` installs it")
    connection = Connection(broker.bootstrap, f"t-{uuid.uuid4().hex[:10]}.")
    topics = {connection.topic(t): 1 for t in (THROTTLE_COMMANDS, BUDGETS, THROTTLE_ACKS)}
    asyncio.run(create_topics(broker.bootstrap, {**topics, connection.topic(COST_EVENTS): 3}))
    folder: Path = tmp_path_factory.mktemp("litellm")
    with Upstream() as upstream, running_proxy(connection, upstream.url, folder) as base_url:
        yield Surroundings(connection, upstream, base_url)
