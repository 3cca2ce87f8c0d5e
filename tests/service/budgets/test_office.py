"""Where counting begins: for everybody where it was left, for a new budget as far back as that is cheap."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.control import Budget
from service.budgets.accounts import Accounts
from service.budgets.office import Counting
from service.budgets.progress import Progress
from service.kafka import TopicPartition
from service.kafka.lane import Lane, Send
from service.runtime.clock import ManualClock
from service.settings import BudgetsSettings, Settings
from tests.service.budgets.support import T0, book
from tests.service.rules.budgets import a_budget

SOURCE = TopicPartition("tidegate.rollups", 0)
DAY_S = 86_400


class Topic:
    """One partition with a record for every second of broker time, from second `first` to T0."""

    def __init__(self, first: int, begins: int = 0) -> None:
        self._first, self._begins = first, begins
        self.at = self.end = begins + round(T0) - first

    async def beginning_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {SOURCE: self._begins}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        offset = self._begins + max(0, times[SOURCE] // 1_000 - self._first)
        return {SOURCE: SimpleNamespace(offset=offset) if offset < self.end else None}

    async def position(self, _: TopicPartition) -> int:
        return self.at

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    async def getmany(self, **_: Any) -> dict[TopicPartition, Any]:
        return {}

    def highwater(self, _: TopicPartition) -> int:
        return self.end

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}


class Written:
    def __init__(self) -> None:
        self.sends: list[Send] = []

    async def commit(self, sends: Any, next_offset: int | None) -> None:
        assert next_offset is None
        self.sends += sends

    def snapshots(self) -> list[str]:
        return [(send.key or b"").decode() for send in self.sends if send.topic == "tidegate.budgets"]


def counting(topic: Topic, *budgets: Budget, most: int = 100_000) -> tuple[Counting, Accounts, Written]:
    settings = Settings(budgets=BudgetsSettings(reread_records=most))
    accounts = Accounts({}, Progress(positions={0: topic.at}), 1)
    written = Written()
    config = SimpleNamespace(book=book(*budgets))
    clock = ManualClock(datetime.fromtimestamp(T0, UTC))
    lane = cast(Lane, written)
    return Counting(settings, topic, [SOURCE], accounts, lane, cast(Any, config), clock), accounts, written


def of_workflow(**more: Any) -> Budget:
    return a_budget(scope={"kind": "workflow", "value": "support"}, window="day", **more)


async def test_a_new_budget_of_a_workflow_goes_back_to_its_windows_start_and_waits_until_it_has_read_it() -> (
    None
):
    topic = Topic(round(T0) - 3 * DAY_S)
    end = topic.end
    some, accounts, written = counting(topic, of_workflow())
    await some.turn()
    assert topic.at == end - DAY_S // 2 - 300, "noon; and what was written shortly before midnight"
    assert accounts.accounts["care"].ledger.since == T0 - DAY_S // 2
    assert written.snapshots() == []
    assert accounts.progress.positions == {0: topic.at}, "a crash now goes on from there"
    topic.at = end
    await some.turn()
    await some.commit()
    assert written.snapshots() == ["care"]


async def test_one_whose_window_is_too_far_back_counts_from_now_on() -> None:
    topic = Topic(round(T0) - 3 * DAY_S)
    end = topic.end
    some, accounts, written = counting(topic, of_workflow(), most=1_000)
    await some.turn()
    assert topic.at == end
    assert accounts.accounts["care"].ledger.since == T0
    assert written.snapshots() == ["care"]


async def test_of_several_those_that_are_near_go_back_alone() -> None:
    topic = Topic(round(T0) - 30 * DAY_S)
    end = topic.end
    month = a_budget(name="month", scope={"kind": "organisation"})
    some, accounts, _ = counting(topic, of_workflow(), month)
    await some.turn()
    assert topic.at == end - DAY_S // 2 - 300
    assert accounts.accounts["month"].ledger.since == T0
    assert set(accounts.progress.rereading) == {"care"}


async def test_what_expired_of_the_window_is_not_claimed_to_be_counted() -> None:
    topic = Topic(round(T0) - 3_600, begins=77)
    some, accounts, _ = counting(topic, of_workflow())
    await some.turn()
    assert topic.at == 77
    assert accounts.accounts["care"].ledger.since == T0


@pytest.mark.parametrize("kind", ["team", "customer", "environment"])
async def test_one_of_a_label_has_nothing_to_go_back_to(kind: str) -> None:
    topic = Topic(round(T0) - 3 * DAY_S)
    end = topic.end
    some, accounts, _ = counting(topic, a_budget(scope={"kind": kind, "value": "x"}, window="day"))
    await some.turn()
    assert topic.at == end
    assert accounts.accounts["care"].ledger.since == T0
