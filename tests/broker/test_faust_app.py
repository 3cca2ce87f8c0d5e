"""The app of the keyed stage on a real broker: when it is ready, and what stops it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.kafka.embedded.broker import EmbeddedBroker
from service.kafka.faust_transport import AppFailedError, keyed_table
from tests.support.broker import create_topics
from tests.support.patience import PATIENCE_S
from tests.upstream.brokered import committed_offsets, eventually, our_app, running, write
from tests.upstream.test_tables import Versioned

pytestmark = pytest.mark.broker


async def test_is_ready_once_recovered_and_not_after_its_end(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    topic, changelog = f"{topic_prefix}in", f"{topic_prefix}state"
    await create_topics(broker.bootstrap, {topic: 2, changelog: 2})
    app = our_app(f"{topic_prefix}app", broker.bootstrap)
    table = keyed_table(app, name="state", changelog=changelog, partitions=2, codec=Versioned())

    @app.agent(app.topic(topic))
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            table[event.key.decode()] = event.message.offset

    assert not app.ready
    async with running(app):
        assert await eventually(lambda: app.ready)
        assert app.assigned(topic) == app.assigned(changelog) == frozenset({0, 1})
    assert not app.ready


async def test_a_failing_agent_stops_it_and_its_event_is_left(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    topic, group = f"{topic_prefix}in", f"{topic_prefix}app"
    await create_topics(broker.bootstrap, {topic: 1})
    await write(broker.bootstrap, topic, 0, (b"k", b"0"), (b"k", b"1"))
    fatal: list[BaseException | str] = []
    app = our_app(group, broker.bootstrap, fatal, commit_lag_s=0.0)

    @app.agent(app.topic(topic))
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            if event.value == b"1":
                raise ValueError("a bug")

    with pytest.raises(AppFailedError) as failed:
        await asyncio.wait_for(app.run_until(asyncio.Event()), PATIENCE_S)
    assert isinstance(failed.value.__cause__, ValueError)
    assert [str(reason) for reason in fatal] == ["a bug"]
    assert (await committed_offsets(broker.bootstrap, group, topic)).get(0, 0) <= 1


async def test_a_table_with_other_partitions_than_its_events_stops_it(
    broker: EmbeddedBroker, topic_prefix: str
) -> None:
    topic, changelog = f"{topic_prefix}in", f"{topic_prefix}state"
    await create_topics(broker.bootstrap, {topic: 2, changelog: 1})
    await write(broker.bootstrap, topic, 0, (b"k", b"0"))
    fatal: list[BaseException | str] = []
    app = our_app(f"{topic_prefix}app", broker.bootstrap, fatal)
    table = keyed_table(app, name="state", changelog=changelog, partitions=1, codec=Versioned())

    @app.agent(app.topic(topic))
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            table[event.key.decode()] = 1

    with pytest.raises(AppFailedError):
        await asyncio.wait_for(app.run_until(asyncio.Event()), PATIENCE_S)
    assert [type(reason).__name__ for reason in fatal] == ["PartitionsMismatch"]
