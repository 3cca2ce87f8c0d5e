"""Every record survives the wire: written, read, the same; written again, the same bytes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.base import Record
from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.control import Rule
from schemas.decode import decode
from schemas.throttles import ThrottleCommand
from tests.schemas.strategies import records


@pytest.mark.parametrize("name", SCHEMAS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_written_is_read_back(name: str, data: st.DataObject) -> None:
    model = SCHEMAS[name]
    record = data.draw(records(model))
    written = record.to_json()
    read = decode(model, written)
    assert read == record
    assert read.to_json() == written
    assert model.from_json(written) == record


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_record_cannot_be_changed(name: str) -> None:
    record: Record = SCHEMAS[name].model_validate(EXAMPLES[name])
    with pytest.raises(ValueError, match="frozen"):
        setattr(record, "schema_version", 1)  # noqa: B010  (mypy knows better)


@pytest.mark.parametrize(
    "action",
    [
        {"action": "slow", "max_rps": 2.5},
        {"action": "downgrade", "fallback_model": "gpt-4o-mini"},
        {"action": "cap", "max_output_tokens": 512},
        {"action": "block", "message": "Stopped."},
        {"action": "release"},
    ],
)
def test_a_rules_action_goes_into_a_command_as_it_is(action: dict[str, object]) -> None:
    """A rule refuses unknown fields in its action and a command does not: two types, one meaning."""
    rule = Rule.model_validate({**EXAMPLES["config-rule"], "action": action, "ladder": None})
    golden = decode(ThrottleCommand, orjson.dumps(EXAMPLES["throttle-command"]))
    command = ThrottleCommand(**{**dict(golden), "action": rule.action})
    read = decode(ThrottleCommand, command.to_json())
    assert read.action.model_dump(exclude_none=True) == action
    assert read.to_json() == command.to_json()
