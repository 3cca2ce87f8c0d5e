"""What comes back: told as a ticket, paged when it is worse; what was only pending was never told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from service.detect import step as module
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import Effects, Moment, step
from service.rules.config import ConfigBook
from service.rules.lifecycle import Signal
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, rollup

LOOP = Signal("cost", "retry_loop", "critical", "live_trace", 1.2, 1.0, T0, 10**9, ("t",), "", "trace")
HOUR = 360


class Script:
    """A workflow of which detectors say what the test lets them say, bucket by bucket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, book: ConfigBook = BOOK) -> None:
        self.state = WorkflowState.fresh("support-agent")
        self.book = book
        self.at = 0
        self.says: Signal | None = None
        monkeypatch.setattr(module, "signals", self._signals)

    def _signals(self, *_: object) -> tuple[list[Signal], bool, bool]:
        return ([self.says] if self.says else []), self.says is None, True

    def play(self, buckets: int, says: Signal | None) -> list[Effects]:
        told = []
        for _ in range(buckets):
            start = T0 + self.at * BUCKET
            self.says = replace(says, started=float(start)) if says else None
            told.append(step(self.state, rollup(start, [Doing("a")]), self.book))
            told.append(step(self.state, Moment(start + 9.0), self.book))
            self.at += 1
            if self.at % 7 == 0:
                self.state = decode(encode(self.state))
        return told


def told(effects: list[Effects]) -> list[tuple[str, str]]:
    return [
        (a.status, a.severity) for e in effects for a in e.alerts if a.sequence == 1 or a.status == "resolved"
    ]


def test_what_comes_back_within_hours_is_a_ticket_and_after_them_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch)
    assert told(script.play(12, LOOP)) == [("firing", "critical")]
    assert told(script.play(HOUR, None)) == [("resolved", "critical")]
    assert told(script.play(12, LOOP)) == [("firing", "warning")]
    assert told(script.play(HOUR, None)) == [("resolved", "warning")]
    script.play(6 * HOUR, None)
    assert told(script.play(12, LOOP)) == [("firing", "critical")]


def test_what_comes_back_louder_pages_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.play(12, LOOP)
    script.play(HOUR, None)
    assert told(script.play(12, replace(LOOP, score=2.0))) == [("firing", "critical")]


def test_a_ticket_that_grows_worse_becomes_a_page_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every incident is first heard near its threshold: what comes back must not hide behind that."""
    script = Script(monkeypatch)
    script.play(12, LOOP)
    script.play(HOUR, None)
    assert told(script.play(6, LOOP)) == [("firing", "warning")]
    worse = script.play(6, replace(LOOP, score=9.0)) + script.play(6, replace(LOOP, score=30.0))
    assert told(worse) == [("resolved", "warning"), ("firing", "critical")]


def test_what_comes_back_as_something_else_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    script.play(12, LOOP)
    script.play(HOUR, None)
    other = replace(LOOP, kind="context_growth", detector="unit_cost", culprits=(), group="input_per_call")
    assert told(script.play(12, other)) == [("firing", "critical")]


def test_another_incident_much_later_ends_the_one_that_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch)
    other = replace(LOOP, kind="context_growth", detector="unit_cost", culprits=(), group="input_per_call")
    assert told(script.play(2 * HOUR, LOOP)) == [("firing", "critical")]
    both = script.play(1, other)
    assert told(both) == [("resolved", "critical"), ("firing", "critical")]
    first, second = [a for e in both for a in e.alerts]
    assert first.fingerprint != second.fingerprint
    assert first.resolved_at is not None
    assert second.started_at > first.resolved_at
    assert told(script.play(12, LOOP)) == [], "two that speak by turns are one incident"


def test_a_blip_that_never_fired_was_never_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"kind": "tuning", "name": "t", "settings": {"pending_s": 30.0}}
    script = Script(monkeypatch, BOOK.apply("tuning/t", json.dumps(record).encode(), 0))
    assert told(script.play(2, LOOP)) == []
    script.play(30, None)
    assert script.state.heard == {}
    assert told(script.play(12, LOOP)) == [("firing", "critical")]
