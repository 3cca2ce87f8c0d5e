"""Whose turn it is, and what replaces what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert
from service.notify.backlog import Backlog, Job, Source
from tests.service.notify.support import alert, resolved


def at(offset: int) -> Source:
    return Source(0, offset)


def taken(backlog: Backlog, now: float = 0.0) -> Job:
    job = backlog.take(now)
    assert job is not None
    return job


def test_a_newer_firing_record_replaces_one_that_waits() -> None:
    backlog = Backlog()
    assert backlog.put(alert(sequence=1), at(1)) is None
    assert backlog.put(alert(sequence=2, severity="warning"), at(2)) == at(1)
    job = taken(backlog)
    assert (job.alert.sequence, job.alert.severity, job.source) == (2, "warning", at(2))
    assert len(backlog) == 1


def test_the_end_never_replaces_the_beginning() -> None:
    backlog = Backlog()
    backlog.put(alert(), at(1))
    assert backlog.put(resolved(), at(2)) is None
    first = taken(backlog)
    assert first.alert.status == "firing"
    assert backlog.take(0.0) is None, "one of an incident at a time, or they could arrive out of order"
    backlog.done(first)
    assert taken(backlog).alert.status == "resolved"


def test_what_is_out_is_not_replaced() -> None:
    backlog = Backlog()
    backlog.put(alert(sequence=1), at(1))
    job = taken(backlog)
    assert backlog.put(alert(sequence=2), at(2)) is None
    assert backlog.put(alert(sequence=3), at(3)) == at(2)
    assert job.alert.sequence == 1
    backlog.done(job)
    assert taken(backlog).alert.sequence == 3


def test_a_failed_record_gives_way_to_a_newer_one_which_inherits_its_attempts() -> None:
    backlog = Backlog()
    backlog.put(alert(sequence=1), at(1))
    job = taken(backlog)
    backlog.put(alert(sequence=2), at(2))
    job.attempts = 3
    assert backlog.again(job, 10.0) == at(1)
    assert backlog.take(9.9) is None
    second = taken(backlog, 10.0)
    assert (second.alert.sequence, second.attempts) == (2, 3)


def test_a_failed_record_stays_before_the_end() -> None:
    backlog = Backlog()
    backlog.put(alert(), at(1))
    job = taken(backlog)
    backlog.put(resolved(), at(2))
    assert backlog.again(job, 10.0) is None
    assert backlog.take(5.0) is None
    assert taken(backlog, 10.0) is job


def test_the_most_severe_goes_first_then_the_oldest() -> None:
    backlog = Backlog()
    for offset, (name, severity) in enumerate(
        [("a", "info"), ("b", "warning"), ("c", "critical"), ("d", "critical")]
    ):
        backlog.put(alert(fingerprint=name, severity=severity), at(offset))
    order = [taken(backlog).alert.fingerprint for _ in range(4)]
    assert order == ["c", "d", "b", "a"]


def test_one_that_waits_does_not_hold_up_the_others() -> None:
    backlog = Backlog()
    backlog.put(alert(fingerprint="a"), at(1))
    backlog.again(taken(backlog), 60.0)
    backlog.put(alert(fingerprint="b"), at(2))
    assert taken(backlog).alert.fingerprint == "b"


def test_a_receiver_that_wants_rest_gets_it_from_all() -> None:
    backlog = Backlog()
    backlog.put(alert(fingerprint="a"), at(1))
    backlog.put(alert(fingerprint="b"), at(2))
    backlog.hold(30.0)
    backlog.hold(5.0)
    assert backlog.take(29.9) is None
    assert backlog.wake_at() == 30.0
    assert backlog.take(30.0) is not None


def test_it_says_when_to_look_again() -> None:
    backlog = Backlog()
    assert backlog.wake_at() is None
    backlog.put(alert(), at(1))
    assert backlog.wake_at() == 0.0
    job = taken(backlog)
    assert backlog.wake_at() is None
    backlog.again(job, 7.0)
    assert backlog.wake_at() == 7.0
    backlog.done(taken(backlog, 7.0))
    assert backlog.wake_at() is None
    assert not backlog.holds(alert().fingerprint)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from(["firing", "resolved"])),
        st.tuples(st.just("take"), st.just(""), st.just("")),
        st.tuples(st.just("done"), st.just(""), st.just("")),
        st.tuples(st.just("again"), st.just(""), st.just("")),
    ),
    max_size=60,
)


@given(_steps)
def test_every_record_is_finished_once_and_statuses_arrive_in_order(
    steps: list[tuple[str, str, str]],
) -> None:
    backlog = Backlog()
    out: list[Job] = []
    finished: list[Source] = []
    put: dict[str, list[str]] = {}
    told: dict[str, list[Alert]] = {}

    def finish(source: Source | None) -> None:
        if source is not None:
            finished.append(source)

    def deliver(job: Job) -> None:
        told.setdefault(job.alert.fingerprint, []).append(job.alert)
        backlog.done(job)
        finish(job.source)

    total = 0
    for step, name, status in steps:
        if step == "put":
            put.setdefault(name, []).append(status)
            finish(backlog.put(alert(fingerprint=name, status=status, sequence=total), at(total)))
            total += 1
        elif step == "take" and (job := backlog.take(0.0)) is not None:
            out.append(job)
        elif step == "done" and out:
            deliver(out.pop(0))
        elif step == "again" and out:
            finish(backlog.again(out.pop(0), 0.0))
    for job in out:
        deliver(job)
    while (job := backlog.take(0.0)) is not None:
        deliver(job)
    assert sorted(source.offset for source in finished) == list(range(total))
    for name, alerts in told.items():
        sequences = [a.sequence for a in alerts]
        assert sequences == sorted(sequences)
        assert alerts[-1].status == put[name][-1]
        changes = [s for s, before in zip(put[name], [None, *put[name]], strict=False) if s != before]
        seen = [a.status for a in alerts]
        assert [s for s, before in zip(seen, [None, *seen], strict=False) if s != before] == changes
    assert set(told) == set(put)
