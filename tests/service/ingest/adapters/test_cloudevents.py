"""CloudEvents: what cannot be read, and what costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.reasons import Reason, Refused
from service.ingest.adapters.cloudevents import from_cloudevents
from tests.service.ingest.adapters.golden_files import but, ids, record

CLOUD_EVENT = record("cloudevents", "openmeter-input-tokens-as-a-string")


@pytest.mark.parametrize(
    ("more", "reason", "path"),
    [
        ({"specversion": "0.3"}, Reason.INVALID_VALUE, "specversion"),
        ({"id": None}, Reason.MISSING_FIELD, "id"),
        ({"source": ""}, Reason.TOO_SHORT, "source"),
        ({"time": "2026-01-31T14:07:31"}, Reason.BAD_TIMESTAMP, "time"),
        ({"data": "{"}, Reason.INVALID_JSON, "data"),
        ({"data": "12"}, Reason.NOT_AN_OBJECT, "data"),
        ({"data": [1]}, Reason.NOT_AN_OBJECT, "data"),
        ({"data": None, "data_base64": "?"}, Reason.INVALID_VALUE, "data_base64"),
        ({"data": {"type": "input", "tokens": 1}}, Reason.MISSING_FIELD, "data.model"),
        ({"data": {"model": "m", "tokens": 1}}, Reason.MISSING_FIELD, "data.type"),
        ({"data": {"model": "m", "type": "input", "tokens": "1.5"}}, Reason.WRONG_TYPE, "data.tokens"),
        ({"data": {"model": "m"}}, Reason.MISSING_FIELD, "data.tokens"),
        ({"data": {"model": "m", "cost": -1}}, Reason.NEGATIVE, "data.cost"),
    ],
)
def test_a_cloud_event_that_cannot_be_read_is_refused(
    more: dict[str, Any], reason: Reason, path: str
) -> None:
    with pytest.raises(Refused) as caught:
        from_cloudevents(but(CLOUD_EVENT, **more))
    assert (caught.value.reason, caught.value.path) == (reason, path)


def test_ids_are_unique_within_their_source_only() -> None:
    assert ids(from_cloudevents(but(CLOUD_EVENT, source="another-gateway"))) != ids(
        from_cloudevents(CLOUD_EVENT)
    )


def test_data_without_anything_that_costs_is_nothing() -> None:
    assert from_cloudevents(but(CLOUD_EVENT, data=None)) == []
    assert from_cloudevents(but(CLOUD_EVENT, data={"duration_seconds": 30})) == []


def test_an_extension_attribute_may_name_the_workflow() -> None:
    assert from_cloudevents(but(CLOUD_EVENT, workflow="digest"))[0]["workflow"] == "digest"
