"""What the clerk does with records that are not for the desks."""

from __future__ import annotations

from typing import Any, cast

from schemas.outcomes import OutcomeRollup
from schemas.reasons import Reason
from service.detect.clerk import Clerk
from service.detect.effects import Outbox
from service.rules.config import ConfigBook
from service.runtime.clock import ManualClock
from tests.service.detect.builders import T0, at


class Table(dict[str, Any]):
    def items_of(self, _: int) -> Any:
        return iter(self.items())


class Refusals:
    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    async def refuse(self, *what: Any) -> None:
        self.reasons.append(what[-1].reason)


async def test_what_outcomes_cost_is_passed_over_and_what_is_no_record_is_refused() -> None:
    table, refusals = Table(), Refusals()
    clerk = Clerk(cast(Any, table), cast(Outbox, refusals), ConfigBook.empty, ManualClock(at(T0)))
    told = OutcomeRollup(
        workflow="support", kind="solved", bucket_start=at(T0), outcomes=1, cost_nanos=5, calls=3
    )
    await clerk.handle(0, 7, T0, b"support", told.to_json())
    assert (table, refusals.reasons, clerk.positions) == ({}, [], {0: 7})
    await clerk.handle(0, 8, T0, b"support", told.to_json().replace(b'"outcome"', b'"outcomes"'))
    await clerk.handle(0, 9, T0, b"support", told.to_json().replace(b'"kind"', b'"kin"'))
    assert refusals.reasons == [Reason.INVALID_VALUE, Reason.MISSING_FIELD]
