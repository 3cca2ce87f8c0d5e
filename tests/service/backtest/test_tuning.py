"""Proposals for one workflow: the arithmetic of pages and dollars."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from xml.etree import ElementTree

from schemas.control import Tuning, TuningScope, TuningSettings
from service.backtest.curve import curve
from service.backtest.picture import file_name, picture
from service.backtest.tuning import (
    Episode,
    Point,
    Setting,
    episodes,
    frontier,
    grid,
    point,
    proposed,
    record,
    with_setting,
)
from tests.service.backtest.test_compare import incident
from tests.service.backtest.test_judged import book

PRESENT = Setting(0.25, Decimal("0.5"), 2.0)
DOLLAR = 10**9


def priced(name: str, started: float, excess: int, told_excess: int = 0) -> object:
    return replace(incident(name, started), excess=excess, told_excess=told_excess)


def test_the_present_setting_comes_first_and_once() -> None:
    tried = grid(PRESENT, minutes=False)
    assert tried[0] == PRESENT
    assert len(set(tried)) == len(tried) == 12
    assert len(grid(replace(PRESENT, page_budget=7.0), minutes=True)) == 25


def test_what_overlaps_is_one_episode_and_people_have_the_last_word() -> None:
    one = replace(incident("a", 0.0), excess=5 * DOLLAR)
    same = replace(incident("b", 30.0), excess=8 * DOLLAR)
    later = replace(incident("c", 9_000.0), excess=DOLLAR)
    ticket = replace(incident("d", 50_000.0), severity="warning")
    (first, second) = episodes([[one, ticket], [same, later]], {}, 3 * DOLLAR)
    assert (first.excess, first.worth) == (8 * DOLLAR, "real")
    assert second.worth == "unknown"
    (first, second) = episodes([[one], [same, later]], {"b": "expected", "c": "real"}, 3 * DOLLAR)
    assert (first.worth, second.worth) == ("noise", "real")


def test_a_page_catches_what_comes_after_it() -> None:
    found = [
        Episode(0.0, 200.0, 10 * DOLLAR, "real", ()),
        Episode(1_000.0, 1_200.0, 4 * DOLLAR, "real", ()),
        Episode(5_000.0, 5_100.0, DOLLAR, "unknown", ()),
    ]
    told = [
        replace(incident("a", 0.0, 60.0), told_excess=3 * DOLLAR),
        replace(incident("b", 5_000.0), told_excess=0),
    ]
    got = point(PRESENT, told, found, months=0.5)
    assert (got.pages, got.pages_per_month, got.needless_per_month) == (2, 4.0, 2.0)
    assert (got.caught, got.missed, got.delay_s) == (7 * DOLLAR, 4 * DOLLAR, 60.0)


def at(pages: int, needless: float, caught: int) -> Point:
    return Point(PRESENT, pages, float(pages), needless, caught, 0, None)


def test_what_catches_most_within_the_budget_is_proposed() -> None:
    present, keen, calm = at(3, 1.0, 50), at(9, 3.0, 90), at(1, 0.0, 50)
    assert proposed([present, keen, calm], 0.5) is calm
    assert proposed([present, keen, calm], 4.0) is keen
    assert proposed([present, replace(present)], 1.0) is present, "nothing is changed for nothing"
    assert proposed([present, keen], 0.1) is present, "the fewest, where none keeps to it"
    assert frontier([present, keen, calm]) == [calm, keen]


def test_the_record_keeps_what_else_was_set() -> None:
    own = Tuning(
        name="mine",
        reason="noisy",
        scope=TuningScope(workflow="agent"),
        settings=TuningSettings(resolve_s=60.0, page_budget=1.0),
    )
    changed = record(book(own), "agent", Setting(4.0, Decimal(2), 2.0))
    assert (changed.name, changed.settings.resolve_s, changed.settings.page_budget) == ("mine", 60.0, 4.0)
    config = with_setting(book(), "agent", Setting(4.0, Decimal(2), 2.0)).workflow("agent")
    assert (config.page_budget, config.min_excess_usd) == (4.0, Decimal(2))
    assert with_setting(book(), "agent", PRESENT).workflow("other").page_budget == 0.25


def test_pictures_are_well_formed_whatever_a_workflow_is_called() -> None:
    one = incident("a", 1_769_817_600.0, workflow='<&"> Ünïcode/../x')
    spend = {1_769_817_600 // 60 + i: i * DOLLAR // 100 for i in range(60)}
    for live, candidate in ((one, None), (None, one), (one, replace(one, told=one.told + 600))):
        drawn = picture(spend, live, candidate)
        ElementTree.fromstring(drawn)
        assert ("not told" in drawn) == (live is None or candidate is None)
    ElementTree.fromstring(picture({}, one, None))
    ElementTree.fromstring(curve("<&>", [at(3, 1.0, DOLLAR), at(0, 0.0, 0)], at(0, 0.0, 0)))
    assert file_name(1, one).isascii()
    assert "/" not in file_name(1, one)
