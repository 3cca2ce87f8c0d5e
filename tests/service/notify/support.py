"""Alerts to test with, and a receiver and an office that do as they are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.alerts import Alert, DimensionEvidence, Driver, Evidence, Severity, TraceEvidence, Verdict
from schemas.catalog import EXAMPLES
from schemas.control import ConfigChange, Control
from schemas.decode import validate
from schemas.notifications import Acknowledgement, NotificationLogEntry
from schemas.throttles import ThrottleChange, ThrottleEvent
from service.notify.acknowledgements import Acknowledgements
from service.notify.board import Source
from service.notify.changes import ChangeBox
from service.notify.chronicle import went_on
from service.notify.daily import DailyBox
from service.notify.desk import Desk
from service.notify.group import lead
from service.notify.notification import NEWS, Change, Line, Notification
from service.notify.outbox import Delivery, Outbox
from service.notify.receiver import Delivered, Result
from service.notify.routing import Pace
from service.notify.told import Told
from service.notify.trail import Trail
from service.rules.config import ConfigBook, control_key
from service.rules.config_signature import Signatures

BIG = 2**63 - 1
NOW = datetime(2026, 1, 31, 14, 9, tzinfo=UTC)


def alert(**changed: Any) -> Alert:
    """The catalog's example, with some fields changed."""
    return validate(Alert, EXAMPLES["alert"]).model_copy(update=changed)


def resolved(**changed: Any) -> Alert:
    end = datetime(2026, 1, 31, 14, 21, 30, tzinfo=UTC)
    return alert(**{"status": "resolved", "sequence": 9, "updated_at": end, "resolved_at": end, **changed})


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


def measure(change: ThrottleChange = "started", at: datetime = NOW, **changed: Any) -> ThrottleEvent:
    """The catalog's example of something that was done about the catalog's alert."""
    event = validate(ThrottleEvent, EXAMPLES["throttle-event"])
    return event.model_copy(update={"change": change, "at": at, "since": NOW, **changed})


def line(of: Alert, change: Change | None = Change.JOINED) -> Line:
    return Line(of, Change.RESOLVED if of.status == "resolved" else change)


def told(*about: Alert, **changed: Any) -> Notification:
    """A notification of these alerts, all of them news."""
    lines = [line(one) for one in about]
    firing = tuple(one for one in lines if one.alert.status != "resolved")
    resolved = tuple(one for one in lines if one.alert.status == "resolved")
    opened = {Change.OPENED} if firing else set()
    fields: dict[str, Any] = {
        "receiver": "slack",
        "group": "kind=retry_loop,owner=,team=care",
        "labels": (("kind", "retry_loop"), ("owner", ""), ("team", "care")),
        "incident": "5b0c6f1d2e3a49788a61c0de",
        "sequence": 1,
        "at": NOW,
        "changes": frozenset({one.change for one in lines if one.change is not None} | opened),
        "firing": firing,
        "resolved": resolved,
        "lead": lead(firing, resolved),
        **changed,
    }
    return Notification(**fields)


class Script:
    """A receiver that answers as told, then takes everything."""

    vendor = "script"

    def __init__(
        self,
        *answers: Result,
        interval_s: float = 0.0,
        concurrency: int = 1,
        wants: frozenset[Change] = NEWS,
    ) -> None:
        self.interval_s = interval_s
        self.concurrency = concurrency
        self.wants = wants
        self.answers = deque(answers)
        self.sent: list[Notification] = []

    async def send(self, notification: Notification) -> Result:
        self.sent.append(notification)
        return self.answers.popleft() if self.answers else Delivered()


class Sent(NamedTuple):
    """One notification, as short as it can be compared."""

    at: float
    receiver: str
    why: str
    firing: str
    over: str


class Scene:
    """A desk and its outboxes in manual time; whoever is not in `down` takes everything at once.

    `restart` makes it anew from what is kept: the records from the committed offset on, and the log.
    """

    def __init__(
        self,
        receivers: Mapping[str, Severity],
        *records: Control,
        wants: frozenset[Change] | Mapping[str, frozenset[Change]] = NEWS,
        pace: Pace | None = None,
        start: datetime = NOW,
        changes: Collection[str] = (),
    ) -> None:
        """`changes`: receivers that are told of what `write` says was changed."""
        self.now = start
        self.sent: list[Notification] = []
        self.log: dict[str, NotificationLogEntry] = {}
        self.topic: list[tuple[Alert, datetime]] = []
        self.acknowledgements: list[Acknowledgement] = []
        self.events: list[ThrottleEvent] = []
        self.written: list[ConfigChange] = []
        self.down: set[str] = set()
        self.out: list[Delivery] = []
        self._receivers = dict(receivers)
        self._wants = wants
        self._told_changes = changes
        self._pace = pace
        self._book = ConfigBook.empty()
        self._committed = 0
        self._begin()
        if records:
            self.configure(*records)

    def _begin(self) -> None:
        known = Told()
        for entry in self.log.values():
            known.apply(NotificationLogEntry.from_json(entry.to_json()))
        self.desk = Desk(known, Acknowledgements(), self._receivers, pace=self._pace)
        for name in self._receivers:
            wants = self._wants
            self.desk.outbox(
                name, wants if isinstance(wants, frozenset) else wants.get(name, frozenset(Change))
            )
        self._days = {name: DailyBox(name, self.desk, self.now, self._read_day) for name in self._receivers}
        self._trail = Trail(Signatures("config", {}))
        for change in self.written:
            self._trail.hear(ConfigChange.from_json(change.to_json()))
        self._changes = {name: ChangeBox(name, self._trail, known, self.now) for name in self._told_changes}
        self.desk.take_up(True)
        self.desk.reconfigure(self._book)
        for said in self.acknowledgements:
            self.desk.acknowledge(said)
        for event in self.events:
            self.desk.throttled(event)
        for offset in range(self._committed, len(self.topic)):
            alert, at = self.topic[offset]
            self.desk.accept(alert, Source(0, offset), at)

    def _read_day(self, since: datetime) -> None:
        latest = {one.fingerprint: one for one, _ in self.topic}
        self.desk.tell_day(since, went_on(latest, since))

    def _boxes(self, name: str) -> list[Outbox | DailyBox | ChangeBox]:
        changes = [self._changes[name]] if name in self._changes else []
        return [self.desk.outboxes[name], self._days[name], *changes]

    def _box(self, said: Notification) -> Outbox | DailyBox | ChangeBox:
        if said.occasion == "changes":
            return self._changes[said.receiver]
        return self._days[said.receiver] if said.occasion == "daily" else self.desk.outboxes[said.receiver]

    def restart(self) -> None:
        """As after a kill: what was out is forgotten."""
        self.out.clear()
        self._begin()

    def configure(self, *records: Control) -> None:
        for record in records:
            self._book = self._book.apply(control_key(record), record.to_json(), len(self._book.records))
        self.desk.reconfigure(self._book)

    def unconfigure(self, key: str) -> None:
        self._book = self._book.apply(key, None, 1)
        self.desk.reconfigure(self._book)

    def say(self, *said: Alert) -> None:
        """Records come in now."""
        for one in said:
            self.topic.append((one, self.now))
            self.desk.accept(one, Source(0, len(self.topic) - 1), self.now)
        self.settle()

    def write(self, *entries: ConfigChange) -> None:
        """The trail of the configuration goes on."""
        for entry in entries:
            self.written.append(entry)
            self._trail.hear(entry)
        self.settle()

    def acknowledge(self, about: str | Acknowledgement, **changed: Any) -> None:
        said = about
        if isinstance(said, str):
            fields = {"fingerprint": said, "author": "ada", "at": self.now, "via": "cli", **changed}
            said = Acknowledgement(**fields)
        self.acknowledgements.append(said)
        self.desk.acknowledge(said)
        self.settle()

    def throttle(self, *events: ThrottleEvent) -> None:
        """Something was done about incidents, or undone."""
        for event in events:
            self.events.append(event)
            self.desk.throttled(event)
        self.settle()

    def wait(self, seconds: float) -> None:
        """Let time pass, doing what is due when it is due."""
        until = self.now + timedelta(seconds=seconds)
        idle = 0
        while idle < 3:
            boxes = [box for name in self._receivers for box in self._boxes(name)]
            times = [at for box in boxes if (at := box.wake_at(self.now)) is not None]
            following = min((max(at, self.now) for at in times), default=until)
            if following > until:
                break
            stood = following == self.now
            self.now = following
            # What is looked at may come to nothing; but not again and again at the same time.
            idle = idle + 1 if not self.settle() and stood else 0
        self.now = until
        self.settle()

    def settle(self) -> int:
        """Deliver all that is due. Returns how many."""
        count = 0
        while True:
            before = count
            for name in self._receivers:
                for box in self._boxes(name):
                    # The second time for a daily digest, whose alerts are read in between.
                    while (delivery := box.take(self.now) or box.take(self.now)) is not None:
                        count += 1
                        if name in self.down:
                            self.out.append(delivery)
                        else:
                            self.deliver(delivery)
            if count == before:
                break
        self._committed = self.desk.sweep(self.now).get(0, self._committed)
        return count

    def deliver(self, delivery: Delivery) -> None:
        box = self._box(delivery.said)
        entry = box.done(delivery, self.now)
        self.sent.append(delivery.said)
        self.log[f"{entry.receiver}/{entry.group}"] = entry
        self.desk.told.apply(entry)
        box.back(delivery)

    def recover(self, receiver: str) -> None:
        """A receiver that was down takes what was tried in vain."""
        self.down.discard(receiver)
        waiting, self.out = self.out, []
        for delivery in waiting:
            box = self._box(delivery.said)
            if delivery.said.receiver != receiver:
                self.out.append(delivery)
            elif box.refresh(delivery, self.now):
                self.deliver(delivery)
            else:
                box.back(delivery)
        self.settle()

    @property
    def story(self) -> list[Sent]:
        """What was sent: seconds since NOW, to whom, why, and which alerts are news."""
        return [
            Sent(
                (said.at - NOW).total_seconds(),
                said.receiver,
                said.why.value,
                " ".join(sorted(one.alert.fingerprint for one in said.firing if one.change is not None)),
                " ".join(sorted(one.alert.fingerprint for one in said.resolved)),
            )
            for said in self.sent
        ]


MINUTE = timedelta(minutes=1)
