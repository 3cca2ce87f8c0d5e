"""Judged by processes apart, a history comes to what it comes to here; and it comes to nothing where one dies."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from schemas.control import Rule, Tuning, TuningScope, TuningSettings
from schemas.rollups import Tick
from service.backtest import apart
from service.backtest.apart import Apart, Juror, Message
from service.backtest.candidate import Candidate
from service.backtest.course import Judged, Sides
from service.backtest.history import Files
from service.backtest.seating import Seating
from service.backtest.side import Side
from service.backtest.spread import judged
from service.errors import WorkerDied
from service.rules.config import ConfigBook, control_key
from tests.service.backtest.test_judged import DEAF, QUIET, WATCHING, book, tuning
from tests.service.backtest.traffic import LOOP_AT, T0, _event

NAMES = ("agent", "batch", "chat", "docs")
DATED = Tuning(
    name="later",
    effective_at=datetime.fromtimestamp(LOOP_AT - 100, UTC),
    expires_at=datetime.fromtimestamp(LOOP_AT + 900, UTC),
    scope=TuningScope(),
    settings=TuningSettings(enabled=False),
)
BLOCK = Rule.model_validate(
    {
        "kind": "rule",
        "name": "block",
        "action": {"action": "block", "message": "stop"},
        "mode": "dry_run",
    }
)
BLOCKING = book().apply(control_key(BLOCK), BLOCK.to_json(), 0)
CANDIDATES = {
    "same": book(),
    "one workflow": book(QUIET),
    "all": book(DEAF),
    "keener": book(tuning(None, page_budget=4.0, min_excess_usd="0.1")),
    "other rollups": book(WATCHING),
    "for a while": book(DATED),
}


class Here:
    """What stands for a process: the same juror, asked here."""

    def __init__(self, candidates: Sequence[Candidate], places: Sequence[int], only: str | None) -> None:
        self._juror = Juror(candidates, places, only)
        self.taken = self.expected = 0

    def take(self, message: Message) -> None:
        self._juror.take([message])

    def end(self) -> None:
        pass

    def notes(self) -> list[apart.Note]:
        return self._juror.notes

    def close(self) -> None:
        pass


def stream(path: Path, seed: int) -> Files:
    """Half an hour of four workflows, of which three loop, at once or one after the other."""
    chance = random.Random(seed)
    loops = {name: LOOP_AT + chance.choice((0, 0, 10, 130)) for name in chance.sample(NAMES, 3)}
    found = []
    for at in range(T0, LOOP_AT + 400, 10):
        for name in NAMES:
            for call in range(chance.choice((0, 1, 2))):
                found.append(_event(name, at + call + chance.random(), f"{at}-{call // 2}", call, 0.01))
            if loops.get(name, at + 1) <= at < loops.get(name, 0) + 60:
                usd = chance.uniform(0.01, 0.1)
                found += [_event(name, at + 8 + i / 60, "stuck", at * 100 + i, usd) for i in range(40)]
    found.sort(key=lambda event: float(str(event["occurred_at"])))
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in found))
    return Files([str(path)])


def seated(history: Files, books: Sequence[ConfigBook], seating: Seating, only: str | None = None) -> Judged:
    return history.through([Side(str(i), one, only=only) for i, one in enumerate(books)], seating)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    folder = tmp_path_factory.mktemp("streams")
    return [stream(folder / f"{seed}.jsonl", seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def history(histories: list[Files]) -> Files:
    return histories[0]


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_Worker", Here)


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(("number", "name"), list(enumerate(CANDIDATES)), ids=list(CANDIDATES))
def test_any_number_of_processes_comes_to_the_same(histories: list[Files], number: int, name: str) -> None:
    history, candidate = histories[number % 2], CANDIDATES[name]
    books = [BLOCKING, candidate.apply(control_key(BLOCK), BLOCK.to_json(), candidate.offset + 1)]
    alone = seated(history, books, Seating(1, spend=True))
    assert sum(len(verdict.incidents) for verdict in alone.verdicts) >= 3
    assert any(verdict.throttled.commands for verdict in alone.verdicts)
    assert seated(history, books, Seating(2 + number, spend=True, after=900 * (number % 2))) == alone


@pytest.mark.usefixtures("_here")
def test_of_a_short_history_all_is_judged_here(history: Files) -> None:
    books = [BLOCKING, book(DEAF)]
    assert seated(history, books, Seating(2, spend=True)) == seated(history, books, Seating(1, spend=True))


@pytest.mark.usefixtures("_here")
def test_configurations_for_one_workflow_are_shared_out(history: Files) -> None:
    books = list(CANDIDATES.values())[:4]
    alone = seated(history, books, Seating(1), only="agent")
    for processes in (3, 9):
        assert seated(history, books, Seating(processes, after=0), only="agent") == alone


def test_processes_of_their_own_come_to_the_same(history: Files) -> None:
    candidates = [Candidate.of("live", book()), Candidate.of("candidate", book(DEAF))]
    assert judged(history, candidates, processes=2) == judged(history, candidates, processes=1)


@pytest.fixture
def two() -> Iterator[Apart]:
    sides = Apart([Side("live", book()), Side("candidate", book(DEAF))], processes=2, after=0)
    sides.take(tick(0), 0)
    yield sides
    sides.close()


def tick(at: int) -> Tick:
    return Tick(partition=0, partitions=1, watermark=datetime.fromtimestamp(T0 + at, UTC))


def test_a_process_that_is_killed_leaves_no_result(two: Apart) -> None:
    process = two._workers[1]._process
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(WorkerDied, match=r"status -9.*no result"):
        two.judged()


def tell_much(sides: Apart) -> None:
    for at in range(1_000):
        sides.take(tick(at), at)


def test_a_process_that_is_killed_is_noticed_while_it_is_told(two: Apart) -> None:
    process = two._workers[0]._process
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(WorkerDied):
        tell_much(two)


def test_what_goes_wrong_in_a_process_is_raised_here(two: Apart) -> None:
    two._send(None, (1, b"{}", 0, 0.0, 0))
    with pytest.raises(RuntimeError, match="KeyError"):
        two.judged()


def fail_midway(seating: Seating, seen: list[Sides]) -> None:
    with seating.seat([[Side("live", book()), Side("candidate", book(DEAF))]]) as found:
        seen += found
        found[0].take(tick(0), 0)
        raise ValueError("odd")


def test_processes_are_ended_whatever_happens() -> None:
    seen: list[Sides] = []
    with pytest.raises(ValueError, match="odd"):
        fail_midway(Seating(2, after=0), seen)
    (sides,) = seen
    assert isinstance(sides, Apart)
    assert len(sides._workers) == 2
    for worker in sides._workers:
        with pytest.raises(ValueError, match="closed"):
            worker._process.is_alive()
