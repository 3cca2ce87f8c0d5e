"""What is told that is no alert: changes of the configuration, and announced launches. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.control import ConfigChange, Control, Launch
from service.rules.config import ConfigBook


@dataclass(frozen=True, slots=True)
class Edit:
    """One record that was applied.

    Attributes
    ----------
    at : datetime
        When it was written, UTC; at least a millisecond after the one before it on the trail.
    before, after : Control or None
        What the key held; None where it held nothing.
    was, became : ConfigBook
        The whole topic before and after.
    overtaken : bool
        A later record of the key was known already: it held for a moment, and changed nothing since.
    """

    at: datetime
    entry: ConfigChange
    before: Control | None
    after: Control | None
    was: ConfigBook
    became: ConfigBook
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """An announced launch begins, is over as it said, or ends before its time: withdrawn, or replaced."""

    at: datetime
    step: Literal["begins", "over", "cancelled"]
    launch: Launch


@dataclass(frozen=True, slots=True)
class Tidings:
    """What is told at one time: one change, what a launch came to, or the sum of all that was missed.

    Attributes
    ----------
    until : datetime
        When the last of it happened, UTC: no two have the same, so it says which are told.
    changes : int
        How many tidings it sums up; 1 unless it was not possible to tell them one by one.
    since : datetime or None
        Where a sum begins.
    cut : bool
        Whether a sum leaves out what was before all that is known by now.
    """

    until: datetime
    edits: tuple[Edit, ...] = ()
    phases: tuple[Phase, ...] = ()
    changes: int = 1
    since: datetime | None = None
    cut: bool = False

    @property
    def versions(self) -> tuple[str, str] | None:
        """Of what held before and after, as alerts name it. None: nothing was written."""
        if not self.edits:
            return None
        first, last = self.edits[0], self.edits[-1]
        return first.was.at(first.at).version, last.became.at(last.at).version
