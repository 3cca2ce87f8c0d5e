from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.reasons import Reason
from service.dead_letters.selection import Selection, parse_instant, parse_origin
from service.errors import InvalidInput
from tests.service.dead_letters.letters import AT_S, event, letter

AT = datetime.fromtimestamp(AT_S, UTC)
ONE = letter(event(cost_usd=-1, gateway="eu-1"))


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset([Reason.NEGATIVE, Reason.EMPTY])), True),
        (Selection(reasons=frozenset([Reason.EMPTY])), False),
        (Selection(topics=frozenset(["t.cost-events"])), True),
        (Selection(topics=frozenset(["t.outcomes"])), False),
        (Selection(partitions=frozenset([2])), True),
        (Selection(partitions=frozenset([0])), False),
        (Selection(since=AT), True),
        (Selection(since=AT + timedelta(seconds=1)), False),
        (Selection(until=AT), False),
        (Selection(until=AT + timedelta(seconds=1)), True),
        (Selection(gateway="eu-1"), True),
        (Selection(gateway="eu-2"), False),
        (Selection(origins=frozenset(["t.cost-events/2/7"])), True),
        (Selection(origins=frozenset(["t.cost-events/2/8"])), False),
        (Selection(partitions=frozenset([2]), gateway="eu-2"), False),
    ],
)
def test_a_letter_is_taken_if_it_fits_everything_that_is_given(selection: Selection, taken: bool) -> None:
    assert selection.takes(ONE) is taken


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[1]", b'{"gateway":1}', b"{}"])
def test_a_value_that_names_no_gateway_is_of_none(value: bytes | None) -> None:
    assert not Selection(gateway="eu-1").takes(letter(value))


def test_instants_are_given_as_rfc_3339_or_as_how_long_ago() -> None:
    assert parse_instant("2026-01-31T09:30:00Z", AT) == AT
    assert parse_instant("90s", AT) == AT - timedelta(seconds=90)
    assert parse_instant("2d", AT) == AT - timedelta(days=2)
    for bad in ("yesterday", "2026-01-31T09:30:00", "-1h", "1w", "1769851800", ""):
        with pytest.raises(InvalidInput):
            parse_instant(bad, AT)


def test_origins_are_told_with_and_without_the_prefix() -> None:
    assert parse_origin("cost-events/2/007", "t.") == "t.cost-events/2/7"
    assert parse_origin("t.cost-events/2/7", "t.") == "t.cost-events/2/7"
    for bad in ("cost-events", "cost-events/2", "cost-events/2/x", "/2/3", "a/1/2/3", "a b/1/2", "a/-1/2"):
        with pytest.raises(InvalidInput):
            parse_origin(bad, "t.")
