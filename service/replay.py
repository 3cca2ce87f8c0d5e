"""A recorded stream of cost events through the same fold and step as production, without a broker.

Time is the events' own, so the same input and configuration give byte-identical output, on any machine and at
any speed. The last line of a file does not end time: what is still open stays open.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.alerts import Alert
from schemas.money import usd
from schemas.rollups import BUCKET_SECONDS, Rollup, Tick
from schemas.throttles import ThrottleCommand
from service.commands.control_files import read_files
from service.commands.lines import UNREADABLE, Source
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.errors import InvalidInput
from service.ingest.delta import Delta
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.ingest.scopes import Watching
from service.rules.config import ConfigBook
from service.runtime.garbage import collect_rarely
from service.settings import IngestSettings
from service.throttles import desk as throttles_desk

_NO_FUTURE_MS: Final = 32_503_680_000_000
"""Year 3000: a file has no broker time against which an event could lie in the future."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DRAIN_RECORDS: Final = 5_000
_DRAIN_S: Final = 1.0
_MAX_STRIDE: Final = 1_024


@dataclass(slots=True)
class Tally:
    """What a replay amounts to. Money in nano-dollars."""

    lines: int = 0
    events: int = 0
    duplicates: int = 0
    late: int = 0
    unattributed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unpriced: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    throttles: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Effects:
    """What production would have sent."""

    alerts: list[Alert] = field(default_factory=list)
    throttles: list[ThrottleCommand] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.alerts or self.throttles)


class Replay:
    """One lane and one desk of each stage, fed line by line. No gateway answers, and none obeys.

    Parameters
    ----------
    book : ConfigBook
        Its records hold for the whole stream, or between their dates, which are looked at in event time.
    settings : IngestSettings
        The same that production has: lateness, dedup window, bounds.
    """

    def __init__(self, book: ConfigBook, settings: IngestSettings | None = None) -> None:
        self.book = book
        self.tally = Tally()
        self.states: dict[str, WorkflowState] = {}
        self._held = book.at(_EPOCH)
        self._pricer, self._watching = Pricer(self._held.prices), Watching(self._held.watches)
        self._fold = Fold(0, 1, settings or IngestSettings(), self._pricer, watching=self._watching)
        self._desk = Desk(0, self.states.get)
        self._throttles = throttles_desk.Desk(ack_wait_s=float("inf"))
        self._throttles.use(self._held)
        self._offset = 0
        self._drained_at = 0.0
        self._waiting: list[RawRecord] = []
        self._stride = 1

    def feed(self, line: bytes) -> Effects | None:
        """One event as JSON. Returns effects when time has come far enough to judge, else None."""
        self._waiting.append(RawRecord(0, self.tally.lines, _NO_FUTURE_MS, None, line, ()))
        self.tally.lines += 1
        if len(self._waiting) < self._stride:
            return None
        self._take()
        ahead = self._fold.watermark - self._drained_at
        if ahead >= BUCKET_SECONDS or (self._fold.records >= _DRAIN_RECORDS and ahead >= _DRAIN_S):
            return self.drain()
        return None

    def _take(self) -> None:
        """Fold what waits. Many at once are cheaper; so many that they span a second are early enough."""
        before, count = self._fold.watermark, len(self._waiting)
        self._fold.take(self._waiting)
        self._waiting = []
        passed = self._fold.watermark - before
        self._stride = min(int(count / passed) + 1 if passed > 0 else 2 * count, _MAX_STRIDE)

    def drain(self) -> Effects:
        """Judge everything fed so far."""
        if self._waiting:
            self._take()
        self._drained_at = self._fold.watermark
        self._hold()
        batch = self._fold.drain()
        tally = self.tally
        tally.events += batch.events
        tally.duplicates += batch.duplicates
        tally.late += batch.late
        tally.unattributed += batch.unattributed
        tally.refused.update(letter.reason.value for letter in batch.dead_letters)
        for (kind, provider, model), calls in batch.faults.items():
            if kind == "unpriced":
                tally.unpriced[f"{provider}/{model}"] += calls
        effects = Effects()
        for told in batch.in_time():
            effects.alerts += self.tell(told)
        for alert in effects.alerts:
            self._throttles.take(alert)
        if effects.alerts or self._throttles.due() <= self._drained_at:
            said = self._throttles.turn(self._drained_at)
            effects.throttles += said.commands
            effects.alerts += said.alerts
        for alert in effects.alerts:
            tally.alerts[f"{alert.severity}/{alert.kind}/{alert.status}"] += 1
        for command in effects.throttles:
            tally.throttles[f"{command.action.action}/{command.mode}"] += 1
        return effects

    def _hold(self) -> None:
        """Go by the records that hold at the watermark, as live workers go by those that hold by their clock."""
        held = self.book.at(_EPOCH + timedelta(seconds=max(self._drained_at, 0.0)))
        if held is not self._held:
            self._held = held
            self._pricer.use(held.prices)
            self._watching.use(held.watches)
            self._throttles.use(held)

    def tell(self, told: Delta | Tick) -> list[Alert]:
        """What the fold has made of the lines, as the next stage reads it."""
        return self.judge(told if isinstance(told, Tick) else told.rollup())

    def judge(self, record: Rollup | Tick) -> list[Alert]:
        """Apply what ingest has made of the lines: each record once, in order."""
        applied = self._desk.apply(record, self._offset, 0.0, self._held)
        self._offset += 1
        self.states.update(applied.changed)
        return applied.effects.alerts

    def summary(self) -> dict[str, Any]:
        """Totals as plain data, in a fixed order."""
        tally = self.tally
        workflows = {name: state for name, state in sorted(self.states.items()) if state.scope is None}
        cost = sum(state.totals.cost for state in workflows.values())
        return {
            "lines": tally.lines,
            "events": tally.events,
            "duplicates": tally.duplicates,
            "late": tally.late,
            "unattributed": tally.unattributed,
            "refused": dict(sorted(tally.refused.items())),
            "unpriced": dict(sorted(tally.unpriced.items())),
            "cost_nanos": cost,
            "alerts": dict(sorted(tally.alerts.items())),
            "throttles": dict(sorted(tally.throttles.items())),
            "config_version": self.book.version,
            "workflows": {
                name: {
                    "calls": state.totals.calls,
                    "errors": state.totals.errors,
                    "cost_nanos": state.totals.cost,
                    "unpriced_calls": state.totals.unpriced_calls,
                    "input_tokens": state.totals.input_tokens,
                    "output_tokens": state.totals.output_tokens,
                }
                for name, state in workflows.items()
            },
        }


def run_replay(
    source: str,
    config: Path | None,
    alerts: Path | None,
    throttles: Path | None,
    summary: Path | None,
    progress: bool,
) -> int:
    """The command `tidegate replay`. Returns the exit status.

    Raises
    ------
    InvalidInput
        A file cannot be read, or a control record in `config` is refused (with its path).
    """
    replay = Replay(load_book(config))
    collect_rarely()
    console = Console(stderr=True)
    began = perf_counter()
    lines = Source(source)
    with ExitStack() as stack:
        sinks = [stack.enter_context(path.open("wb")) if path else None for path in (alerts, throttles)]
        show = stack.enter_context(_progress(console, lines, began)) if progress else None
        try:
            for block in lines.blocks():
                for line in block:
                    if effects := replay.feed(line.rstrip(b"\r")):
                        _write(effects, *sinks)
                if show is not None:
                    show(replay.tally.lines)
        except UNREADABLE as error:
            raise InvalidInput(f"{lines.name}: after line {replay.tally.lines}: {error}") from None
        _write(replay.drain(), *sinks)
    result = replay.summary()
    if summary is not None:
        # Not orjson: sums may have more than 64 bits.
        summary.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _tell(console, result, perf_counter() - began)
    return 0


def load_book(config: Path | None) -> ConfigBook:
    """A configuration file (YAML or JSON, one or many control records) as a book. Raises InvalidInput."""
    book = ConfigBook.empty()
    if config is not None:
        found, problems = read_files([config])
        if problems:
            raise InvalidInput("; ".join(str(problem) for problem in problems))
        for offset, item in enumerate(found):
            book = book.apply(item.key, item.record.to_json(), offset)
    return book


@contextmanager
def _progress(console: Console, lines: Source, began: float) -> Iterator[Any]:
    columns = (
        TextColumn("replay"),
        BarColumn(),
        TextColumn("{task.fields[count]:,} events"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replay", total=lines.size, count=0, rate=0.0)

        def show(count: int) -> None:
            bar.update(
                task, completed=lines.consumed, count=count, rate=count / max(perf_counter() - began, 1e-9)
            )

        yield show


def _write(effects: Effects, alerts: IO[bytes] | None, throttles: IO[bytes] | None) -> None:
    if alerts is not None:
        alerts.writelines(alert.to_json() + b"\n" for alert in effects.alerts)
    if throttles is not None:
        throttles.writelines(command.to_json() + b"\n" for command in effects.throttles)


def _tell(console: Console, result: dict[str, Any], seconds: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    refused = sum(result["refused"].values())
    console.print(
        f"{result['lines']:,} lines in {seconds:.1f} s ({result['lines'] / max(seconds, 1e-9):,.0f}/s),"
        f" peak memory {peak_mb:,.0f} MB\n"
        f"{result['events']:,} events, {result['duplicates']:,} duplicates, {refused:,} refused,"
        f" ${usd(result['cost_nanos']):,.4f} in {len(result['workflows']):,} workflows,"
        f" {sum(n for k, n in result['alerts'].items() if k.endswith('/firing')):,} alert records"
    )
    for reason, count in result["refused"].items():
        console.print(f"  refused {count:,}: {reason}")
