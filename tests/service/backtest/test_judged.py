"""Several configurations over one history: each is judged as `tidegate replay` would with it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.alerts import Alert
from schemas.control import Tuning, TuningScope, TuningSettings, Watch
from service.backtest.account import Account
from service.backtest.alike import Alike
from service.backtest.candidate import Candidate
from service.backtest.course import Judged
from service.backtest.history import Files
from service.backtest.incident import Incidents
from service.backtest.spread import judged
from service.replay import Replay
from service.rules.config import ConfigBook, control_key
from tests.service.backtest.traffic import LOOP_AT, lines, written

Record = Tuning | Watch


def book(*records: Record) -> ConfigBook:
    found = ConfigBook.empty()
    for offset, record in enumerate(records):
        found = found.apply(control_key(record), record.to_json(), offset)
    return found


def tuning(workflow: str | None = None, **settings: object) -> Tuning:
    return Tuning(
        name="t",
        scope=TuningScope(workflow=workflow),
        settings=TuningSettings.model_validate(settings),
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files([str(written(tmp_path_factory.mktemp("history") / "events.jsonl"))])


def both(history: Files, live: ConfigBook, candidate: ConfigBook, processes: int = 1) -> Judged:
    return judged(
        history,
        [Candidate.of("live", live), Candidate.of("candidate", candidate)],
        spend=True,
        processes=processes,
    )


def replayed(candidate: ConfigBook) -> list[Alert]:
    replay, alerts = Replay(candidate), []
    for line in lines():
        alerts += effects.alerts if (effects := replay.feed(line)) else []
    return alerts + replay.drain().alerts


QUIET = tuning("agent", min_excess_usd="1000")
DEAF = tuning(None, enabled=False)
WATCHING = Watch(name="teams", scope="team")


@pytest.mark.parametrize(
    "candidate",
    [book(), book(QUIET), book(DEAF), book(tuning(None, page_budget=4.0)), book(WATCHING)],
    ids=["same", "one workflow", "all", "keener", "other rollups"],
)
def test_each_side_is_what_a_replay_of_its_own_makes(history: Files, candidate: ConfigBook) -> None:
    found = both(history, book(), candidate)
    for verdict, of in zip(found.verdicts, (book(), candidate), strict=True):
        alone = Incidents()
        for alert in replayed(of):
            alone.take(alert)
        assert verdict.incidents == alone.listed()
    assert found.verdicts[0].incidents, "the loop is told"


def test_processes_change_nothing(history: Files) -> None:
    one, two = (both(history, book(), book(DEAF), processes) for processes in (1, 2))
    assert one == two


def test_what_is_lost_is_told_with_its_dollars(history: Files) -> None:
    account = Account.of("file", both(history, book(), book(QUIET)), None)
    (lost,) = account.comparison.lost
    assert (lost.workflow, lost.pages) == ("agent", True)
    assert lost.started <= LOOP_AT + 60
    assert 0 < lost.told_excess <= lost.excess <= 7 * 10**9
    assert account.pages() == (1, 0)
    assert not account.comparison.gained
    document = account.to_dict()
    assert document["live"]["pages_per_workflow_month"] > 0
    assert document["candidate"]["pages_per_workflow_month"] == 0
    assert document["live"]["throttle_commands"]
    assert not document["candidate"]["throttle_commands"]
    assert document["history"]["workflows"] == 2


def test_what_was_before_the_compared_time_teaches_and_is_not_compared(history: Files) -> None:
    account = Account.of("file", both(history, book(), book(QUIET)), LOOP_AT + 200.0)
    assert account.comparison.same
    assert account.watch.since == LOOP_AT + 200.0


def test_spend_by_minute_adds_up(history: Files) -> None:
    seen = both(history, book(), book()).seen
    assert sum(map(sum, (minutes.values() for minutes in seen.spend.values()))) == seen.cost_nanos
    assert sum(seen.cost_of.values()) == seen.cost_nanos


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "cut.jsonl.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(Exception, match=r"cut\.jsonl\.gz"):
        both(Files([str(broken)]), book(), book())


def test_workflows_that_nothing_differs_for_are_judged_alike() -> None:
    alike = Alike(book(), book(QUIET))
    assert alike.mostly
    assert not alike.judged("agent")
    assert alike.judged("helper")
    assert alike.judged("team\x1fcare")
    assert Alike(book(QUIET), book(QUIET)).judged("agent")


@pytest.mark.parametrize(
    "record", [DEAF, WATCHING, Tuning(name="t", scope=TuningScope(team="care"), settings=TuningSettings())]
)
def test_what_may_be_about_anyone_is_judged_twice(record: Record) -> None:
    alike = Alike(book(), book(record))
    assert not alike.mostly
    assert not alike.judged("helper")
