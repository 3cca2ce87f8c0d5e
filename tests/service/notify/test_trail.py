"""What is told of the trail of the configuration: each change once, with the same time whoever reads it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.control import ConfigChange, Launch
from service.notify.tidings import Tidings
from service.notify.trail import LONGEST, MAX_KEPT, Trail, sum_up
from service.rules.config_signature import Signatures
from tests.service.notify.edits import HOUR, Writer, launch, tuning
from tests.service.notify.support import NOW

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
SECRET = SecretStr("0123456789abcdef0123456789abcdef").get_secret_value().encode()


def trail(*entries: ConfigChange, secrets: dict[str, bytes] | None = None) -> Trail:
    found = Trail(Signatures("config", secrets or {}))
    for entry in entries:
        found.hear(entry)
    return found


def keys(told: Tidings) -> list[str]:
    return [edit.entry.key for edit in told.edits]


def steps(told: Tidings) -> list[tuple[str, float]]:
    """What launches come to, and minutes since NOW."""
    return [(phase.step, (phase.at - NOW).total_seconds() / 60) for phase in told.phases]


def test_what_is_applied_at_once_is_one_though_others_write_in_between() -> None:
    writer = Writer()
    ours = writer.write(NOW, tuning("a"), tuning("b"))
    others = writer.write(NOW, tuning("c"), author="grace")
    first, second = trail(ours[0], *others, ours[1]).tidings()
    assert (keys(first), keys(second)) == (["tuning/c"], ["tuning/a", "tuning/b"])


def test_what_one_person_applies_file_by_file_is_one() -> None:
    writer = Writer()
    found = [
        *writer.write(NOW, tuning("a"), reason="calmer"),
        *writer.write(NOW + 4 * SECOND, tuning("b"), reason="calmer"),
        *writer.write(NOW + 5 * SECOND, tuning("c"), reason="louder"),
        *writer.write(NOW + 6 * SECOND, tuning("d"), author="grace", reason="louder"),
        *writer.write(NOW + 8 * SECOND, tuning("e"), reason="calmer"),
        *writer.write(NOW + 14 * SECOND, tuning("f"), reason="calmer"),
    ]
    assert [keys(one) for one in trail(*found).tidings()] == [
        ["tuning/c"],
        ["tuning/d"],
        ["tuning/a", "tuning/b", "tuning/e"],
        ["tuning/f"],
    ]


def test_a_script_that_never_stops_is_told_every_minute() -> None:
    writer = Writer()
    found = [entry for n in range(60) for entry in writer.write(NOW + 4 * n * SECOND, tuning("a", n))]
    told = trail(*found).tidings()
    assert len(told) == 4
    assert all(one.edits[-1].at - one.edits[0].at <= LONGEST for one in told)


def test_what_was_refused_is_not_told() -> None:
    writer = Writer()
    (good,) = writer.write(NOW, tuning())
    (bad,) = writer.write(NOW, tuning("b"))
    padded = (bad.value or b"") + b" " * 70_000
    wrong = [
        bad.model_copy(update={"value": b"{}"}),
        bad.model_copy(update={"key": "tuning/other"}),
        bad.model_copy(update={"value": padded[:65_536], "size": len(padded)}),
    ]
    for entry in wrong:
        assert [keys(one) for one in trail(good, entry).tidings()] == [["tuning/search"]]


def test_what_is_not_signed_where_it_must_be_is_not_told() -> None:
    assert trail(*Writer().write(NOW, tuning()), secrets={"ops": SECRET}).tidings() == []


def test_deleting_what_is_not_there_is_no_change() -> None:
    assert trail(*Writer().write(NOW, "tuning/none")).tidings() == []


def test_what_is_read_again_is_not_told_again() -> None:
    writer = Writer()
    (applied,) = writer.write(NOW, tuning())
    (gone,) = writer.write(NOW + HOUR, "tuning/search")
    seen = applied.model_copy(update={"command": "seen", "change": "other", "author": None})
    found = trail(applied, gone)
    before = list(found.tidings())
    for entry in (applied, gone, seen):
        found.hear(entry)
    assert found.tidings() == before


def test_what_is_recorded_late_is_told_after_what_was_told() -> None:
    writer = Writer()
    (late,) = writer.write(NOW, tuning("a"), author=None, command="seen")
    (applied,) = writer.write(NOW + HOUR, tuning("b"))
    first, second = trail(applied, late).tidings()
    assert (keys(first), keys(second)) == (["tuning/b"], ["tuning/a"])
    assert second.until == applied.written_at + MILLISECOND


def test_what_was_overwritten_before_it_was_known_changes_nothing() -> None:
    writer = Writer()
    (late,) = writer.write(NOW, launch(starts_at=NOW - HOUR), author=None, command="seen")
    (deleted,) = writer.write(NOW + HOUR, "launch/spring")
    (first,) = writer.write(NOW - HOUR, launch(starts_at=NOW + HOUR))
    found = trail(first, deleted, late).tidings()
    assert found[-1].edits[0].overtaken
    assert found[-1].versions == (found[-2].edits[0].became.version,) * 2
    assert [steps(one) for one in found if one.phases] == []


def test_versions_are_those_that_alerts_name() -> None:
    writer = Writer()
    later = tuning("later", effective_at=NOW + HOUR)
    first, second, third = (
        writer.write(NOW, tuning()),
        writer.write(NOW + HOUR / 2, later),
        writer.write(NOW + 2 * HOUR, "tuning/search"),
    )
    found = trail(*first, *second, *third)
    one, two, three = found.tidings()
    assert one.versions is not None
    assert two.versions is not None
    assert three.versions is not None
    assert one.versions[0] == "defaults"
    assert two.versions == (one.versions[1], one.versions[1])  # it does not hold yet
    assert three.versions[0].startswith("1-")  # by then it does


@pytest.mark.parametrize(
    ("announced", "told"),
    [
        (launch(), [("begins", 60.0), ("over", 180.0)]),
        (launch(starts_at=NOW - HOUR), [("begins", 0.0), ("over", 180.0)]),
        (launch(effective_at=NOW + 2 * HOUR), [("begins", 120.0), ("over", 180.0)]),
        (launch(expires_at=NOW + 2 * HOUR), [("begins", 60.0), ("over", 120.0)]),
        (launch(expires_at=NOW + HOUR), []),
        (launch(starts_at=NOW - 2 * HOUR, ends_at=NOW), []),
    ],
)
def test_a_launch_begins_and_ends_by_its_times(announced: Launch, told: list[tuple[str, float]]) -> None:
    found = trail(*Writer().write(NOW, announced)).tidings()
    assert [step for one in found for step in steps(one)] == told


def test_a_launch_that_begins_by_being_written_is_one_event_with_that() -> None:
    told = trail(*Writer().write(NOW, launch(starts_at=NOW))).tidings()
    assert [(keys(one), steps(one)) for one in told] == [
        (["launch/spring"], [("begins", 0.0)]),
        ([], [("over", 180.0)]),
    ]


@pytest.mark.parametrize(
    ("hours", "then", "told"),
    [
        (0.5, None, []),  # nobody heard that it begins
        (2.0, None, [("begins", 60.0), ("cancelled", 120.0)]),
        (4.0, None, [("begins", 60.0), ("over", 180.0)]),
        # While it goes on, a longer one is the same launch, and one that is over by now is its end.
        (2.0, {"ends_at": NOW + 5 * HOUR}, [("begins", 60.0), ("over", 300.0)]),
        (2.0, {"ends_at": NOW + 2 * HOUR}, [("begins", 60.0), ("cancelled", 120.0)]),
        (2.0, {"starts_at": NOW + 2.5 * HOUR}, [
            ("begins", 60.0), ("cancelled", 120.0), ("begins", 150.0), ("over", 180.0)
        ]),
        (2.0, {"workflow": "chat"}, [
            ("begins", 60.0), ("cancelled", 120.0), ("begins", 120.0), ("over", 180.0)
        ]),
        (0.5, {"starts_at": NOW + 2 * HOUR}, [("begins", 120.0), ("over", 180.0)]),
    ],
)  # fmt: skip
def test_a_launch_that_is_changed(
    hours: float, then: dict[str, Any] | None, told: list[tuple[str, float]]
) -> None:
    writer = Writer()
    first = writer.write(NOW, launch())
    second = writer.write(NOW + hours * HOUR, "launch/spring" if then is None else launch(**then))
    found = [step for one in trail(*first, *second).tidings() for step in steps(one)]
    assert found == told


def test_launches_that_begin_at_the_same_time_are_one() -> None:
    writer = Writer()
    entries = writer.write(NOW, launch(), launch("second", workflow="chat", ends_at=NOW + 2 * HOUR))
    _, begin, over, last = trail(*entries).tidings()
    assert [(phase.launch.name, phase.step) for phase in begin.phases] == [
        ("spring", "begins"),
        ("second", "begins"),
    ]
    assert (steps(over), steps(last)) == ([("over", 120.0)], [("over", 180.0)])


def test_what_is_kept_is_bounded_and_what_is_not_is_known_to_be_missing() -> None:
    writer = Writer()
    found = trail()
    for number in range(MAX_KEPT + 10):
        for entry in writer.write(NOW + number * HOUR, tuning("a", number)):
            found.hear(entry)
    assert len(found.tidings()) == MAX_KEPT
    assert found.forgotten == NOW + 9 * HOUR


def test_a_sum_has_all_that_is_in_its_parts() -> None:
    writer = Writer()
    parts = trail(*writer.write(NOW, launch()), *writer.write(NOW + HOUR, tuning())).tidings()
    told = sum_up(parts, NOW - HOUR, cut=False)
    assert (told.changes, told.until, told.since) == (3, parts[-1].until, NOW - HOUR)
    assert (keys(told), len(told.phases)) == (["launch/spring", "tuning/search"], 2)
