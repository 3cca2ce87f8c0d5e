"""Pairing the incidents of two configurations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.backtest.compare import Watch, compare, watched
from service.backtest.incident import Incident


def incident(
    name: str,
    started: float = 0.0,
    told: float | None = None,
    until: float | None = None,
    *,
    workflow: str = "agent",
    kind: str = "retry_loop",
    severity: str = "critical",
) -> Incident:
    told = started + 10 if told is None else told
    return Incident(
        fingerprint=name,
        key=workflow,
        workflow=workflow,
        team=None,
        kind=kind,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        started=started,
        told=told,
        told_excess=1,
        excess=2,
        cost=3,
        last=told + 100 if until is None else until,
    )


def test_the_same_is_the_same() -> None:
    found = compare([incident("a")], [incident("a")])
    assert found.same
    assert len(found.unchanged) == 1


def test_what_is_told_later_or_louder_is_changed() -> None:
    (pair,) = compare([incident("a", told=10)], [incident("a", told=40, severity="warning")]).changed
    assert pair.later_s == 30
    assert pair.differences == ["later", "critical → warning"]


def test_another_name_for_what_overlaps_in_time_is_the_same_incident() -> None:
    found = compare([incident("a", 0, 50)], [incident("b", 20, 40, kind="creep")])
    assert not found.gained
    assert not found.lost
    assert found.changed[0].differences == ["earlier", "retry_loop → creep"]


def test_other_workflows_and_other_times_are_other_incidents() -> None:
    live = [incident("a", 0, 10, 100)]
    for other in (incident("b", workflow="other"), incident("b", 90_000)):
        found = compare(live, [other])
        assert [i.fingerprint for i in found.gained] == ["b"]
        assert [i.fingerprint for i in found.lost] == ["a"]


def test_a_launch_is_no_dearer_call() -> None:
    found = compare([incident("a", kind="launch")], [incident("b", kind="dearer_calls")])
    assert len(found.gained) == len(found.lost) == 1


def test_the_nearest_in_time_are_paired() -> None:
    live = [incident("a", 0, 10), incident("b", 0, 500)]
    found = compare(live, [incident("c", 0, 490)])
    assert [i.fingerprint for i in found.lost] == ["a"]
    assert found.changed[0].live.fingerprint == "b"


LISTS = st.lists(
    st.builds(
        incident,
        st.sampled_from("abcdefgh"),
        st.integers(0, 5_000).map(float),
        workflow=st.sampled_from(["x", "y"]),
        kind=st.sampled_from(["retry_loop", "launch", "creep"]),
    ),
    max_size=6,
    unique_by=lambda i: i.fingerprint,
)


@given(LISTS, LISTS)
def test_each_incident_has_one_place_and_swapping_sides_swaps_gained_and_lost(
    live: list[Incident], candidate: list[Incident]
) -> None:
    found, back = compare(live, candidate), compare(candidate, live)
    pairs = [*found.changed, *found.unchanged]
    assert sorted([*(p.live.fingerprint for p in pairs), *(i.fingerprint for i in found.lost)]) == sorted(
        i.fingerprint for i in live
    )
    assert sorted(
        [*(p.candidate.fingerprint for p in pairs), *(i.fingerprint for i in found.gained)]
    ) == sorted(i.fingerprint for i in candidate)
    assert len(found.gained) == len(back.lost)
    assert len(found.lost) == len(back.gained)


def test_a_workflow_counts_from_its_first_call() -> None:
    month = 30 * 86_400.0
    assert watched([0.0, month / 2, month], 0.0, month) == Watch(0.0, month, 2, 1.5)
    assert watched([], 0.0, month).per_month(3) is None
