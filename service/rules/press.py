"""Buttons under an alert: what one carries to the vendor and back, and which record a press becomes. Pure.

What a button carries has been through the vendor and is signed by it, not by us: whoever may post as the app could
write another. So it names what is meant, and holds no permission.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.alerts import Alert, Kind
from schemas.base import Label
from schemas.control import Approval, Launch, Match, Silence
from schemas.feedback import WORTH, Feedback, Loudness, Worth
from schemas.notifications import Acknowledgement
from service.rules.feedback import loudness, meant_usd

Act = Literal["acknowledge", "silence", "launch", "release"] | Worth
ACTS: Final[tuple[Act, ...]] = ("acknowledge", "silence", "launch", "release", *WORTH)

MAX_VALUE: Final = 2_000
"""Characters that a button's value may have at Slack."""
MAX_PATTERN: Final = 200
SILENCE: Final = timedelta(hours=1)
LAUNCH: Final = timedelta(hours=24)
RELEASE: Final = timedelta(hours=24)
_MAX_USD: Final = 1_000_000


class Unreadable(Exception):
    """A button's value is none of ours. The message may be shown."""


class Subject(BaseModel):
    """What a button is about: everything that its record needs, so that a press needs nobody's memory.

    Attributes
    ----------
    incident, fingerprint : str
        Keys of the incident and of its first alert.
    multiple, cap_usd : float, int
        Of a launch: times the usual volume, and dollars until its end, as the message said them.
    loudness : float
        Score over threshold of an alert that is over, for what is said of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    incident: Annotated[str, Field(min_length=1, max_length=64)]
    fingerprint: Label
    workflow: Label
    kind: Kind
    multiple: Annotated[float, Field(gt=1, le=100_000)] = 2.0
    cap_usd: Annotated[int, Field(ge=1, le=_MAX_USD)] = 1
    loudness: Loudness = 1.0

    @classmethod
    def of(cls, alert: Alert, incident: str) -> Subject:
        """About an alert. A launch may have twice what it has already, and cost twice what the day comes to."""
        usual = max(alert.expected_nanos, 1)
        # A ratio for people, not an amount: it may be a float.
        times = 2 * max(alert.cost_nanos, 0) / usual
        return cls(
            incident=incident,
            fingerprint=alert.fingerprint,
            workflow=alert.workflow,
            kind=alert.kind,
            multiple=float(min(max(math.ceil(times), 2), 100_000)),
            cap_usd=meant_usd(alert),
            # What it was worth is asked once it is over; before, a button carries no more than it needs.
            loudness=loudness(alert) if alert.status == "resolved" else 1.0,
        )

    def value(self) -> str:
        """As a button carries it: at most `MAX_VALUE` characters, whatever the names."""
        unsaid = {"loudness"} if self.loudness == 1.0 else set()
        return orjson.dumps(self.model_dump(exclude=unsaid)).decode()

    @classmethod
    def read(cls, value: str) -> Subject:
        """Raises Unreadable."""
        try:
            return cls.model_validate(orjson.loads(value))
        except (orjson.JSONDecodeError, ValidationError):
            raise Unreadable("this button was made by another version, or by somebody else") from None


@dataclass(frozen=True, slots=True)
class Press:
    """Somebody pressed a button.

    Attributes
    ----------
    at : datetime
        When, as the vendor signed it, UTC: every record of it has its times from here, so that the same press
        read twice is the same record.
    author : str
        The vendor's name of the person.
    via : str
        Where: `slack`.
    """

    act: Act
    subject: Subject
    at: datetime
    author: str
    via: Literal["slack"] = "slack"

    @property
    def name(self) -> str:
        """Of the record that it becomes: the same for the same press."""
        said = f"{self.act}\n{self.subject.incident}\n{self.at.isoformat()}\n{self.author}"
        return f"{self.via}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"

    @property
    def second(self) -> datetime:
        """The whole second it happened in."""
        return self.at.astimezone(UTC).replace(microsecond=0)


def exactly(name: str) -> str:
    """A glob that matches this name and no other: `a[*]b` for `a*b`.

    Raises
    ------
    Unreadable
        It would be longer than a pattern may be.
    """
    pattern = "".join(f"[{c}]" if c in "*?[" else c for c in name)
    if len(pattern) > MAX_PATTERN:
        raise Unreadable("the name of this workflow has too many * ? [ for a pattern")
    return pattern


def acknowledgement(press: Press) -> Acknowledgement:
    """The person takes the incident: all that is part of it."""
    return Acknowledgement(
        fingerprint=press.subject.incident, author=press.author, at=press.at, via=press.via
    )


def feedback(press: Press, worth: Worth) -> Feedback:
    """What the person says the alert was worth."""
    subject = press.subject
    return Feedback(
        fingerprint=subject.fingerprint,
        workflow=subject.workflow,
        kind=subject.kind,
        worth=worth,
        author=press.author,
        at=press.at,
        via=press.via,
        loudness=subject.loudness,
        cap_usd=Decimal(subject.cap_usd) if worth == "planned" else None,
    )


def silence(press: Press) -> Silence:
    """Say nothing about this kind of alert of this workflow for an hour. Raises Unreadable."""
    return Silence(
        name=press.name,
        match=Match(workflow=exactly(press.subject.workflow), kinds=[press.subject.kind]),
        starts_at=press.second,
        ends_at=press.second + SILENCE,
        author=press.author,
        reason=f"pressed in {press.via.title()} on incident {press.subject.incident}",
        expires_at=press.second + SILENCE,
    )


def launch(press: Press) -> Launch:
    """This volume is meant, up to what the message said, for a day. Raises Unreadable."""
    return Launch(
        name=press.name,
        workflow=exactly(press.subject.workflow),
        starts_at=press.second,
        ends_at=press.second + LAUNCH,
        volume_multiple=press.subject.multiple,
        cap_usd=Decimal(press.subject.cap_usd),
        owner=press.author,
        author=press.author,
        reason=f"pressed in {press.via.title()} on incident {press.subject.incident}",
        expires_at=press.second + LAUNCH,
    )


def releases(press: Press, proposals: Sequence[str]) -> list[Approval]:
    """A no to each throttle of the incident: none of them holds for a day."""
    return [
        Approval(
            # As `tidegate approve` names it: the later answer of the two replaces the other.
            name=proposal,
            proposal=proposal,
            decision="no",
            author=press.author,
            reason=f"pressed in {press.via.title()} on incident {press.subject.incident}",
            expires_at=press.second + RELEASE,
        )
        for proposal in proposals
    ]
