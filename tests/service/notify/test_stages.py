"""Properties of the stages: nothing lost, nothing twice, whatever the order, the restarts and the re-reading."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import Alert
from schemas.notifications import Acknowledgement, NotificationLogEntry
from service.notify.acknowledgements import Acknowledgements
from service.notify.board import Board, Source, Standing
from service.notify.notification import Change
from service.notify.routing import Pace
from service.notify.told import Told
from tests.service.notify.support import NOW, Scene, alert, resolved

FINGERPRINTS = ("a", "b", "c", "d")


def said(fingerprint: str, sequence: int, over: bool, page: bool) -> Alert:
    fields: dict[str, Any] = {
        "fingerprint": fingerprint,
        "sequence": sequence,
        "team": "one" if fingerprint in "ab" else "two",
        "severity": "critical" if page else "warning",
    }
    return resolved(**fields) if over else alert(**fields)


# What happens next, and after how many seconds.
happenings = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("say"), st.sampled_from(FINGERPRINTS), st.booleans()),
            st.tuples(st.just("end"), st.sampled_from(FINGERPRINTS), st.booleans()),
            st.tuples(st.just("restart"), st.just(""), st.booleans()),
            st.tuples(st.just("ack"), st.sampled_from(FINGERPRINTS), st.booleans()),
            st.tuples(st.just("down"), st.just(""), st.booleans()),
        ),
        st.sampled_from([0, 1, 20, 31, 100, 400, 2_000]),
    ),
    min_size=1,
    max_size=25,
)


def played(course: list[tuple[tuple[str, str, bool], int]], *, restarts: bool = True) -> Scene:
    scene = Scene({"slack": "info"}, wants=frozenset(Change))
    sequence = 0
    ended: set[str] = set()
    for (what, fingerprint, flag), seconds in course:
        sequence += 1
        if what == "say" and fingerprint not in ended:
            scene.say(said(fingerprint, sequence, over=False, page=flag))
        elif (
            what == "end"
            and fingerprint not in ended
            and any(a.fingerprint == fingerprint for a, _ in scene.topic)
        ):
            ended.add(fingerprint)
            scene.say(said(fingerprint, sequence, over=True, page=flag))
        elif what == "restart" and restarts:
            scene.restart()
        elif what == "ack":
            scene.acknowledge(fingerprint)
        elif what == "down" and restarts:
            if flag:
                scene.down.add("slack")
            else:
                scene.recover("slack")
        scene.wait(seconds)
    scene.recover("slack")
    for fingerprint in {a.fingerprint for a, _ in scene.topic} - ended:
        sequence += 1
        scene.say(said(fingerprint, sequence, over=True, page=False))
    scene.wait(3_600)
    return scene


@settings(max_examples=120, deadline=None)
@given(happenings)
def test_whoever_hears_of_a_beginning_hears_of_its_end_once(course: list[Any]) -> None:
    scene = played(course)
    joined = [line.alert.fingerprint for s in scene.sent for line in s.firing if line.change is Change.JOINED]
    ended = [line.alert.fingerprint for s in scene.sent for line in s.resolved]
    assert sorted(joined) == sorted(ended)
    assert len(set(joined)) == len(joined)
    assert len(scene.desk.board) == 0
    assert all(not entry.firing for entry in scene.log.values())


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_a_restart_that_forgets_everything_but_topics_changes_nothing(course: list[Any]) -> None:
    calm = [step for step in course if step[0][0] != "down"]
    assert played(calm).story == played(calm, restarts=False).story


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_every_page_that_lasts_is_told_at_once(course: list[Any]) -> None:
    """The first page of a group, while the receiver takes what it is sent."""
    scene = Scene({"slack": "info"}, pace=Pace())
    scene.say(said("a", 1, over=False, page=True))
    assert scene.story[0].firing == "a"
    assert scene.story[0].at == 0


records = st.lists(
    st.tuples(st.sampled_from(FINGERPRINTS), st.integers(1, 6), st.booleans()), min_size=1, max_size=20
)


@given(records, st.randoms(use_true_random=False))
def test_a_board_knows_the_latest_record_whatever_the_order(read: list[Any], chance: Any) -> None:
    def latest(order: list[Any]) -> dict[str, int]:
        board = Board()
        for offset, (fingerprint, sequence, over) in enumerate(order):
            board.apply(said(fingerprint, sequence, over, page=True), Source(0, offset), NOW)
        return {held.alert.fingerprint: held.alert.sequence for held in board}

    shuffled = list(read)
    chance.shuffle(shuffled)
    assert latest(read) == latest(shuffled)


@given(records)
def test_reading_again_changes_nothing(read: list[Any]) -> None:
    board = Board()

    def take() -> None:
        for offset, (fingerprint, sequence, over) in enumerate(read):
            board.apply(said(fingerprint, sequence, over, page=True), Source(0, offset), NOW)

    take()
    before = [(h.alert, h.firing, h.first_at, h.over_at, h.first, h.last) for h in board]
    take()
    assert [(h.alert, h.firing, h.first_at, h.over_at, h.first, h.last) for h in board] == before


@given(records, st.data())
def test_what_is_committed_is_enough_to_know_everything_that_is_owed(read: list[Any], data: Any) -> None:
    board = Board()
    for offset, (fingerprint, sequence, over) in enumerate(read):
        board.apply(said(fingerprint, sequence, over, page=True), Source(0, offset), NOW)
        standing = data.draw(st.sampled_from(Standing))
        board.sweep(lambda held, found=standing: found)  # type: ignore[misc]
    start = board.committable().get(0, 0)
    again = Board()
    for offset, (fingerprint, sequence, over) in enumerate(read):
        if offset >= start:
            again.apply(said(fingerprint, sequence, over, page=True), Source(0, offset), NOW)
    known = {held.alert.fingerprint: held.alert.sequence for held in again}
    for held in board:
        assert known[held.alert.fingerprint] >= held.alert.sequence


words = st.lists(
    st.builds(
        Acknowledgement,
        fingerprint=st.sampled_from(FINGERPRINTS),
        state=st.sampled_from(["acknowledged", "withdrawn"]),
        author=st.sampled_from(["ada", "bob"]),
        at=st.integers(0, 5).map(lambda s: NOW + timedelta(seconds=s)),
        via=st.just("cli"),
    ),
    max_size=12,
)


@given(words, st.randoms(use_true_random=False))
def test_who_took_what_does_not_depend_on_the_order(read: list[Acknowledgement], chance: Any) -> None:
    def last(order: list[Acknowledgement]) -> list[Acknowledgement | None]:
        found = Acknowledgements()
        for one in [*order, *order]:
            found.apply(one)
        return [found.of(fingerprint, None, None) for fingerprint in FINGERPRINTS]

    shuffled = list(read)
    chance.shuffle(shuffled)
    assert last(read) == last(shuffled)


@settings(max_examples=60, deadline=None)
@given(happenings)
def test_the_log_as_it_is_read_again_is_the_log_as_it_was_written(course: list[Any]) -> None:
    scene = played(course)
    again = Told()
    for entry in scene.log.values():
        for _ in range(2):
            again.apply(NotificationLogEntry.from_json(entry.to_json()))
    known = scene.desk.told
    assert len(again) == len(known)
    assert again.recent("slack") == known.recent("slack")
    assert all(
        again.entry(e.receiver, e.group) == known.entry(e.receiver, e.group) for e in scene.log.values()
    )
