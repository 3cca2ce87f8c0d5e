"""A worker that counts calls and sums amounts per key in a table: `python -m tests.broker.counting_worker '{...}'`.

Run by test_faust_table_recovery.py, which kills it. Ends with status 0 on SIGTERM, 1 when the app failed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from faust.serializers.codecs import Codec

from service.kafka.faust_transport import AppFailedError, GuardedApp, build_app, keyed_table


@dataclass
class Totals:
    """What one key amounts to, and the last source offset applied, by source partition."""

    calls: int = 0
    amount: int = 0
    last: dict[int, int] = field(default_factory=dict)

    @staticmethod
    def supersedes(old: Totals, new: Totals) -> bool:
        return all(new.last.get(partition, -1) >= offset for partition, offset in old.last.items())

    def plus(self, partition: int, offset: int, amount: int) -> Totals:
        return Totals(self.calls + 1, self.amount + amount, {**self.last, partition: offset})


class TotalsCodec(Codec):
    """A version byte, then JSON."""

    def _dumps(self, obj: Totals) -> bytes:
        return b"\x01" + json.dumps(asdict(obj)).encode()

    def _loads(self, s: bytes) -> Totals:
        if s[:1] != b"\x01":
            raise ValueError(f"unknown version {s[:1]!r}")
        fields = json.loads(s[1:])
        return Totals(fields["calls"], fields["amount"], {int(p): o for p, o in fields["last"].items()})


def declare(app: GuardedApp, options: dict[str, Any]) -> None:
    table = keyed_table(
        app,
        name="totals",
        changelog=options["changelog"],
        partitions=options["partitions"],
        codec=TotalsCodec(),
        supersedes=Totals.supersedes if options["supersedes"] else None,
    )
    guarded, pause_s = options["guarded"], options["pause_s"]

    @app.agent(app.topic(options["topic"]), concurrency=1)
    async def count(stream: Any) -> None:
        async for event in stream.events():
            message, key = event.message, event.key.decode()
            totals = table.get(key) or Totals()
            if not guarded or message.offset > totals.last.get(message.partition, -1):
                totals = totals.plus(message.partition, message.offset, int(event.value))
            # Set again even when it was counted before: the changelog then surely has it.
            table[key] = totals
            await asyncio.sleep(pause_s)


async def main(options: dict[str, Any]) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = build_app(
        app_id=options["group"],
        bootstrap=options["bootstrap"],
        security=None,
        commit_lag_s=options["commit_lag_s"],
        on_fatal=lambda reason: print(f"fatal: {reason}", file=sys.stderr),
        session_timeout_s=3.0,
    )
    declare(app, options)
    try:
        await app.run_until(stop)
    except AppFailedError:
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
