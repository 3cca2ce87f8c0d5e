"""What buttons carry, and what presses become."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest
from hypothesis import given

from service.rules.config import ConfigBook, control_key
from service.rules.press import (
    ACTS,
    MAX_VALUE,
    Act,
    Press,
    Subject,
    Unreadable,
    exactly,
    launch,
    releases,
    silence,
)
from tests.service.notify.support import alert, alerts, labels

AT = datetime(2026, 1, 31, 14, 10, 0, 123456, UTC)


@given(alerts)
def test_any_subject_survives_the_trip_through_a_vendor(one: object) -> None:
    subject = Subject.of(one, "5b0c6f1d-2e3a")  # type: ignore[arg-type]
    value = subject.value()
    assert Subject.read(value) == subject
    assert len(value.encode("utf-16-le")) // 2 <= MAX_VALUE


@pytest.mark.parametrize("value", ["", "{}", "[]", "x", '{"incident":"a"}', "null"])
def test_a_value_of_somebody_else_is_none(value: str) -> None:
    with pytest.raises(Unreadable):
        Subject.read(value)


@given(labels, labels)
def test_a_pattern_matches_this_name_and_no_other(name: str, other: str) -> None:
    try:
        pattern = exactly(name)
    except Unreadable:
        return
    assert fnmatchcase(name, pattern)
    assert fnmatchcase(other, pattern) == (other == name)


def test_names_with_the_signs_of_patterns_are_only_names() -> None:
    assert exactly("a*[b]?") == "a[*][[]b][?]"
    assert fnmatchcase("a*[b]?", exactly("a*[b]?"))


@pytest.mark.parametrize("act", ACTS)
def test_the_same_press_has_the_same_name_and_others_have_others(act: Act) -> None:
    subject = Subject.of(alert(), "i")
    press = Press(act, subject, AT, "ada")
    assert press.name == Press(act, subject, AT, "ada").name
    assert press.name != Press(act, subject, AT, "bo").name


def test_its_records_are_valid() -> None:
    press = Press("silence", Subject.of(alert(), "i"), AT, "ada")
    book = ConfigBook.empty()
    for offset, record in enumerate([silence(press), launch(press), *releases(press, ["p1"])]):
        book = book.apply(control_key(record), record.to_json(), offset)
    assert len(book.records) == 3
