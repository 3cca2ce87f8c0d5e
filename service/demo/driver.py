"""The load driver as a process: `python -m service.demo.driver --seed 7 …`, settings from the environment.

On stdout a JSON object a line (`what`: started, totals, caught_up, injected, throttled, gave_up, ended); on stdin
the line `go` starts the scripted events. It ends on SIGTERM, when stdin closes, or when nobody can be told.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any

from schemas.decode import decode
from schemas.reasons import Refused
from schemas.throttles import ThrottleCommand
from schemas.topics import COST_EVENTS, THROTTLE_COMMANDS
from service.demo.event_clock import EventClock
from service.demo.player import Player, tell
from service.kafka import admin_client, producer, started
from service.kafka.embedded.pacing import pace_empty_fetches
from service.kafka.reader import read
from service.runtime.clock import Clock, SystemClock
from service.runtime.logs import configure
from service.runtime.process import run_role
from service.settings import Settings


async def _listen(player: Player, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        if line.strip() == b"go":
            player.go()
    stop.set()  # whoever started us is gone


async def _follow_throttles(player: Player, settings: Settings) -> None:
    topic = settings.kafka.topic(THROTTLE_COMMANDS)
    async for record in read(settings.kafka, topic, from_start=False, follow=True):
        if record.value is None:
            continue
        try:
            command = decode(ThrottleCommand, record.value)
        except Refused as refused:
            tell("unreadable", topic=topic, offset=record.offset, why=str(refused))
            continue
        await player.obey(command)


async def _committed(admin: Any, settings: Settings) -> dict[int, int]:
    offsets = await admin.list_consumer_group_offsets(settings.ingest.group_id)
    topic = settings.kafka.topic(COST_EVENTS)
    return {partition.partition: at.offset for partition, at in offsets.items() if partition.topic == topic}


async def drive(stop: asyncio.Event, given: argparse.Namespace, settings: Settings, clock: Clock) -> None:
    """Run the driver with what it listens to."""
    kafka = settings.kafka
    wall = clock.now().timestamp()
    events = EventClock.begin(wall, given.speed, given.seconds)
    async with (
        started(producer(kafka, client_id="tidegate-demo-driver", linger_ms=10), kafka) as sender,
        started(admin_client(kafka), kafka) as admin,
    ):
        player = Player(
            sender,
            settings,
            clock,
            events,
            seed=given.seed,
            backfill_s=given.backfill_hours * 3_600,
            committed=lambda: _committed(admin, settings),
            seconds=given.seconds,
        )
        tasks = [
            asyncio.create_task(_listen(player, stop)),
            asyncio.create_task(_follow_throttles(player, settings)),
            asyncio.create_task(player.run(stop)),
        ]
        try:
            done, _ = await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.demo.driver", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--backfill-hours", type=float, default=12.0)
    parser.add_argument("--seconds", type=float, default=None, help="length of the script, wall time")
    return parser.parse_args()


def main() -> int:
    given = _arguments()
    settings = Settings.load()
    pace_empty_fetches()
    configure(settings.log)
    return run_role(lambda stop: drive(stop, given, settings, SystemClock()))


if __name__ == "__main__":
    sys.exit(main())
