"""Tidegate over a labelled stream: the same path as `tidegate replay`, from JSON lines to alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from benchmarks.detection.stream import Calls, Page, Stream
from benchmarks.detection.traffic import MODELS
from schemas.alerts import Alert
from schemas.control import Launch, Tuning, TuningSettings
from schemas.rollups import Rollup, Tick
from service.detect.desk import Desk
from service.detect.state import WorkflowState
from service.replay import Replay
from service.rules.config import ConfigBook


def lines(stream: Stream) -> Iterator[bytes]:
    """The stream in the wire format, a cost event per line."""
    calls: Calls = stream.calls
    head = f'","workflow":"{stream.workflow}"'
    models = [f',"provider":"{provider}","model":"{model}"' for provider, model, *_ in MODELS]
    columns = zip(
        calls.t.tolist(),
        calls.trace.tolist(),
        calls.customer.tolist(),
        calls.key.tolist(),
        calls.model.tolist(),
        calls.input.tolist(),
        calls.cached.tolist(),
        calls.output.tolist(),
        calls.cost.tolist(),
        calls.error.tolist(),
        strict=True,
    )
    for i, (t, trace, customer, key, model, input_, cached, output, cost, error) in enumerate(columns):
        yield (
            f'{{"event_id":"{i}{head}{models[model]},"occurred_at":{t:.3f},"trace_id":"t{trace}"'
            f',"customer":"c{customer}","api_key":"k{key}","input_tokens":{input_}'
            f',"cached_input_tokens":{cached},"output_tokens":{output}'
            f',"cost_usd":"{cost // 1_000_000_000}.{cost % 1_000_000_000:09d}"'
            f',"status":"{"error" if error else "success"}"}}'
        ).encode()


def book_of(stream: Stream, page_budget: float | None = None) -> ConfigBook:
    """What ops announced, backfills, and what they tuned: nothing, or the page budget."""
    book = ConfigBook.empty()
    if page_budget is not None:
        tuning = Tuning(name="all", settings=TuningSettings(page_budget=page_budget))
        book = book.apply("tuning/all", tuning.to_json(), len(stream.episodes))
    for i, episode in enumerate(stream.episodes):
        if episode.kind == "backfill":
            book = book.apply(f"launch/backfill-{i}", _announced(stream, i), i)
    return book


def alerts_of(stream: Stream, page_budget: float | None = None) -> list[Page]:
    """Everything that fired, once each, in order of time."""
    return alerts_at(stream, [page_budget])[0]


def alerts_at(stream: Stream, page_budgets: Sequence[float | None]) -> list[list[Page]]:
    """The same at each of several page budgets. The stream is read once, which is half of the work."""
    books = [book_of(stream, budget) for budget in page_budgets]
    replay = _SideBySide(books)
    fired: list[Page] = []
    for line in lines(stream):
        effects = replay.feed(line)
        if effects is not None:
            fired += _pages(effects.alerts)
    fired += _pages(replay.drain().alerts)
    return [fired, *(beside.fired for beside in replay.beside)]


class _SideBySide(Replay):
    """A replay of the first configuration, whose records desks of the others are given too."""

    def __init__(self, books: Sequence[ConfigBook]) -> None:
        super().__init__(books[0])
        self.beside = [_Beside(book) for book in books[1:]]

    def judge(self, record: Rollup | Tick) -> list[Alert]:
        for beside in self.beside:
            beside.judge(record)
        return super().judge(record)


class _Beside:
    """One more desk."""

    def __init__(self, book: ConfigBook) -> None:
        self.fired: list[Page] = []
        self._book = book
        self._states: dict[str, WorkflowState] = {}
        self._desk = Desk(0, self._states.get)
        self._offset = 0

    def judge(self, record: Rollup | Tick) -> None:
        applied = self._desk.apply(record, self._offset, 0.0, self._book)
        self._offset += 1
        self._states.update(applied.changed)
        self.fired += _pages(applied.effects.alerts)


def _pages(alerts: Sequence[Alert]) -> list[Page]:
    return [page for alert in alerts if (page := _page(alert)) is not None]


def _page(alert: Alert) -> Page | None:
    if alert.sequence != 1 or alert.fired_at is None:
        return None
    return Page(
        at=alert.fired_at.timestamp(),
        started=alert.started_at.timestamp(),
        kind=alert.kind,
        severity=alert.severity,
        excess_nanos=alert.excess_nanos,
        score=alert.verdict.score,
    )


def _announced(stream: Stream, index: int) -> bytes:
    episode = stream.episodes[index]
    launch = Launch(
        name=f"backfill-{index}",
        workflow=stream.workflow,
        starts_at=datetime.fromtimestamp(int(episode.start), UTC),
        ends_at=datetime.fromtimestamp(int(episode.end) + 1, UTC),
        volume_multiple=2 * episode.size,
        cap_usd=Decimal(1_000_000),
        owner="ops",
    )
    return launch.to_json()
