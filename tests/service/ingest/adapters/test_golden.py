"""Documented shapes of foreign records become exactly the events that lie beside them."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import orjson
import pytest

import schemas.decode
from schemas.decode import validate
from schemas.events import CostEvent
from schemas.reasons import Refused
from service.ingest.adapters import ADAPTERS, MAX_BYTES, MAX_DEPTH, adapt
from tests.service.ingest.adapters.golden_files import GOLDEN, Golden

CASES = [pytest.param(case, id=f"{case.format}/{case.name}") for case in GOLDEN]


@pytest.mark.parametrize("case", CASES)
def test_a_documented_record_becomes_these_events(case: Golden) -> None:
    record = deepcopy(case.record)
    if case.refusal is not None:
        with pytest.raises(Refused) as caught:
            adapt(record, ADAPTERS[case.format])
        assert {"reason": caught.value.reason.value, "path": caught.value.path} == case.refusal
    else:
        assert adapt(record, ADAPTERS[case.format]) == case.events
    assert record == case.record, "an adapter leaves the record as it was"


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.values[0], Golden) and c.values[0].events])
def test_the_events_are_valid_and_nothing_of_them_is_lost(case: Golden) -> None:
    for document in case.events or []:
        event = orjson.loads(validate(CostEvent, document).to_json())
        assert {name: event[name] for name in document} == document


def test_every_format_has_its_golden_files() -> None:
    counted = Counter(case.format for case in GOLDEN)
    assert set(counted) == set(ADAPTERS)
    assert all(number >= 8 for number in counted.values())
    assert all((case.events is None) != (case.refusal is None) for case in GOLDEN)


def test_the_bounds_of_a_foreign_record_leave_room() -> None:
    def depth(node: object) -> int:
        items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
        return 0 if items is None else 1 + max(map(depth, items), default=0)

    assert schemas.decode.MAX_DEPTH < max(depth(case.record) for case in GOLDEN) < MAX_DEPTH // 2
    assert schemas.decode.MAX_BYTES < MAX_BYTES


def test_no_event_carries_what_was_said_or_who_said_it() -> None:
    for case in GOLDEN:
        said = orjson.dumps(case.events).decode()
        for secret in ("order 4711", "Jane", "jane", "support-bot@", "secret", "person1@", "10.3.0.17"):
            assert secret not in said, case.name
