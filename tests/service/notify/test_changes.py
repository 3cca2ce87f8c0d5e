"""Changes of the configuration and launches are told once, whoever is restarted when, and page nobody."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Cap, Control, ReceiverPolicy
from service.notify import change_text
from service.notify.changes import EVERY, ONE_BY_ONE, RECENT, SETTLING, ChangeBox
from service.notify.notification import Notification
from service.notify.outbox import Delivery
from service.notify.tidings import Tidings
from service.notify.told import Told
from service.notify.trail import MAX_KEPT, Trail
from service.rules.config_signature import Signatures
from tests.service.notify.edits import HOUR, Writer, launch, tuning
from tests.service.notify.support import NOW, Scene, alert

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
PAST_SETTLING = SETTLING.total_seconds() + 1


def scene(**fields: object) -> Scene:
    return Scene({"pager": "info"}, changes=["pager"], **fields)  # type: ignore[arg-type]


def told(of: Scene) -> list[Tidings]:
    return [said.tidings for said in of.sent if said.tidings is not None]


def titles(of: Scene) -> list[str]:
    return [change_text.title(one) for one in told(of)]


def test_a_change_is_told_once_when_all_of_it_can_be_there() -> None:
    world, writer = scene(), Writer()
    world.write(*writer.write(NOW, tuning(), tuning("b")))
    world.wait(SETTLING.total_seconds() - 1)
    assert world.sent == []
    world.wait(2)
    assert titles(world) == ["CONFIG CHANGED: tuning/search and 1 more"]
    for _ in range(3):
        world.restart()
        world.wait(3_600)
    assert len(world.sent) == 1


def test_a_launch_is_told_when_it_begins_and_when_it_is_over() -> None:
    world = scene()
    world.write(*Writer().write(NOW, launch()))
    world.wait(3_600)
    assert titles(world) == ["CONFIG CHANGED: launch/spring"]
    world.restart()
    world.wait(PAST_SETTLING)
    world.restart()
    world.wait(2 * 3_600)
    assert titles(world)[1:] == ["LAUNCH BEGINS: shop-assistant", "LAUNCH OVER: shop-assistant"]
    assert [(said.at - NOW) // HOUR for said in world.sent] == [0, 1, 3]


def test_a_first_start_tells_nothing_old() -> None:
    writer = Writer()
    world = scene(start=NOW)
    world.written = [
        *writer.write(NOW - 30 * DAY, tuning("old")),
        *writer.write(NOW - RECENT - 60 * SECOND, tuning("not-so-old")),
        *writer.write(NOW - RECENT + SECOND, tuning("new")),
    ]
    world.restart()
    world.wait(3_600)
    assert titles(world) == ["CONFIG CHANGED: tuning/new"]


def test_what_happened_while_nobody_ran_is_one_event() -> None:
    world, writer = scene(), Writer()
    world.write(*writer.write(NOW, tuning()))
    world.wait(60)
    for number in range(ONE_BY_ONE + 1):
        at = NOW + number * HOUR + HOUR / 2
        world.written += writer.write(at, tuning("a", number), launch(ends_at=at + 6 * DAY))
    world.now = NOW + 2 * DAY
    world.restart()
    world.wait(3_600)
    # The launch began meanwhile.
    assert titles(world)[1:] == [f"CONFIG: 7 changes since {NOW:%Y-%m-%d %H:%M} UTC"]
    assert len(told(world)[1].edits) == 2 * ONE_BY_ONE + 2
    assert len(told(world)[1].phases) == 1


def test_a_few_that_were_missed_are_told_one_by_one_and_not_at_once() -> None:
    world, writer = scene(), Writer()
    world.write(*writer.write(NOW, tuning()))
    world.wait(60)
    for number in range(ONE_BY_ONE):
        world.written += writer.write(NOW + number * HOUR + HOUR, tuning("a", number))
    world.now = NOW + DAY
    world.restart()
    world.wait(3_600)
    times = [said.at for said in world.sent[1:]]
    assert [(at - times[0]) / EVERY for at in times] == [0, 1, 2, 3, 4]


def test_what_sums_up_says_when_it_does_not_know_all() -> None:
    world, writer = scene(), Writer()
    world.write(*writer.write(NOW, tuning()))
    world.wait(60)
    for number in range(MAX_KEPT + 5):
        world.written += writer.write(NOW + HOUR + number * 10 * SECOND, tuning("a", number))
    world.now = NOW + DAY
    world.restart()
    world.wait(60)
    assert titles(world)[1] == f"CONFIG: more than {MAX_KEPT} changes since {NOW:%Y-%m-%d %H:%M} UTC"


def test_changes_take_no_room_of_incidents_and_need_none() -> None:
    world = scene()
    world.configure(ReceiverPolicy(name="*", cap=Cap(notifications=1, within_s=3_600)))
    writer = Writer()
    for number in range(5):
        world.write(*writer.write(NOW + 60 * number * SECOND, tuning("a", number)))
        world.wait(60)
    world.say(alert())
    world.wait(1)
    assert world.sent[-1].lead is not None  # the change before it took no room
    world.write(*writer.write(world.now, tuning("b")))
    world.wait(60)
    assert world.sent[-1].tidings is not None  # and the one after it needs none
    assert len(world.sent) == 7


def test_an_incident_goes_before_a_change() -> None:
    world = scene()
    world.down.add("pager")
    world.write(*Writer().write(NOW, tuning()))
    world.wait(60)
    world.say(alert(severity="warning"))
    world.wait(60)
    first = min(world.out, key=lambda delivery: delivery.urgency)
    assert first.said.lead is not None
    assert len(world.out) == 2


def box(*, began: datetime = NOW) -> tuple[ChangeBox, Trail, Told, Writer]:
    trail, log = Trail(Signatures("config", {})), Told()
    return ChangeBox("pager", trail, log, began), trail, log, Writer()


def hear(trail: Trail, writer: Writer, at: datetime, name: str) -> None:
    for entry in writer.write(at, tuning(name)):
        trail.hear(entry)


def taken(of: ChangeBox, now: datetime) -> Delivery:
    found = of.take(now)
    assert found is not None
    return found


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    found, trail, log, writer = box()
    hear(trail, writer, NOW, "a")
    delivery = taken(found, NOW + 60 * SECOND)
    entry = found.give_up(delivery, NOW + 60 * SECOND, final=True)
    assert entry is not None
    log.apply(entry)
    found.back(delivery)
    assert found.take(NOW + HOUR) is None
    assert found.wake_at(NOW + HOUR) is None


def test_what_nobody_took_for_an_hour_is_told_later_with_what_came_since() -> None:
    found, trail, _, writer = box()
    hear(trail, writer, NOW, "a")
    delivery = taken(found, NOW + 60 * SECOND)
    for number in range(ONE_BY_ONE):
        hear(trail, writer, NOW + 60 * (number + 1) * SECOND, f"b{number}")
    assert found.refresh(delivery, NOW + HOUR)
    assert found.give_up(delivery, NOW + HOUR, final=False) is None
    found.back(delivery)
    assert found.take(NOW + HOUR) is None
    at = found.wake_at(NOW + HOUR)
    assert at is not None
    said = taken(found, at).said.tidings
    assert said is not None
    assert said.changes == 1 + ONE_BY_ONE


def test_one_is_out_at_a_time_and_hands_over_ends_it() -> None:
    found, trail, _, writer = box()
    hear(trail, writer, NOW, "a")
    hear(trail, writer, NOW + 10 * SECOND, "b")
    first = taken(found, NOW + HOUR)
    assert (found.take(NOW + HOUR), found.wake_at(NOW + HOUR), found.waiting(NOW + HOUR)) == (None, None, 1)
    found.clear()
    assert taken(found, NOW + HOUR).said == first.said


def test_a_log_that_was_written_by_a_clock_ahead_does_not_keep_it_waiting() -> None:
    found, trail, log, writer = box()
    hear(trail, writer, NOW, "a")
    delivery = taken(found, NOW + 60 * SECOND)
    log.apply(found.done(delivery, NOW + 30 * DAY))
    found.back(delivery)
    hear(trail, writer, NOW + HOUR, "b")
    at = found.wake_at(NOW + HOUR)
    assert at is not None
    assert at - NOW - HOUR <= SETTLING


def test_notices_of_nobody_s_incident_never_close_one() -> None:
    world = scene()
    world.write(*Writer().write(NOW, tuning()))
    world.wait(60)
    (said,) = world.sent
    assert (said.over, said.notice, said.severity) == (False, True, "info")


_step = st.tuples(
    st.integers(0, 40),
    st.sampled_from(["a", "b", "late", "launch", "stop", "delete", "nothing", "restart"]),
    st.sampled_from(["ada", "grace"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_step, max_size=25), st.integers(0, 2**32))
def test_each_change_and_each_launch_is_told_once_whoever_is_restarted(
    script: list[tuple[int, str, str]], seed: int
) -> None:
    """Two replicas are the same as one that is restarted: whoever takes over reads the log and the trail."""
    world, writer, chance = scene(), Writer(), random.Random(seed)
    for wait_s, what, author in script:
        world.wait(wait_s)
        now = world.now
        several: dict[str, list[Control | str]] = {
            "a": [tuning("a", chance.uniform(1, 100))],
            "late": [tuning("a", chance.uniform(1, 100))],
            "b": [tuning("b", chance.uniform(1, 100)), tuning("c")],
            "launch": [launch(starts_at=now + wait_s * SECOND, ends_at=now + (wait_s + 30) * SECOND)],
            "stop": ["launch/spring"],
            "delete": ["tuning/a"],
        }
        if records := several.get(what):
            # What others write is on the trail when a worker has seen it, maybe behind what came after it.
            at = now - chance.uniform(0, 6) * SECOND if what == "late" else now
            command = "seen" if what == "late" else "apply"
            world.write(*writer.write(at, *records, author=author, command=command))
        if what == "restart":
            world.restart()
    world.wait(600)
    whole = Trail(Signatures("config", {}))
    for entry in world.written:
        whole.hear(entry)
    expected = whole.tidings()
    assert sorted(edit.entry.offset for one in told(world) for edit in one.edits) == sorted(
        edit.entry.offset for one in expected for edit in one.edits
    )
    assert [phase for one in told(world) for phase in one.phases] == [
        phase for one in expected for phase in one.phases
    ]


def incidents(said: list[Notification]) -> list[str]:
    return [one.incident for one in said]


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_is_said_under_the_same_key_by_whoever_says_it(restart: bool) -> None:
    world = scene()
    world.down.add("pager")
    world.write(*Writer().write(NOW, tuning()))
    world.wait(60)
    (before,) = world.out
    if restart:
        world.restart()
    world.recover("pager")
    world.wait(60)
    assert incidents(world.sent) == [before.said.incident]
