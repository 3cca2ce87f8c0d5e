"""What budgets read of the rollups topic is what ingest writes there, and what the contract allows."""

from __future__ import annotations

import orjson
import pytest

from schemas.outcomes import OutcomeRollup
from schemas.reasons import Refused
from schemas.rollups import Tick
from service.budgets.entry import Passage, Spend, read
from service.ingest.fold import Fold
from service.ingest.instant import EPOCH
from service.ingest.price import Pricer
from service.ingest.scopes import Watching
from service.settings import IngestSettings
from tests.service.ingest.events import T0_S, raw
from tests.service.rules.budgets import USD, a_budget


def test_what_ingest_writes_is_read_whoever_it_is_of() -> None:
    fold = Fold(0, 1, IngestSettings(), Pricer(), watching=Watching([], [a_budget()]))
    fold.take([raw(0, at=3.0, team="care", cost_usd="1.5"), raw(1, at=40.0)])
    found = [read(record.to_json()) for record in fold.drain().in_time()]
    spends = [entry for entry in found if isinstance(entry, Spend)]
    assert Spend("team", "care", T0_S, T0_S + 3, 3 * USD // 2, 1_100) in spends
    assert Spend("workflow", "support", T0_S, T0_S + 3, 3 * USD // 2, 1_100) in spends
    assert found[-1] == Passage(0, 1, T0_S + 35, idle=False)


def test_times_may_be_spelt_as_epoch_seconds_too() -> None:
    tick = {"type": "tick", "partition": 2, "partitions": 4, "watermark": 1_700_000_000, "schema_version": 1}
    assert read(orjson.dumps(tick)) == Passage(2, 4, 1_700_000_000.0, idle=False)
    assert read(Tick.model_validate(tick).to_json()) == Passage(2, 4, 1_700_000_000.0, idle=False)


def test_what_outcomes_cost_is_in_the_rollups_of_their_calls_already() -> None:
    told = OutcomeRollup(
        workflow="support", kind="solved", bucket_start=EPOCH, outcomes=1, cost_nanos=5 * USD, calls=3
    )
    assert read(told.to_json()) is None
    assert read(told.to_json().replace(b'"1970-01-01T00:00:00Z"', b"0")) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no",
        b"[]",
        b'{"type":"rollup"}',
        b'{"type":"outcome"}',
        b'{"type":"tick","partition":"x"}',
        b"\xff",
    ],
)
def test_what_is_no_record_of_the_topic_is_refused(value: bytes | None) -> None:
    with pytest.raises(Refused):
        read(value)
