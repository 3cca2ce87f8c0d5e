"""Accounts with a few budgets, and the records that reach them."""

from __future__ import annotations

from schemas.control import Budget
from service.budgets.accounts import Accounts
from service.budgets.entry import Passage, Spend
from service.budgets.progress import Progress
from service.rules.config import ConfigBook
from tests.service.rules.budgets import USD, at

T0 = at("2026-03-10T12:00:00")
"""A Tuesday noon: twelve hours into the day of UTC."""


def book(*budgets: Budget) -> ConfigBook:
    found = ConfigBook.empty()
    for offset, budget in enumerate(budgets):
        found = found.apply(f"budget/{budget.name}", budget.to_json(), offset)
    return found


def accounts(*budgets: Budget, wall: float = T0, partitions: int = 1) -> Accounts:
    found = Accounts({}, Progress(), partitions)
    found.use(book(*budgets), wall)
    return found


def spend(
    usd: float = 1.0, *, of: str = "care", kind: str = "team", when: float = T0, tokens: int = 0
) -> Spend:
    return Spend(kind, of, when // 10 * 10, when, round(usd * USD), tokens)


def tick(watermark: float, *, source: int = 0, sources: int = 1, idle: bool = False) -> Passage:
    return Passage(source, sources, watermark, idle)
