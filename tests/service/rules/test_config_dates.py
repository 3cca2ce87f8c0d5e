"""What holds when: records with dates, and why a workflow is judged as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Tuning
from service.rules.config import ConfigBook
from service.rules.config_explain import explain

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def book_of(*documents: dict[str, Any]) -> ConfigBook:
    book = ConfigBook.empty()
    for offset, document in enumerate(documents):
        book = book.apply(f"{document['kind']}/{document['name']}", json.dumps(document).encode(), offset)
    return book


def tuning(name: str, pending_s: float, scope: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    settings = {"pending_s": pending_s}
    return {"kind": "tuning", "name": name, "scope": scope or {}, "settings": settings, **fields}


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_a_record_holds_from_its_first_instant_to_its_last() -> None:
    book = book_of(
        tuning("all", 1.0), tuning("z", 2.0, effective_at=text(NOON), expires_at=text(NOON + HOUR))
    )
    seen = [
        book.at(at).workflow("w").pending_s
        for at in (
            NOON - timedelta(microseconds=1),
            NOON,
            NOON + HOUR - timedelta(microseconds=1),
            NOON + HOUR,
        )
    ]
    assert seen == [1.0, 2.0, 2.0, 1.0]


def test_a_book_without_dates_is_itself_at_any_time() -> None:
    book = book_of(tuning("all", 1.0))
    assert book.at(NOON) is book
    assert book.next_date(NOON) is None


def test_between_two_dates_it_is_the_same_book() -> None:
    book = book_of(tuning("all", 1.0), tuning("z", 2.0, effective_at=text(NOON)))
    assert book.at(NOON - HOUR) is book.at(NOON - 2 * HOUR)
    assert book.at(NOON) is book, "everything holds"
    assert book.next_date(NOON - HOUR) == NOON
    assert book.next_date(NOON) is None


def test_the_version_is_that_of_what_holds() -> None:
    plain = book_of(tuning("all", 1.0))
    dated = book_of(tuning("all", 1.0), tuning("z", 2.0, effective_at=text(NOON)))
    assert dated.at(NOON - HOUR).version == plain.version
    assert dated.at(NOON).version != plain.version


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 20), st.none() | st.integers(0, 20)), max_size=8),
    st.integers(-1, 21),
)
def test_it_is_what_each_record_says_of_itself(dates: list[tuple[int | None, int | None]], hour: int) -> None:
    documents = []
    for number, (start, end) in enumerate(dates):
        given_dates: dict[str, Any] = {}
        if start is not None:
            given_dates["effective_at"] = text(NOON + start * HOUR)
        if end is not None and (start is None or end > start):
            given_dates["expires_at"] = text(NOON + end * HOUR)
        documents.append(tuning(f"t{number}", 1.0, **given_dates))
    book, at = book_of(*documents), NOON + hour * HOUR
    wanted = {key for key, record in book.records.items() if record.holds(at)}
    assert set(book.at(at).records) == wanted
    following = book.next_date(at)
    if following is not None:
        assert set(book.at(following - timedelta(microseconds=1)).records) == wanted


def test_every_value_is_explained_with_what_it_overrides() -> None:
    book = book_of(
        tuning("all", 1.0),
        tuning("care", 2.0, {"team": "care"}),
        tuning("chats", 3.0, {"workflow": "chat-*"}),
        tuning("eu", 4.0, {"workflow": "chat-eu"}),
        tuning("late", 9.0, {"workflow": "chat-eu"}, effective_at=text(NOON + HOUR)),
    )

    def pending(workflow: str, team: str | None, at: datetime = NOON) -> tuple[Any, str, list[str]]:
        (value,) = [v for v in explain(book, workflow, team, at).values if v.name == "pending_s"]
        assert value.value == book.at(at).workflow(workflow, team).pending_s
        return value.value, value.level, [record.name for record, _ in value.overridden]

    assert pending("chat-eu", "care") == (4.0, "workflow", ["chats", "care", "all"])
    assert pending("chat-us", "care") == (3.0, "pattern", ["care", "all"])
    assert pending("mail", "care") == (2.0, "team", ["all"])
    assert pending("mail", None) == (1.0, "global", [])
    assert pending("chat-eu", None, NOON + HOUR) == (9.0, "workflow", ["eu", "chats", "all"])


def test_every_tunable_has_a_source() -> None:
    found = explain(book_of(tuning("all", 1.0)), "w", None, NOON)
    assert {value.name for value in found.values} == set(
        type(Tuning.model_validate(tuning("x", 1.0)).settings).model_fields
    )
    assert {value.level for value in found.values if value.name != "pending_s"} == {"default"}


def test_what_is_about_a_workflow_is_found_and_nothing_else() -> None:
    budget = {"kind": "budget", "window": "month", "amount_usd": "10"}
    window = {"starts_at": text(NOON - HOUR), "ends_at": text(NOON + HOUR)}
    book = book_of(
        {**budget, "name": "org", "scope": {"kind": "organisation"}},
        {**budget, "name": "care", "scope": {"kind": "team", "value": "care"}},
        {**budget, "name": "chat", "scope": {"kind": "workflow", "value": "chat"}},
        {**budget, "name": "gpt", "scope": {"kind": "model", "value": "gpt"}},
        {
            "kind": "rule",
            "name": "stop",
            "match": {"workflow": "ch*"},
            "action": {"action": "slow", "max_rps": 1.0},
        },
        {
            "kind": "rule",
            "name": "other",
            "match": {"workflow": "m*"},
            "action": {"action": "slow", "max_rps": 1.0},
        },
        {"kind": "route", "name": "care", "match": {"team": "ca*"}, "receivers": ["slack"]},
        {"kind": "silence", "name": "s", "match": {}, **window, "author": "ada", "reason": "x"},
        {
            "kind": "launch",
            "name": "l",
            "workflow": "chat",
            **window,
            "volume_multiple": 2.0,
            "cap_usd": "5",
            "owner": "ada",
        },
    )

    def about(team: str | None, at: datetime = NOON) -> dict[str, list[str]]:
        return {k: [r.name for r in v] for k, v in explain(book, "chat", team, at).about.items()}

    assert about("care") == {
        "budget": ["care", "chat", "org"],
        "rule": ["stop"],
        "route": ["care"],
        "silence": ["s"],
        "launch": ["l"],
    }
    assert about(None)["budget"] == ["chat", "org"]
    assert about(None)["route"] == []
    assert about(None, NOON + 2 * HOUR)["silence"] == about(None, NOON + 2 * HOUR)["launch"] == []
