"""`tidegate demo`: everything on an embedded broker, with recorded traffic, a runaway loop and a launch."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import orjson
from rich.console import Console
from rich.live import Live

from service.demo.board import Board
from service.demo.children import Child
from service.demo.feed import follow
from service.demo.installation import Installation
from service.demo.ledger import differences
from service.demo.receivers import LocalReceivers
from service.demo.report import Outcome, as_json, judge
from service.demo.screen import live, plain, summary
from service.errors import RoleDied, TidegateError
from service.kafka.embedded.broker import BrokerStartError, EmbeddedBroker, choose
from service.kafka.embedded.pacing import pace_empty_fetches
from service.runtime.clock import Clock, SystemClock
from service.runtime.process import say

_RESTS: Final = 2
_AT_REST: Final = 40
"""Records that may be under way at any time: ticks of every partition to every other come each second."""
_LOOK_S: Final = 0.5
_PLAIN_EVERY_S: Final = 5.0
_STALLED_S: Final = 30.0
_DRIVER_GRACE_S: Final = 20.0
_LAST_WORD_S: Final = 10.0
"""How long, after the traffic has ended, alerts may still arrive that are on their way."""
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `tidegate demo` was asked for.

    Attributes
    ----------
    seconds : float or None
        Wall time of live traffic; None: until Ctrl-C.
    speed : float
        Event time per wall time of the live traffic.
    broker : str
        `noida`, `apache`, or `auto`: noida if its wheel is here, else Apache Kafka.
    quiet : bool
        Only the summary.
    """

    seconds: float | None = None
    speed: float = 1.0
    report: Path | None = None
    broker: str = "auto"
    seed: int = 7
    backfill_hours: float = 12.0
    quiet: bool = False


def run_demo(options: DemoOptions) -> int:
    """Run the demo to its end.

    Returns
    -------
    int
        0 if every published nano-dollar is accounted for, every scripted incident was alerted and throttled, no
        launch paged, and no receiver complained; 1 if not; else the status of the error that ended it.
    """
    console = Console(quiet=options.quiet, highlight=False)
    clock = SystemClock()
    pace_empty_fetches()
    try:
        broker = _choose(options.broker)
        # From this thread, which outlives the event loop: the kernel kills the broker with it.
        with tempfile.TemporaryDirectory(prefix="tidegate-demo-") as folder, LocalReceivers() as receivers:
            began = clock.monotonic()
            with broker:
                demo = Demo(options, broker, Path(folder), receivers, console, clock, began)
                demo.progress(f"{broker.name} answers on {broker.bootstrap}")
                return asyncio.run(demo.run())
    except BrokerStartError as error:
        say(TidegateError(str(error)))
        return TidegateError.exit_code
    except TidegateError as error:
        say(error)
        return error.exit_code


class Demo:
    """One run, from the first topic to the summary."""

    def __init__(
        self,
        options: DemoOptions,
        broker: EmbeddedBroker,
        folder: Path,
        receivers: LocalReceivers,
        console: Console,
        clock: Clock,
        began: float,
    ) -> None:
        self._options = options
        self._receivers = receivers
        self._console = console
        self._clock = clock
        self._began = began
        self._board = Board()
        self._broker = broker
        self._installation = Installation(folder, broker.bootstrap, receivers)
        self._driver = self._installation.child("driver", self._driver_command(), talks=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    def progress(self, line: str) -> None:
        """One step of the start-up, with the seconds since the beginning."""
        self._console.print(f"[dim]{self._clock.monotonic() - self._began:6.1f} s[/]  {line}")

    async def run(self) -> int:
        """Run to the end and return the exit status. Raises TidegateError when it cannot go on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)
        try:
            if not await self._start_up():
                self._console.print("stopped before the live traffic began")
                return _INTERRUPTED
            await self._play()
            outcome = await self._finish()
        finally:
            await self._shut_down()
        return self._tell(outcome)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            for task in asyncio.all_tasks():
                task.cancel()
        self._stop.set()

    async def _start_up(self) -> bool:
        """False when asked to stop meanwhile."""
        topics = await self._installation.prepare()
        self.progress(f"{topics} topics, rules that enforce, Slack, PagerDuty and a webhook on this machine")
        await self._installation.start_roles(lambda role: self.progress(f"{role} is ready"))
        self._tasks.append(asyncio.create_task(follow(self._installation.settings.kafka, self._board)))
        await self._driver.start()
        self._tasks.append(asyncio.create_task(self._hear_driver()))
        hours = self._options.backfill_hours
        self.progress(f"publishing {hours:g} hours of past traffic, so that Tidegate knows what is usual")
        await self._until(lambda: self._board.caught_up, self._backfilling)
        published = sum(s.events for s in self._board.published.values())
        self.progress(f"{published:,} events published")
        await self._until(self._level, self._accounting)
        await self._learnt()
        if self._stop.is_set():
            return False
        self.progress("all of them accounted for and learnt from; the live traffic begins")
        return True

    async def _learnt(self) -> None:
        """Wait until detect has judged what ingest has written: until then it would see the live traffic late."""
        rests = 0
        while rests < _RESTS and not self._stop.is_set():
            self._check()
            lag = await self._installation.detect_lag()
            rests = rests + 1 if lag <= _AT_REST else 0
            if lag > _AT_REST:
                self.progress(f"detect still has {lag:,} rollups to learn from")
            await self._wait(1.0)

    async def _play(self) -> None:
        options, started = self._options, self._clock.monotonic()
        self._driver.say("go")
        shown = started
        with Live(console=self._console, auto_refresh=False) as screen:
            while not self._stop.is_set():
                played = self._clock.monotonic() - started
                if options.seconds is not None and played >= options.seconds:
                    return
                self._check()
                if self._console.is_terminal:
                    left = (
                        "Ctrl-C ends it"
                        if options.seconds is None
                        else f"{options.seconds - played:.0f} s left"
                    )
                    received = list(self._receivers.received)
                    screen.update(live(self._board, received, self._receivers.violations, left), refresh=True)
                elif self._clock.monotonic() - shown >= _PLAIN_EVERY_S:
                    shown = self._clock.monotonic()
                    self.progress(plain(self._board))
                await self._wait(_LOOK_S)

    async def _finish(self) -> Outcome:
        """Stop the traffic, wait until everything is accounted for and said, and judge."""
        stopped_at = self._clock.now().timestamp()
        self._console.print("the traffic ends; waiting until everything is accounted for")
        self._driver.terminate()
        await self._driver.ended(_DRIVER_GRACE_S)
        await self._within(_DRIVER_GRACE_S, lambda: self._board.ended)
        await self._settled()
        await self._within(_LAST_WORD_S, lambda: not self._judged(stopped_at).failures)
        return self._judged(stopped_at)

    def _judged(self, stopped_at: float) -> Outcome:
        receivers = self._receivers
        return judge(
            self._board, list(receivers.received), list(receivers.violations), stopped_at, self._options.speed
        )

    async def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._driver.terminate()
        await self._driver.ended(_DRIVER_GRACE_S)
        await self._installation.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self, outcome: Outcome) -> int:
        console = Console(highlight=False)
        console.print(summary(outcome, self._board))
        for failure in outcome.failures:
            console.print(f"not as it must be: {failure}", style="bold red", markup=False)
        if self._options.report is not None:
            document = as_json(outcome, self._board)
            self._options.report.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
            console.print(f"report written to {self._options.report}")
        return 1 if outcome.failures else 0

    # --- waiting ------------------------------------------------------------------------------------------

    async def _until(self, done: Callable[[], bool], state: Callable[[], str]) -> None:
        """Wait for the start-up to get somewhere, showing how far it is. Raises RoleDied when it is stuck."""
        last, moved = "", self._clock.monotonic()
        with self._console.status(state()) as status:
            while not done() and not self._stop.is_set():
                self._check()
                now = state()
                if now != last:
                    last, moved = now, self._clock.monotonic()
                    status.update(now)
                elif self._clock.monotonic() - moved > _STALLED_S:
                    raise RoleDied(f"no progress for {_STALLED_S:g} s: {now}\n{self._logs()}")
                await self._wait(_LOOK_S)

    async def _settled(self) -> None:
        """Wait until accounted equals published, as long as there is progress."""
        board, last, moved = self._board, -1, self._clock.monotonic()
        while not self._level() and self._clock.monotonic() - moved < _STALLED_S:
            self._check_roles()
            if board.accounts.records != last:
                last, moved = board.accounts.records, self._clock.monotonic()
            await asyncio.sleep(_LOOK_S)

    async def _within(self, seconds: float, done: Callable[[], bool]) -> None:
        until = self._clock.monotonic() + seconds
        while not done() and self._clock.monotonic() < until:  # noqa: ASYNC110 - it waits for the world
            await asyncio.sleep(_LOOK_S)

    async def _wait(self, seconds: float) -> None:
        """Sleep, but wake up when asked to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _level(self) -> bool:
        return bool(self._board.published) and not differences(
            self._board.published, self._board.accounts.sums()
        )

    def _check(self) -> None:
        self._driver.check()
        self._check_roles()

    def _check_roles(self) -> None:
        for child in self._installation.roles.values():
            child.check()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # --- the rest -----------------------------------------------------------------------------------------

    async def _hear_driver(self) -> None:
        async for line in self._driver.lines():
            self._board.hear(orjson.loads(line))

    def _driver_command(self) -> list[str]:
        options = self._options
        command = ["-m", "service.demo.driver", "--seed", str(options.seed), "--speed", str(options.speed)]
        command += ["--backfill-hours", str(options.backfill_hours)]
        return command if options.seconds is None else [*command, "--seconds", str(options.seconds)]

    def _backfilling(self) -> str:
        return f"{self._board.progress:.0%} of the past published, {self._accounting()}"

    def _accounting(self) -> str:
        published = sum(s.events for s in self._board.published.values())
        accounted = sum(s.events for s in self._board.accounts.sums().values())
        return f"{accounted:,} of {published:,} events accounted for"

    def _logs(self) -> str:
        children: list[Child] = [self._driver, *self._installation.roles.values()]
        return "\n".join(f"{child.name}:\n{child.tail(8)}" for child in children)


def _choose(preferred: str) -> EmbeddedBroker:
    """The demo prefers the small broker of a wheel to the real one: it is up in under a second."""
    if preferred != "auto":
        return choose(cast(Literal["apache", "noida"], preferred))
    try:
        return choose("noida")
    except BrokerStartError:
        return choose("apache")
