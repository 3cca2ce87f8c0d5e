"""`config explain` in words: values with their records, and records in short."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from service.commands.config_explained import as_json, as_text
from service.commands.control_files import read_files
from service.rules.config import ConfigBook
from service.rules.config_explain import Explanation, explain

MEDIUM = Path(__file__).parents[3] / "deploy" / "examples" / "medium"


def explained(workflow: str, team: str | None) -> Explanation:
    book = ConfigBook.empty()
    for offset, item in enumerate(read_files([MEDIUM])[0]):
        book = book.apply(item.key, item.record.to_json(), offset)
    return explain(book, workflow, team, datetime(2026, 3, 1, tzinfo=UTC))


def test_each_value_names_the_record_that_set_it_and_those_it_overrides() -> None:
    lines = [" ".join(line.split()) for line in as_text(explained("batch-nightly", "search"))]
    assert "min_excess_usd $5 team: tuning/search, over $1 of tuning/all" in lines
    assert "pending_s 300 pattern: tuning/batches" in lines
    assert "enabled true default" in lines


def test_records_are_shown_in_short_and_with_what_they_do() -> None:
    lines = list(as_text(explained("batch-nightly", "search")))
    (rule,) = [line for line in lines if "rule/20-cheaper-model" in line]
    assert "action: {action: downgrade, fallback_model: gpt-5-mini}" in rule
    assert "{action: {action: slow, max_rps: 5.0}, hold_s: 120.0}" in rule
    assert "min_s" not in rule, "a default says nothing"
    assert "launches: none" in lines


def test_without_a_team_it_says_what_it_does_not_know() -> None:
    assert "without --team: records of teams are not looked at" in list(as_text(explained("chat", None)))


def test_programs_get_the_same() -> None:
    document = as_json(explained("batch-nightly", "search"))
    assert document["values"]["min_excess_usd"] == {
        "value": "5",
        "level": "team",
        "record": "tuning/search",
        "overrides": ["tuning/all"],
    }
    assert [budget["name"] for budget in document["budgets"]] == ["team-search"]
    assert document["launches"] == []
