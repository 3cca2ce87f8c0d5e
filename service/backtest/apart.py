"""Sides whose workflows are judged by processes apart, so that every core has something to do.

1. Here the history is read and folded, once. Each rollup goes to the process of its workflow (or scope), each tick
   to all of them; where one workflow alone is judged, it goes to all, and each has some of the configurations.
2. What is judged of a workflow depends on no other one, so the processes know nothing of each other.
3. What they tell comes back in the end, with the number of the record it was told at, and is heard here in that
   order, between the same turns of time: throttles look at all workflows together.

So what comes out is the same with any number of them, and with none.
"""

from __future__ import annotations

import multiprocessing
import traceback
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Final

import orjson

from schemas.alerts import Alert
from schemas.rollups import Rollup, Tick
from service.backtest.candidate import Candidate
from service.backtest.course import Judged, Sides
from service.backtest.incident import key_of
from service.backtest.judge import Judge, Panel
from service.backtest.side import Side
from service.errors import WorkerDied
from service.ingest.delta import Delta
from service.runtime.garbage import collect_rarely

_CHUNK: Final = 256
"""Records that are handed over at once: some 200 kB, about as much as a pipe holds."""
FEW: Final = 10_000
"""Records from which on processes are worth their start, and from which it shows which workflows are busy."""
_PATIENCE_S: Final = 5.0
"""For a process that has closed its pipe to say with what status it ends."""

Message = tuple[int, bytes | float, int, float, int]
"""Number of the record, value, offset, timestamp, partition. An instant as value: what holds from then on."""
Note = tuple[int, str, int, bytes]
"""Number of the record, whose alert, place of the configuration among all, the alert as on its topic: there are
thousands of what goes on for days, and as objects they would be ten times as large."""


class Juror:
    """Judges some workflows by some configurations, and notes what is told. `places`: which these are among all."""

    def __init__(self, candidates: Sequence[Candidate], places: Sequence[int], only: str | None) -> None:
        self._places = places
        self._panel = Panel([Judge(candidates[place].book(), only=only) for place in places])
        self.notes: list[Note] = []

    def take(self, messages: Sequence[Message]) -> None:
        """Messages in the order of their numbers."""
        for number, value, offset, timestamp, partition in messages:
            if isinstance(value, float):
                self._panel.hold(value)
                continue
            heard = self._panel.take(_read(value), offset, timestamp, partition)
            for place, alerts in zip(self._places, heard, strict=True):
                self.notes += [(number, key_of(alert), place, alert.to_json()) for alert in alerts]


class Apart(Sides):
    """Sides that leave judging to processes.

    Parameters
    ----------
    processes : int
        How many besides this one.
    after : int
        Records from which on they are worth starting: of fewer, all are judged here in the end.
    """

    def __init__(
        self, sides: Sequence[Side], *, spend: bool = False, processes: int, after: int = FEW
    ) -> None:
        super().__init__(sides, spend=spend)
        self._candidates = [Candidate.of(side.name, side.book) for side in sides]
        self._only = sides[0].only
        self._all = list(range(len(sides)))
        self._count = processes if self._only is None else min(processes, len(sides))
        self._after = after
        self._workers: list[_Worker] = []
        # None: for everybody.
        self._held_back: list[tuple[str | None, Message]] = []
        self._number = 0
        self._whose: dict[str, int] = {}
        # How far records had come, and event time, at each turn; before which turn and record what came to hold.
        self._turned_at, self._turns = array("q"), array("d")
        self._holds: list[tuple[int, int, float]] = []
        self._held = [side.judge.held for side in sides]

    def take(
        self, told: Rollup | Delta | Tick, offset: int, timestamp: float = 0.0, partition: int = 0
    ) -> None:
        """As `Sides.take`. Raises WorkerDied."""
        key = None
        if not isinstance(told, Tick):
            self.seen.note(told, spend=self._spend)
            key = told.workflow if isinstance(told, Delta) else told.key
            if self._only is not None and key != self._only:
                return
        self._send(key, (self._number, told.to_json(), offset, timestamp, partition))
        self._number += 1

    def pass_time(self, now: float) -> None:
        self._turns.append(now)
        self._turned_at.append(self._number)

    def hold(self, instant: float) -> None:
        """As `Sides.hold`. Raises WorkerDied."""
        held = [side.judge.at(instant) for side in self.sides]
        if any(now is not before for now, before in zip(held, self._held, strict=True)):
            self._held = held
            self._holds.append((len(self._turns), self._number, instant))
            self._send(None, (self._number, instant, 0, 0.0, 0))

    def _send(self, key: str | None, message: Message) -> None:
        if not self._workers:
            self._held_back.append((key, message))
            if len(self._held_back) >= self._after:
                self._start()
        else:
            self._hand(key, message)

    def _start(self) -> None:
        if self._only is None:
            shares = [self._all for _ in range(self._count)]
        else:
            shares = [self._all[i :: self._count] for i in range(self._count)]
        self._workers = [_Worker(self._candidates, share, self._only) for share in shares]
        # The busiest first, so that all have about as much to do: who is busy early mostly stays so.
        known = Counter(whose for whose, _ in self._held_back if whose is not None)
        for whose, records in known.most_common():
            self._workers[self._place(whose)].expected += records
        for key, message in self._held_back:
            self._hand(key, message)
        self._held_back = []

    def _hand(self, key: str | None, message: Message) -> None:
        if key is None or self._only is not None:
            for worker in self._workers:
                worker.take(message)
            return
        worker = self._workers[self._place(key)]
        worker.taken += 1
        worker.take(message)

    def _place(self, key: str) -> int:
        """Whose workflow it is: at first sight, that of whoever has least to do so far."""
        place = self._whose.get(key)
        if place is None:
            had = [max(worker.taken, worker.expected) for worker in self._workers]
            place = self._whose[key] = had.index(min(had))
        return place

    def judged(self) -> Judged:
        """What it came to: call it once. Raises WorkerDied."""
        if self._workers:
            for worker in self._workers:
                worker.end()
            notes = [note for worker in self._workers for note in worker.notes()]
        else:
            juror = Juror(self._candidates, self._all, self._only)
            juror.take([message for _, message in self._held_back])
            self._held_back = []
            notes = juror.notes
        # A tick may wake workflows of several processes: these are put in an order of their own.
        notes.sort(key=lambda note: note[:2])
        self._hear(notes)
        return super().judged()

    def _hear(self, notes: Sequence[Note]) -> None:
        """Notes, turns and what came to hold, in the order in which all of this was."""
        heard, holds = 0, deque(self._holds)
        for turn, (number, now) in enumerate(zip(self._turned_at, self._turns, strict=True)):
            while holds and holds[0][0] <= turn:
                _, before, instant = holds.popleft()
                heard = self._hear_until(before, notes, heard)
                super().hold(instant)
            heard = self._hear_until(number, notes, heard)
            super().pass_time(now)
        for _, before, instant in holds:
            heard = self._hear_until(before, notes, heard)
            super().hold(instant)
        self._hear_until(self._number, notes, heard)

    def _hear_until(self, number: int, notes: Sequence[Note], heard: int) -> int:
        while heard < len(notes) and notes[heard][0] < number:
            _, _, place, noted = notes[heard]
            self.sides[place].hear([Alert.__pydantic_validator__.validate_python(orjson.loads(noted))])
            heard += 1
        return heard

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process with a juror in it, from here."""

    def __init__(self, candidates: Sequence[Candidate], places: Sequence[int], only: str | None) -> None:
        # Not forked: a fork of a process that has threads, as a broker's client has, can hang.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, candidates, places, only), daemon=True)
        self._process.start()
        # Or its end would not be noticed while we hold the other one.
        theirs.close()
        self._waiting: list[Message] = []
        self.taken = self.expected = 0

    def take(self, message: Message) -> None:
        """Raises WorkerDied."""
        self._waiting.append(message)
        if len(self._waiting) >= _CHUNK:
            self._flush(self._waiting)
            self._waiting = []

    def end(self) -> None:
        """There is no more. Raises WorkerDied."""
        self._flush(self._waiting)
        self._flush(None)

    def notes(self) -> list[Note]:
        """What it has noted; call it after `end`. Raises WorkerDied, or RuntimeError: it has a bug."""
        try:
            found: list[Note] | RuntimeError = self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(found, RuntimeError):
            raise found
        return found

    def close(self) -> None:
        self._pipe.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()
        self._process.close()

    def _flush(self, messages: list[Message] | None) -> None:
        try:
            self._pipe.send(messages)
        except OSError:
            # It ended before its time, and has told why if it could.
            self.notes()
            raise self._died() from None

    def _died(self) -> WorkerDied:
        self._process.join(_PATIENCE_S)
        return WorkerDied(
            f"a process that judged some of the workflows has ended (status {self._process.exitcode}):"
            " there is no result; with --processes 1 nothing runs beside this process"
        )


def _work(pipe: Connection, candidates: Sequence[Candidate], places: Sequence[int], only: str | None) -> None:
    """In the process: take messages until there are no more, then tell what was noted."""
    try:
        juror = Juror(candidates, places, only)
        collect_rarely()
        while (messages := pipe.recv()) is not None:
            juror.take(messages)
        pipe.send(juror.notes)
    except (EOFError, KeyboardInterrupt):
        return  # nobody listens any more
    except Exception:  # noqa: BLE001 - it is raised where somebody listens
        pipe.send(RuntimeError(f"in a process that judges:\n{traceback.format_exc()}"))


def _read(value: bytes) -> Rollup | Tick:
    """A record that was checked when it was made or read."""
    document = orjson.loads(value)
    model = Tick if document["type"] == "tick" else Rollup
    record: Rollup | Tick = model.__pydantic_validator__.validate_python(document)
    return record
