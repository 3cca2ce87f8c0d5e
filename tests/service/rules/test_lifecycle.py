"""The life of an incident, as tables and as a machine: fired once, repeated in time, resolved once."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.rules.config import WorkflowConfig
from service.rules.lifecycle import (
    ACCEPT_AFTER_S,
    FORGET_PENDING_S,
    LULL_S,
    MAX_CULPRITS,
    QUIET_S,
    Heard,
    Incident,
    Signal,
    Transition,
    advance,
    fingerprint,
    has_outgrown,
    hear,
    is_another,
)

T = 1_767_225_600.0
SIGNAL = Signal(
    family="cost",
    kind="retry_loop",
    severity="critical",
    detector="live_trace",
    score=5.0,
    threshold=4.0,
    started=T - 3.0,
    excess_nanos=1_000,
    culprits=("t1",),
)

Step = tuple[float, bool, str | None]
"""Seconds since T, whether a detector speaks, and what is expected: a transition, "none", or "gone"."""

AT_ONCE = WorkflowConfig(pending_s=0.0, resolve_s=300.0, repeat_s=60.0)
HELD = WorkflowConfig(pending_s=30.0, resolve_s=100.0, repeat_s=60.0)

LIVES: dict[str, tuple[WorkflowConfig, list[Step]]] = {
    "fires at once where nothing is held": (AT_ONCE, [(0, True, "fired"), (0, True, None), (10, True, None)]),
    "is repeated every repeat_s while it fires": (
        AT_ONCE,
        [
            (0, True, "fired"),
            (59.9, True, None),
            (60, True, "repeated"),
            (119, True, None),
            (120, True, "repeated"),
        ],
    ),
    "is repeated by time alone": (AT_ONCE, [(0, True, "fired"), (60, False, "repeated"), (61, False, None)]),
    "resolves once it has been gone for resolve_s": (
        AT_ONCE,
        [(0, True, "fired"), (50, True, None), (349.9, False, "repeated"), (350, False, "resolved")],
    ),
    "a word in time keeps it alive": (
        AT_ONCE,
        [(0, True, "fired"), (299, True, "repeated"), (598, True, "repeated"), (898, False, "resolved")],
    ),
    "does not resolve in the step in which a detector speaks": (
        replace(AT_ONCE, resolve_s=0.0),
        [(0, True, "fired"), (1, True, None), (2, True, None), (2, False, "resolved")],
    ),
    "resolving wins over repeating": (
        replace(AT_ONCE, resolve_s=60.0),
        [(0, True, "fired"), (60, False, "resolved")],
    ),
    "is pending until it has held": (
        HELD,
        [(0, True, None), (10, True, None), (29.9, True, None), (30, True, "fired"), (31, True, None)],
    ),
    "fires only on a word, not by time alone": (
        HELD,
        [(0, True, None), (31, False, None), (32, True, "fired")],
    ),
    "a blip is forgotten": (HELD, [(0, True, None), (60, False, "gone"), (61, True, None), (70, True, None)]),
    "a hold does not span a silence that nobody looked at": (
        HELD,
        [(0, True, None), (5_000, True, None), (5_029, True, None), (5_030, True, "fired")],
    ),
    "nothing stays nothing": (AT_ONCE, [(0, False, "gone"), (10, False, "gone")]),
}


@pytest.mark.parametrize("name", LIVES)
def test_a_life(name: str) -> None:
    config, steps = LIVES[name]
    incident: Incident | None = None
    for at, speaks, expected in steps:
        incident, transition = advance(incident, SIGNAL if speaks else None, "w", T + at, config)
        if expected == "gone":
            assert incident is None
        else:
            assert incident is not None
        assert transition == (None if expected == "gone" else expected), f"at {at}"


def test_what_is_due_by_time_alone_happens_then_and_not_before() -> None:
    """The alarm clock and the decision agree to the last bit, or a desk would be woken for nothing."""
    for start in (T, T + 0.1, T + 1 / 3, 1_700_000_000.123457):
        for config in (AT_ONCE, HELD, WorkflowConfig(resolve_s=0.7, repeat_s=1.1, pending_s=0.3)):
            incident, _ = advance(None, SIGNAL, "w", start, config)
            for _ in range(6):
                assert incident is not None
                due = incident.due(config)
                before = msgspec.convert(msgspec.to_builtins(incident), Incident)
                _, early = advance(before, None, "w", due - 0.001, config)
                assert early is None
                incident, transition = advance(incident, None, "w", due, config)
                if incident is None or transition == "resolved":
                    break
                assert transition == "repeated"
            else:
                assert incident is not None
                assert incident.due(config) > due


def test_the_loudest_word_is_kept_and_the_dollars_only_grow() -> None:
    incident, _ = advance(None, SIGNAL, "w", T, AT_ONCE)
    louder = replace(
        SIGNAL, detector="unit_cost", score=9.0, threshold=6.0, excess_nanos=500, culprits=("t2",)
    )
    incident, _ = advance(incident, louder, "w", T + 1, AT_ONCE)
    incident, _ = advance(incident, replace(SIGNAL, score=1.0, culprits=("t1", "t3")), "w", T + 2, AT_ONCE)
    assert incident is not None
    assert (incident.detector, incident.score, incident.threshold) == ("unit_cost", 9.0, 6.0)
    assert incident.excess_nanos == 1_000
    assert incident.culprits == ["t1", "t2", "t3"]
    assert incident.started == SIGNAL.started
    assert incident.kind == "retry_loop"


def test_culprits_are_few_however_many_are_named() -> None:
    many = replace(SIGNAL, culprits=tuple(f"t{i}" for i in range(40)))
    incident, _ = advance(None, many, "w", T, AT_ONCE)
    more = replace(SIGNAL, culprits=tuple(f"u{i}" for i in range(40)))
    incident, _ = advance(incident, more, "w", T + 1, AT_ONCE)
    assert incident is not None
    assert len(incident.culprits) == MAX_CULPRITS


def test_the_baseline_stands_still_for_a_day_and_no_longer() -> None:
    incident, _ = advance(None, SIGNAL, "w", T, AT_ONCE)
    assert incident is not None
    assert incident.holds_baseline(SIGNAL.started + ACCEPT_AFTER_S - 1)
    assert not incident.holds_baseline(SIGNAL.started + ACCEPT_AFTER_S)


DOUBT = replace(SIGNAL, family="data_quality", kind="data_quality", severity="warning", note="9 of 10 calls")
UNWATCHED = (replace(AT_ONCE, data_quality_share=0.0), replace(AT_ONCE, enabled=False))


def test_a_doubt_outlives_silence_and_not_a_refutation() -> None:
    silent, _ = advance(None, DOUBT, "w", T, AT_ONCE)
    assert advance(silent, None, "w", T + QUIET_S - 1.0, AT_ONCE)[1] == "repeated"
    assert advance(silent, None, "w", T + QUIET_S, AT_ONCE)[1] == "resolved"
    refuted, _ = advance(None, DOUBT, "w", T, AT_ONCE)
    assert advance(refuted, None, "w", T + 299.0, AT_ONCE, refuted=True)[1] == "repeated"
    assert advance(refuted, None, "w", T + 300.0, AT_ONCE, refuted=True)[1] == "resolved"


@pytest.mark.parametrize("config", UNWATCHED)
def test_a_doubt_that_nobody_looks_for_any_more_ends_as_all_else(config: WorkflowConfig) -> None:
    incident, _ = advance(None, DOUBT, "w", T, AT_ONCE)
    assert incident is not None
    incident.last_sent = T + 299.0
    assert incident.due(config) == T + 300.0
    assert advance(incident, None, "w", T + 300.0, config)[1] == "resolved"


def test_a_doubt_does_not_hold_the_baseline_and_says_its_latest_note() -> None:
    incident, _ = advance(None, DOUBT, "w", T, AT_ONCE)
    assert incident is not None
    assert not incident.holds_baseline(T + 1.0)
    incident, _ = advance(incident, replace(DOUBT, score=1.0, note="19 of 20 calls"), "w", T + 1.0, AT_ONCE)
    assert incident is not None
    assert incident.note == "19 of 20 calls"


LOOP = replace(SIGNAL, group="trace")
RATIO = replace(SIGNAL, kind="context_growth", detector="unit_cost", culprits=(), group="input_per_call")
AGAIN_S = 21_600.0
OTHER_S = 5_400.0


@pytest.mark.parametrize("group", ["input_per_call", "cost_per_trace", "newcomer", "price"])
def test_a_ratio_outlives_silence_and_not_a_refutation(group: str) -> None:
    """Calls that do not come say nothing of what they would cost."""
    word = replace(RATIO, group=group)
    silent, _ = advance(None, word, "w", T, AT_ONCE)
    assert advance(silent, None, "w", T + QUIET_S - 1.0, AT_ONCE)[1] == "repeated"
    assert silent is not None
    assert silent.due(AT_ONCE) <= T + QUIET_S
    assert advance(silent, None, "w", T + QUIET_S, AT_ONCE)[1] == "resolved"
    refuted, _ = advance(None, word, "w", T, AT_ONCE)
    assert advance(refuted, None, "w", T + 299.0, AT_ONCE, refuted=True)[1] == "repeated"
    assert advance(refuted, None, "w", T + 300.0, AT_ONCE, refuted=True)[1] == "resolved"


VOLUME = replace(
    SIGNAL, family="volume", kind="launch", severity="info", group="launch", score=5.0, threshold=4.0
)


def test_a_trace_that_is_silent_is_over() -> None:
    incident, _ = advance(None, LOOP, "w", T, AT_ONCE)
    assert advance(incident, None, "w", T + 300.0, AT_ONCE)[1] == "resolved"


def test_volume_may_pause_for_half_an_hour_and_is_still_the_same_launch() -> None:
    incident, _ = advance(None, VOLUME, "w", T, AT_ONCE)
    assert advance(incident, None, "w", T + LULL_S - 1.0, AT_ONCE)[1] == "repeated"
    assert advance(incident, None, "w", T + LULL_S, AT_ONCE)[1] == "resolved"


def test_volume_that_grows_far_beyond_what_was_told_is_told_anew() -> None:
    """A burst was told; the launch that begins in its wake is no part of it."""
    incident, _ = advance(None, VOLUME, "w", T, AT_ONCE)
    incident, _ = advance(incident, replace(VOLUME, score=7.0), "w", T + 600.0, AT_ONCE)
    assert incident is not None
    assert not has_outgrown(incident, replace(VOLUME, score=60.0), T + 1_199.0), "it may still be growing"
    assert not has_outgrown(incident, replace(VOLUME, score=20.9), T + 1_200.0)
    assert has_outgrown(incident, replace(VOLUME, score=21.0), T + 1_200.0)
    assert not has_outgrown(incident, replace(RATIO, score=99.0), T + 1_200.0), "of something else"


def test_what_was_never_heard_is_news_and_what_comes_back_soon_is_not() -> None:
    heard: dict[str, Heard] = {}
    assert hear(heard, RATIO, T)
    assert not hear(heard, RATIO, T + 10.0)
    assert not hear(heard, RATIO, T + 10.0 + AGAIN_S)
    assert hear(heard, RATIO, T + 11.0 + 2 * AGAIN_S)
    assert hear(heard, LOOP, T + 11.0), "of something else"


def test_what_comes_back_louder_is_news_once() -> None:
    heard: dict[str, Heard] = {}
    hear(heard, replace(RATIO, score=2.0), T)
    assert not hear(heard, replace(RATIO, score=3.0), T + 60.0)
    assert not hear(heard, replace(RATIO, score=4.4), T + 120.0), (
        "it grew louder little by little, while heard"
    )
    assert hear(heard, replace(RATIO, score=6.7), T + 3_600.0)
    assert not hear(heard, replace(RATIO, score=6.7), T + 7_200.0)


def test_loudness_is_forgotten_with_what_was_heard() -> None:
    heard: dict[str, Heard] = {}
    hear(heard, replace(RATIO, score=100.0), T)
    assert hear(heard, replace(RATIO, score=2.0), T + 1.0 + AGAIN_S)
    assert heard["input_per_call"].loudest == 2.0
    assert hear(heard, replace(RATIO, score=3.1), T + 2.0 + AGAIN_S)


def test_a_word_of_earlier_takes_nothing_back() -> None:
    heard: dict[str, Heard] = {}
    hear(heard, RATIO, T)
    hear(heard, replace(RATIO, score=0.1), T - 100.0)
    assert heard["input_per_call"] == Heard(T, RATIO.score)


@given(
    st.lists(st.tuples(st.floats(0.0, 30_000.0), st.floats(0.1, 1e6), st.sampled_from("abc")), max_size=40)
)
def test_news_is_either_long_unheard_or_louder_than_ever(words: list[tuple[float, float, str]]) -> None:
    heard: dict[str, Heard] = {}
    said: dict[str, list[tuple[float, float]]] = {}
    now = T
    for after, score, group in words:
        now += after
        before = said.setdefault(group, [])
        if before and now > before[-1][0] + AGAIN_S:
            before.clear()
        news = hear(heard, replace(RATIO, score=score, group=group), now)
        assert news == (not before or score > 1.5 * max(s for _, s in before))
        before.append((now, score))
    assert len(heard) <= 3, "as many entries as there are groups"


@pytest.mark.parametrize(
    ("word", "after", "heard_before", "another"),
    [
        pytest.param(LOOP, OTHER_S + 1.0, None, True, id="something else, much later"),
        pytest.param(LOOP, OTHER_S, None, False, id="something else that the same may have moved"),
        pytest.param(RATIO, 10 * OTHER_S, None, False, id="the same, however late"),
        pytest.param(
            LOOP, 2 * OTHER_S, OTHER_S + 60.0, False, id="something else that has gone on for a while"
        ),
        pytest.param(LOOP, 2 * OTHER_S, 0.0, False, id="something else, told of within the hours"),
        pytest.param(
            replace(LOOP, score=50.0), 2 * OTHER_S, 60.0, True, id="something else, told of, but louder"
        ),
        pytest.param(LOOP, AGAIN_S + 61.0, 60.0, True, id="something else, told of long ago"),
    ],
)
def test_another_incident_is_of_something_else_and_much_later(
    word: Signal, after: float, heard_before: float | None, another: bool
) -> None:
    incident, transition = advance(None, RATIO, "w", T, AT_ONCE)
    assert incident is not None
    assert transition == "fired"
    heard = {RATIO.group: Heard(T, RATIO.score)}
    if heard_before is not None:
        heard[LOOP.group] = Heard(T + heard_before, LOOP.score)
    assert is_another(incident, word, heard, T + after) is another


def test_what_is_pending_is_joined_by_whatever_speaks() -> None:
    incident, _ = advance(None, RATIO, "w", T, replace(AT_ONCE, pending_s=1e6))
    assert incident is not None
    assert not is_another(incident, LOOP, {}, T + 10 * OTHER_S)


def test_a_fingerprint_tells_workflow_kind_and_start() -> None:
    known = fingerprint("w", "retry_loop", T)
    assert known == fingerprint("w", "retry_loop", T)
    assert len({known, fingerprint("v", "retry_loop", T), fingerprint("w", "launch", T)}) == 3
    assert fingerprint("w", "retry_loop", T + 0.001) != known
    assert fingerprint("a", "b\0c", T) == fingerprint("a\0b", "c", T), "labels hold no control characters"


class Life(RuleBasedStateMachine):
    """One workflow's incidents of one family under any words and any passage of time."""

    @initialize(
        pending=st.sampled_from([0.0, 10.0, 120.0]),
        resolve=st.sampled_from([0.0, 30.0, 300.0]),
        repeat=st.sampled_from([1.0, 60.0, 3_600.0]),
        word=st.sampled_from([SIGNAL, DOUBT, RATIO, LOOP]),
    )
    def begin(self, pending: float, resolve: float, repeat: float, word: Signal) -> None:
        self.word = word
        self.config = WorkflowConfig(pending_s=pending, resolve_s=resolve, repeat_s=repeat)
        self.now = T
        self.incident: Incident | None = None
        self.twin: Incident | None = None
        self.sent: list[tuple[float, Transition, int]] = []
        self.spoken: float | None = None
        self.held_since: float | None = None
        self.firing = False

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 9.9, 61.0, 301.0]) | st.floats(0.0, 10_000.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._advance(None)

    @rule(seconds=st.floats(0.0, 1_000.0))
    def it_is_refuted(self, seconds: float) -> None:
        self.now += seconds
        self._advance(None, refuted=True)

    @rule(
        seconds=st.sampled_from([0.0, 1.0, 10.0]), score=st.floats(0.0, 100.0), excess=st.integers(0, 10**12)
    )
    def a_detector_speaks(self, seconds: float, score: float, excess: int) -> None:
        self.now += seconds
        self._advance(replace(self.word, score=score, excess_nanos=excess, started=self.now - 1.0))

    def _advance(self, signal: Signal | None, *, refuted: bool = False) -> None:
        was = None if self.incident is None else self.incident.fingerprint
        silent_for = self.now - self.spoken if self.spoken is not None else 0.0
        self.incident, transition = advance(
            self.incident, signal, "w", self.now, self.config, refuted=refuted
        )
        self.twin, again = advance(self.twin, signal, "w", self.now, self.config, refuted=refuted)
        assert self.twin == self.incident, "the same inputs give the same incident"
        assert transition == again
        self.spoken = self.now if signal is not None else self.spoken
        if transition == "fired":
            assert not self.firing, "never twice without a resolution in between"
            assert signal is not None, "only on a word"
            self.firing = True
            self.sent = []
        elif transition is not None:
            assert self.firing
            assert self.incident is not None
            assert self.incident.fingerprint == was
            previous_at, _, previous = self.sent[-1]
            assert self.incident.sequence == previous + 1
            if transition == "repeated":
                assert self.now - previous_at >= self.config.repeat_s - 1e-6
        if transition == "resolved":
            assert signal is None
            assert silent_for >= self.config.resolve_s - 1e-6
            if self.word in (DOUBT, RATIO) and not refuted:
                assert silent_for >= QUIET_S - 1e-6
            self.firing = False
        if transition is not None:
            assert self.incident is not None
            self.sent.append((self.now, transition, self.incident.sequence))
        if transition == "resolved":
            self.incident = self.twin = None

    @invariant()
    def what_is_remembered_fits_what_was_said(self) -> None:
        if not hasattr(self, "config"):
            return
        assert self.firing == (self.incident is not None and self.incident.status == "firing")
        if self.incident is not None:
            assert self.incident.status != "resolved"
            assert self.incident.due(self.config) >= self.now or self.config.resolve_s == 0.0
            assert (self.incident.sequence > 0) == self.firing
            assert self.incident.last_seen <= self.now
            assert self.incident.pending_since >= T
        if self.incident is not None and self.incident.status == "pending":
            assert self.now - self.incident.last_seen < max(self.config.pending_s, FORGET_PENDING_S)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=40, deadline=None)
