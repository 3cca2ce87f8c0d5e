"""The book of control records: what holds for whom, what a bad record changes (nothing), what a version says."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import CONTROL_KINDS, Control, TuningSettings
from schemas.reasons import Reason, Refused
from service.rules.config import ConfigBook, WorkflowConfig

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def record(kind: str, name: str, **fields: Any) -> tuple[str, bytes]:
    return f"{kind}/{name}", json.dumps({"kind": kind, "name": name, **fields}).encode()


def tuning(name: str, scope: dict[str, str], **fields: Any) -> tuple[str, bytes]:
    return record("tuning", name, scope=scope, settings=fields)


def book_of(*records: tuple[str, bytes | None]) -> ConfigBook:
    book = ConfigBook.empty()
    for offset, (key, value) in enumerate(records):
        book = book.apply(key, value, offset)
    return book


GLOBAL = tuning("all", {}, page_budget=7.0, repeat_s=30.0, launch_multiple=5.0, resolve_s=100.0)
TEAM = tuning("support", {"team": "support"}, page_budget=8.0, repeat_s=31.0, launch_multiple=6.0)
WIDE = tuning("wide", {"workflow": "support-*"}, page_budget=9.0, repeat_s=32.0)
NARROW = tuning("narrow", {"workflow": "support-agent-*"}, page_budget=10.0)
EXACT = tuning("exact", {"workflow": "support-agent-eu"}, page_budget=11.0)


@pytest.mark.parametrize(
    ("workflow", "team", "z", "repeat", "launch", "resolve"),
    [
        ("billing", None, 7.0, 30.0, 5.0, 100.0),
        ("billing", "support", 8.0, 31.0, 6.0, 100.0),
        ("billing", "Support", 7.0, 30.0, 5.0, 100.0),
        ("support-bot", "support", 9.0, 32.0, 6.0, 100.0),
        ("support-agent-us", "support", 10.0, 32.0, 6.0, 100.0),
        ("support-agent-eu", "support", 11.0, 32.0, 6.0, 100.0),
        ("support-agent-eu", None, 11.0, 32.0, 5.0, 100.0),
    ],
)
def test_the_narrower_scope_wins_field_by_field(
    workflow: str, team: str | None, z: float, repeat: float, launch: float, resolve: float
) -> None:
    config = book_of(EXACT, NARROW, WIDE, TEAM, GLOBAL).workflow(workflow, team)
    assert (config.page_budget, config.repeat_s) == (z, repeat)
    assert (config.launch_multiple, config.resolve_s) == (launch, resolve)
    assert config.trace_quantile == WorkflowConfig().trace_quantile, "what nobody tunes is the default"


def test_of_two_patterns_of_one_length_the_later_name_wins() -> None:
    one = tuning("a", {"workflow": "*-agent"}, page_budget=2.0)
    other = tuning("b", {"workflow": "eu-ag*"}, page_budget=3.0)
    for records in ((one, other), (other, one)):
        assert book_of(*records).workflow("eu-agent").page_budget in {2.0, 3.0}
    assert book_of(one, other).workflow("eu-agent") == book_of(other, one).workflow("eu-agent")
    same = tuning("b", {"workflow": "*-agent"}, page_budget=3.0)
    assert book_of(same, one).workflow("eu-agent").page_budget == 3.0


def test_a_setting_that_is_null_inherits_and_one_that_is_false_does_not() -> None:
    book = book_of(
        tuning("all", {}, enabled=True, pending_s=5.0),
        tuning("x", {"workflow": "x"}, enabled=False, pending_s=None),
        tuning("y", {"workflow": "y"}, pending_s=0.0),
    )
    assert book.workflow("x").enabled is False
    assert book.workflow("x").pending_s == 5.0
    assert book.workflow("y").pending_s == 0.0


def test_every_setting_that_can_be_tuned_is_one_that_holds() -> None:
    assert set(TuningSettings.model_fields) == set(WorkflowConfig.__dataclass_fields__)


def test_every_default_lies_within_the_bounds_of_its_tuning() -> None:
    defaults = {
        name: str(value) if isinstance(value := getattr(WorkflowConfig(), name), Decimal) else value
        for name in TuningSettings.model_fields
    }
    book = book_of(tuning("all", {}, **defaults))
    assert book.workflow("w") == WorkflowConfig()


BAD = [
    ("tuning/x", b"", Reason.EMPTY, ""),
    ("tuning/x", b"{", Reason.INVALID_JSON, ""),
    ("tuning/x", b"[]", Reason.NOT_AN_OBJECT, ""),
    ("tuning/x", b'{"name":"x"}', Reason.MISSING_FIELD, "kind"),
    ("tuning/x", b'{"kind":"tunning","name":"x"}', Reason.INVALID_VALUE, "kind"),
    ("tuning/x", b'{"kind":["tuning"],"name":"x"}', Reason.INVALID_VALUE, "kind"),
    ("tuning/x", b'{"kind":"tuning","kind":"rule","name":"x"}', Reason.DUPLICATE_KEY, "kind"),
    (
        "tuning/x",
        tuning("x", {}, page_budgets=3.0)[1],
        Reason.UNKNOWN_FIELD,
        "settings.page_budgets",
    ),
    ("tuning/x", tuning("x", {}, page_budget=0.0)[1], Reason.OUT_OF_RANGE, "settings.page_budget"),
    ("tuning/x", tuning("x", {}, min_excess_usd="-1")[1], Reason.NEGATIVE, "settings.min_excess_usd"),
    ("tuning/x", tuning("x", {}, min_excess_usd="NaN")[1], Reason.NOT_FINITE, "settings.min_excess_usd"),
    (
        "tuning/x",
        tuning("x", {}, data_quality_share=1.1)[1],
        Reason.OUT_OF_RANGE,
        "settings.data_quality_share",
    ),
    (
        "tuning/x",
        tuning("x", {}, data_quality_min_calls=0)[1],
        Reason.OUT_OF_RANGE,
        "settings.data_quality_min_calls",
    ),
    ("tuning/y", tuning("x", {})[1], Reason.INVALID_VALUE, "name"),
    ("rule/x", tuning("x", {})[1], Reason.INVALID_VALUE, "name"),
    (
        "tuning/x",
        record("tuning", "x", scope={"team": "a", "workflow": "b"}, settings={})[1],
        Reason.INVALID_VALUE,
        "scope",
    ),
    (
        "switch/other",
        record("switch", "other", state="off")[1],
        Reason.INVALID_VALUE,
        "name",
    ),
    (
        "launch/l",
        record(
            "launch",
            "l",
            workflow="w",
            starts_at="2026-01-02T00:00:00Z",
            ends_at="2026-01-01T00:00:00Z",
            volume_multiple=3.0,
            cap_usd="10",
            owner="o",
        )[1],
        Reason.OUT_OF_RANGE,
        "",
    ),
]


@pytest.mark.parametrize(("key", "value", "reason", "path"), BAD)
def test_a_bad_record_is_refused_with_its_path_and_the_old_book_holds(
    key: str, value: bytes, reason: Reason, path: str
) -> None:
    book = book_of(tuning("x", {}, page_budget=7.5))
    version, records = book.version, dict(book.records)
    with pytest.raises(Refused) as refused:
        book.apply(key, value, 9)
    assert (refused.value.reason, refused.value.path) == (reason, path)
    assert (book.version, dict(book.records)) == (version, records)
    assert book.workflow("w").page_budget == 7.5


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_whatever_bytes_come_only_refusals_leave(value: bytes) -> None:
    with pytest.raises(Refused):
        ConfigBook.empty().apply("tuning/x", value, 0)


def test_a_tombstone_takes_a_record_out_and_one_for_nothing_is_fine() -> None:
    book = book_of(GLOBAL, EXACT)
    without = book.apply(EXACT[0], None, 2)
    assert without.workflow("support-agent-eu").page_budget == 7.0
    assert book.workflow("support-agent-eu").page_budget == 11.0, "the old book is a snapshot"
    assert without.apply("tuning/never-was", None, 3).records == without.records


def test_a_record_replaces_the_one_of_its_key_whole() -> None:
    book = book_of(tuning("x", {}, page_budget=7.5, repeat_s=20.0), tuning("x", {}, repeat_s=25.0))
    assert book.workflow("w").page_budget == WorkflowConfig().page_budget
    assert book.workflow("w").repeat_s == 25.0


def random_records(seed: int, n: int) -> list[tuple[str, bytes]]:
    dice = random.Random(seed)
    found = []
    for i in range(n):
        scope = dice.choice([{}, {"team": "t"}, {"workflow": "w*"}, {"workflow": "w?"}, {"workflow": "w1"}])
        fields = {"page_budget": dice.uniform(1, 99)} if dice.random() < 0.7 else {"repeat_s": 20.0 + i}
        found.append(tuning(f"n{i}", scope, **fields))
    return found


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_records_of_different_keys_changes_nothing(
    seed: int, n: int, dice: random.Random
) -> None:
    records = random_records(seed, n)
    shuffled = list(records)
    dice.shuffle(shuffled)
    one, other = book_of(*records), book_of(*shuffled)
    assert one.version == other.version
    for workflow in ("w", "w1", "w2", "x"):
        for team in (None, "t"):
            assert one.workflow(workflow, team) == other.workflow(workflow, team)


def test_a_version_names_what_holds_and_not_what_was_read() -> None:
    """A worker that starts after compaction never sees the tombstones, and judges by the same version."""
    lived = book_of(GLOBAL, EXACT, (EXACT[0], None))
    late = ConfigBook.empty().apply(GLOBAL[0], GLOBAL[1], 0)
    assert lived.version == late.version
    assert lived.apply(GLOBAL[0], None, 7).version == ConfigBook.empty().version == "defaults"


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12))
def test_a_version_tells_content_and_offset(seed: int, n: int) -> None:
    records = random_records(seed, n)
    book = ConfigBook.empty()
    versions = [book.version]
    for offset, (key, value) in enumerate(records):
        book = book.apply(key, value, offset)
        versions.append(book.version)
    assert len(set(versions)) == len(versions)
    again = book_of(*records)
    assert again.version == book.version
    digest = book.version.partition("-")[2]
    assert book.apply(records[0][0], records[0][1], 99).version == f"99-{digest}"
    changed = book.apply(records[0][0], None, 99)
    assert changed.version.partition("-")[2] != digest
    assert changed.apply(records[0][0], records[0][1], 99).version == f"99-{digest}", "a set, not a history"


def test_fields_written_in_another_order_are_the_same_content() -> None:
    one = ConfigBook.empty().apply("tuning/x", b'{"kind":"tuning","name":"x","settings":{"repeat_s":9}}', 0)
    other = ConfigBook.empty().apply(
        "tuning/x", b'{"name":"x", "settings":{"repeat_s":9.0}, "kind":"tuning"}', 0
    )
    assert one.version == other.version


def test_no_version_is_made_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version takes every record: made with each of 2,000 records it took 8 s to catch up with them."""
    made: list[int] = []

    def version(records: Mapping[str, Control], offset: int) -> str:
        made.append(offset)
        return "v"

    monkeypatch.setattr("service.rules.config._version", version)
    book = book_of(*random_records(1, 2_000))
    assert len(book.records) == 2_000
    assert made == []
    assert [book.version, book.version] == ["v", "v"]
    assert made == [1_999]
    assert book.workflow("w1").page_budget > 1


def test_the_switch_is_on_until_it_is_off() -> None:
    assert ConfigBook.empty().throttles_on
    off = book_of(record("switch", "throttles", state="off"))
    assert not off.throttles_on
    assert off.apply("switch/throttles", None, 1).throttles_on
    assert off.apply(*record("switch", "throttles", state="on"), 1).throttles_on


def test_the_launch_that_covers_an_instant_is_found() -> None:
    def launch(name: str, workflow: str, start: datetime, hours: int) -> tuple[str, bytes]:
        return record(
            "launch",
            name,
            workflow=workflow,
            starts_at=start.isoformat(),
            ends_at=(start + timedelta(hours=hours)).isoformat(),
            volume_multiple=20.0,
            cap_usd="500",
            owner="growth",
        )

    book = book_of(launch("a", "shop-*", NOON, 4), launch("b", "shop-eu", NOON + timedelta(hours=1), 1))
    found = {
        hours: getattr(book.launch("shop-eu", NOON + timedelta(hours=hours)), "name", None)
        for hours in (-1, 0, 1, 2, 4)
    }
    assert found == {-1: None, 0: "a", 1: "b", 2: "a", 4: None}
    assert book.launch("blog", NOON) is None


def test_each_kind_is_found_by_its_own_name() -> None:
    book = book_of(
        record("rule", "r2", action={"action": "slow", "max_rps": 1.0}),
        record("rule", "r1", action={"action": "slow", "max_rps": 2.0}),
        record("route", "ops", receivers=["slack"]),
    )
    assert [rule.name for rule in book.rules] == ["r1", "r2"], (
        "by key: which rule is first must not depend on time"
    )
    assert [route.name for route in book.routes] == ["ops"]
    assert (book.prices, book.silences, book.budgets) == ([], [], [])
    assert set(CONTROL_KINDS) >= {"rule", "route", "price", "silence", "budget"}


def test_resolving_is_remembered_per_workflow_and_team() -> None:
    book = book_of(GLOBAL, TEAM)
    assert book.workflow("w", "support") is book.workflow("w", "support")
    assert book.workflow("w", "support") is not book.workflow("w", None)
    assert all(a != b for a, b in pairwise([book.workflow("w", t).page_budget for t in (None, "support")]))


def test_every_tunable_has_a_default() -> None:
    assert set(TuningSettings.model_fields) == {f.name for f in fields(WorkflowConfig)}


def test_doubts_about_the_data_are_tuned_as_all_else_and_can_be_switched_off() -> None:
    book = book_of(
        tuning("all", {}, data_quality_share=0.5),
        tuning("batch", {"workflow": "batch"}, data_quality_share=0.0),
    )
    assert book.workflow("chat").data_quality_share == 0.5
    assert book.workflow("batch").data_quality_share == 0.0
    assert book.workflow("batch").data_quality_min_calls == 20
