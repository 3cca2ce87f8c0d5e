"""Which calls are told by trace, so that outcomes can have a cost."""

from __future__ import annotations

from typing import Literal

from schemas.control.record import Control, Pattern


class Outcomes(Control):
    """Add up what each trace of these workflows costs, for the cost of the outcomes that it leads to.

    Without any record of this kind outcomes are counted and have no cost.
    """

    kind: Literal["outcomes"] = "outcomes"
    workflow: Pattern = "*"
