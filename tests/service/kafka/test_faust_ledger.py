"""The ledger commits a position only when everything delivered below it is done, whatever the order and holes."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from service.kafka.faust_transport.ledger import PartitionLedger


def test_a_hole_needs_no_thought() -> None:
    ledger = PartitionLedger(10)
    for offset in (12, 13, 20):
        assert ledger.deliver(offset)
        ledger.acknowledge(offset, 0.0)
    assert ledger.committable() == 21


def test_a_record_in_hand_holds_the_position_at_itself() -> None:
    ledger = PartitionLedger(0)
    for offset in (0, 1, 5, 6):
        ledger.deliver(offset)
    for offset in (0, 1, 6):
        ledger.acknowledge(offset, 0.0)
    assert (ledger.committable(), ledger.outstanding) == (5, 2)


def test_a_hole_at_the_end_is_passed_once_everything_before_it_is_done() -> None:
    ledger = PartitionLedger(0)
    ledger.deliver(3)
    ledger.pass_to(6)
    assert ledger.committable() == 3
    ledger.acknowledge(3, 0.0)
    assert ledger.committable() == 6


def test_a_record_is_delivered_once() -> None:
    ledger = PartitionLedger(4)
    assert [ledger.deliver(offset) for offset in (3, 4, 4, 6, 5, 7)] == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_an_acknowledgement_of_what_was_not_delivered_counts_for_nothing() -> None:
    ledger = PartitionLedger(4)
    ledger.acknowledge(4, 0.0)
    ledger.acknowledge(2, 0.0)
    ledger.deliver(4)
    assert ledger.committable() == 4


def test_a_late_acknowledgement_waits_for_its_time() -> None:
    ledger = PartitionLedger(0)
    for offset, at in ((0, 1.0), (1, 3.0), (2, 2.0)):
        ledger.deliver(offset)
        ledger.acknowledge(offset, at)
    assert [ledger.committable(until) for until in (0.5, 1.0, 2.5, 3.0)] == [0, 1, 1, 3]


_steps = st.lists(st.tuples(st.sampled_from(["deliver", "ack", "pass"]), st.integers(0, 60)), max_size=80)


@given(start=st.integers(0, 20), steps=_steps, until=st.one_of(st.just(math.inf), st.integers(0, 80)))
def test_the_position_is_the_first_delivered_record_not_done_in_time(
    start: int, steps: list[tuple[str, int]], until: float
) -> None:
    ledger = PartitionLedger(start)
    delivered: list[int] = []
    done_at: dict[int, int] = {}
    read_to = start
    positions = []
    for now, (step, number) in enumerate(steps):
        if step == "deliver":
            accepted = ledger.deliver(number)
            assert accepted == (number >= read_to)
            if accepted:
                delivered.append(number)
                read_to = number + 1
        elif step == "ack":
            ledger.acknowledge(number, now)
            if number in delivered:
                done_at.setdefault(number, now)
        elif not delivered or number > delivered[-1]:
            ledger.pass_to(number)
            read_to = max(read_to, number)
        missing = [
            offset for offset in delivered if done_at.get(offset, math.inf) > until or offset not in done_at
        ]
        positions.append(ledger.committable(until))
        assert positions[-1] == (missing[0] if missing else read_to)
    assert positions == sorted(positions), "a position never goes back"
