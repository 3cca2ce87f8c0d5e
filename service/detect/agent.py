"""The agent: takes each record of the rollups topic to the clerk, and lets nothing escape its body."""

from __future__ import annotations

from typing import Any

from service.detect.clerk import Clerk
from service.kafka.faust_transport import GuardedApp


def declare(app: GuardedApp, topic: Any, clerk: Clerk) -> None:
    """Declare the one agent of the app."""

    @app.agent(topic, concurrency=1, name="detect.judge")
    async def judge(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            try:
                await clerk.handle(
                    message.partition, message.offset, message.timestamp, message.key, message.value
                )
            except Exception as error:
                # Faust would acknowledge the event and carry on. Stopping keeps it for the next attempt.
                app.fuse.blow(error)
                raise
