"""Alerts to test with, and a receiver and an office that do as they are told."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from schemas.alerts import Alert, DimensionEvidence, Driver, Evidence, TraceEvidence, Verdict
from schemas.catalog import EXAMPLES
from schemas.decode import validate
from schemas.notifications import NotificationLogEntry, ParkedNotification
from service.notify.backlog import Source
from service.notify.receiver import Delivered, Result
from service.rules.config import ConfigBook

BIG = 2**63 - 1
NOW = datetime(2026, 1, 31, 14, 9, tzinfo=UTC)


def alert(**changed: Any) -> Alert:
    """The catalog's example, with some fields changed."""
    return validate(Alert, EXAMPLES["alert"]).model_copy(update=changed)


def resolved(**changed: Any) -> Alert:
    end = datetime(2026, 1, 31, 14, 21, 30, tzinfo=UTC)
    return alert(**{"status": "resolved", "sequence": 9, "updated_at": end, "resolved_at": end, **changed})


def entry(of: Alert, receiver: str = "slack", delivered_at: datetime = NOW) -> NotificationLogEntry:
    return NotificationLogEntry(
        receiver=receiver,
        fingerprint=of.fingerprint,
        status=of.status,
        severity=of.severity,
        sequence=of.sequence,
        delivered_at=delivered_at,
    )


# Texts at their worst: markup, characters that escape to five, astral planes, right-to-left overrides.
_character = st.one_of(
    st.sampled_from('&<>*_~`"\\|@#!|•'),
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in [*range(32), 127]]),
)
labels = st.one_of(
    st.text(_character, min_size=1, max_size=200),
    st.sampled_from(["&" * 200, "😀" * 200, "<!channel>" * 20, "\u202e" + "x" * 199, '"' * 200, "\\" * 200]),
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4_000),
    st.sampled_from(["", "&" * 4_000, "😀" * 4_000, "\x00" * 4_000, '"' * 4_000, " ".join(["word"] * 800)]),
)
instants = st.integers(0, 16_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
amounts = st.integers(-BIG, BIG)
counts = st.integers(0, BIG)
floats = st.floats(allow_nan=False, allow_infinity=False)

alerts: st.SearchStrategy[Alert] = st.builds(
    Alert,
    fingerprint=labels,
    status=st.sampled_from(["pending", "firing", "resolved"]),
    severity=st.sampled_from(["info", "warning", "critical"]),
    kind=st.sampled_from(["retry_loop", "launch", "budget_exhausted", "data_quality"]),
    workflow=labels,
    team=st.none() | labels,
    started_at=instants,
    fired_at=st.none() | instants,
    updated_at=instants,
    resolved_at=st.none() | instants,
    sequence=counts,
    summary=texts,
    cost_nanos=amounts,
    expected_nanos=amounts,
    excess_nanos=amounts,
    projected_nanos=amounts,
    projected_month_nanos=st.none() | amounts,
    drivers=st.lists(
        st.builds(
            Driver,
            factor=st.sampled_from(["traces", "calls_per_trace", "price"]),
            share_nanos=amounts,
            before=floats,
            after=floats,
        ),
        max_size=10,
    ),
    evidence=st.builds(
        Evidence,
        traces=st.lists(
            st.builds(
                TraceEvidence,
                trace_id=labels,
                calls=counts,
                cost_nanos=amounts,
                max_input_tokens=counts,
                started_at=instants,
                customer=st.none() | labels,
                model=st.none() | labels,
            ),
            max_size=10,
        ),
        top=st.lists(
            st.builds(
                DimensionEvidence,
                dimension=st.sampled_from(["model", "customer", "api_key"]),
                value=labels,
                calls=counts,
                cost_nanos=amounts,
                share=st.floats(0, 1),
                usual_share=st.none() | st.floats(0, 1),
                excess_share=st.none() | floats,
            ),
            max_size=20,
        ),
    ),
    verdict=st.builds(Verdict, detector=labels, score=floats, threshold=floats),
    config_version=labels,
)


def largest(text: str = "&") -> Alert:
    """Every field at its bound, of a character that is long however it is counted."""
    label, longest = text * 200, text * 4_000
    trace = TraceEvidence(
        trace_id=label,
        calls=BIG,
        cost_nanos=BIG,
        max_input_tokens=BIG,
        started_at=NOW,
        customer=label,
        model=label,
    )
    slice_ = DimensionEvidence(
        dimension="customer",
        value=label,
        calls=BIG,
        cost_nanos=BIG,
        share=1.0,
        usual_share=1.0,
        excess_share=-1e300,
    )
    driver = Driver(factor="calls_per_trace", share_nanos=BIG, before=1e300, after=-1e300)
    return alert(
        fingerprint=label,
        workflow=label,
        team=label,
        summary=longest,
        config_version=label,
        verdict=Verdict(detector=label, score=1e300, threshold=1e300),
        drivers=[driver] * 10,
        evidence=Evidence(traces=[trace] * 10, top=[slice_] * 20),
        **{f"{name}_nanos": -BIG for name in ("cost", "expected", "excess", "projected", "projected_month")},
    )


class Script:
    """A receiver that answers as told, then takes everything."""

    vendor = "script"

    def __init__(self, *answers: Result, interval_s: float = 0.0, concurrency: int = 1) -> None:
        self.interval_s = interval_s
        self.concurrency = concurrency
        self.answers = deque(answers)
        self.sent: list[Alert] = []

    async def send(self, alert: Alert) -> Result:
        self.sent.append(alert)
        return self.answers.popleft() if self.answers else Delivered()


class PaperOffice:
    """An office that remembers all it is told."""

    def __init__(self) -> None:
        self.book = ConfigBook.empty()
        self.entries: dict[tuple[str, str], NotificationLogEntry] = {}
        self.parked: list[ParkedNotification] = []
        self.finished_sources: list[Source] = []

    def last_told(self, receiver: str, fingerprint: str) -> NotificationLogEntry | None:
        return self.entries.get((receiver, fingerprint))

    async def delivered(self, entry: NotificationLogEntry) -> None:
        self.entries[entry.receiver, entry.fingerprint] = entry

    async def park(self, parked: ParkedNotification) -> None:
        self.parked.append(parked)

    def finished(self, source: Source) -> None:
        self.finished_sources.append(source)


MINUTE = timedelta(minutes=1)
