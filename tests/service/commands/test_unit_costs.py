"""`tidegate unit-costs` adds up what was told of outcomes, corrections included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import OutcomeRollup
from schemas.topics import ROLLUPS
from service.commands.rendering import line
from service.commands.unit_costs import UnitCost, summed, table
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings
from tests.service.commands.conftest import Tidegate
from tests.service.commands.test_broker_commands import put

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
USD = 10**9


def told(ago: timedelta = timedelta(0), **more: Any) -> OutcomeRollup:
    return OutcomeRollup(
        **{"workflow": "support", "kind": "solved", "bucket_start": NOW - ago, "outcomes": 1, **more}
    )


def test_corrections_are_part_of_the_sum() -> None:
    records = [
        told(cost_nanos=2 * USD, calls=3, unmatched=1),
        told(outcomes=0, cost_nanos=USD, calls=1, unmatched=-1),
        told(kind="escalated", cost_nanos=5),
        told(kind="moved", cost_nanos=USD, calls=1),
        told(kind="moved", outcomes=-1, cost_nanos=-USD, calls=-1),
    ]
    escalated, solved = summed(records, NOW - DAY, "*")
    assert (solved.outcomes, solved.cost_nanos, solved.calls, solved.unmatched) == (1, 3 * USD, 4, 0)
    assert (escalated.kind, escalated.nanos_per_outcome) == ("escalated", 5)


def test_only_what_was_asked_for_is_in_it() -> None:
    records = [told(), told(2 * DAY), told(workflow="care")]
    assert [c.workflow for c in summed(records, NOW - DAY, "*")] == ["care", "support"]
    assert [c.outcomes for c in summed(records, NOW - DAY, "sup*")] == [1]
    assert [c.outcomes for c in summed(records, NOW - 3 * DAY, "sup*")] == [2]


@given(st.integers(0, 10**15), st.integers(1, 10**6))
def test_a_unit_cost_is_rounded_to_the_nearest_nano_dollar(cost: int, outcomes: int) -> None:
    each = UnitCost("w", "k", outcomes=outcomes, cost_nanos=cost).nanos_per_outcome
    assert each is not None
    assert abs(each * outcomes - cost) * 2 <= outcomes
    assert UnitCost("w", "k", cost_nanos=cost).nanos_per_outcome is None


def test_the_table_is_as_wide_as_it_needs() -> None:
    assert table([UnitCost("support-agent", "ticket_resolved", 412, 0, 6, 400, 187_240 * USD // 1_000, 3_611)]) == [
        "workflow       kind             outcomes     cost  per outcome  calls  unmatched",
        "support-agent  ticket_resolved       412  $187.24      $0.4545  3,611          6",
    ]  # fmt: skip


def test_a_record_of_outcomes_is_a_line_for_people() -> None:
    text = line(told(cost_nanos=-USD, calls=-2, unmatched=1))
    assert text.startswith("support ")
    assert text.endswith("solved +1 outcomes, -$1.00 of -2 calls unmatched=+1")


@pytest.mark.broker
def test_it_reads_what_is_on_the_topic(cluster: Tidegate, broker: EmbeddedBroker, topic_prefix: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    assert cluster("unit-costs").output == "no outcomes\n"
    values = [told(cost_nanos=3 * USD, calls=2).to_json(), told(outcomes=2).to_json(), b'{"type":"tick"}']
    put(kafka, ROLLUPS, *((b"support", value) for value in values))
    shown = cluster("unit-costs", "--since", "1h")
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[1].split() == ["support", "solved", "3", "$3.00", "$1.00", "2", "0"]
    found = orjson.loads(cluster("unit-costs", "--json").output)
    assert (found["outcomes"], found["cost_nanos"]) == (3, 3 * USD)
