"""What compaction removes because a refused record came after it is found again in the audit trail."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.control import ConfigChange
from schemas.reasons import Refused
from schemas.topics import CONFIG
from service.kafka.config_change import Change, Intent, history_entry
from service.kafka.config_fold import ConfigFold
from service.rules.config_signature import HEADER, sign
from service.settings import ConfigKey, KafkaSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "0123456789abcdef0123456789abcdef"
PLAIN = KafkaSettings()
KEYED = KafkaSettings(config_keys={"ops": ConfigKey(hmac_secret=SecretStr(SECRET))})
BAD = b'{"kind": "tuning", "name": "all", "settings": {"pending_s": -1}}'


def tuning(name: str, pending_s: float) -> bytes:
    return json.dumps({"kind": "tuning", "name": name, "settings": {"pending_s": pending_s}}).encode()


def record(offset: int, name: str, value: bytes | None, *, signed: bool = False, day: int = 0) -> Any:
    """As it comes from the config topic."""
    key, at = f"tuning/{name}", NOON + timedelta(days=day, seconds=offset)
    headers = []
    if signed:
        signature = sign("ops", SECRET.encode(), PLAIN.topic(CONFIG), key, value, at)
        headers = [(HEADER, signature.encode())]
    stamp = round(at.timestamp() * 1_000)
    return SimpleNamespace(key=key.encode(), value=value, offset=offset, headers=headers, timestamp=stamp)


def folded(records: list[Any], kafka: KafkaSettings = PLAIN) -> ConfigFold:
    fold = ConfigFold(kafka)
    for one in records:
        try:
            fold.take(one)
        except Refused:
            continue
    return fold


def trail(records: list[Any]) -> list[ConfigChange]:
    return [history_entry(Change.of(one), Intent("seen"), f"c{number}") for number, one in enumerate(records)]


def compacted(records: list[Any]) -> list[Any]:
    """What is left of a topic: the latest record of each key, without tombstones."""
    latest = {one.key: one for one in records}
    return sorted((one for one in latest.values() if one.value is not None), key=lambda one: one.offset)


writes = st.lists(
    st.tuples(st.sampled_from(["all", "a"]), st.one_of(st.none(), st.just(BAD), st.floats(0, 9))), max_size=12
)


@given(writes)
def test_whoever_starts_after_compaction_goes_by_the_same_records(written: list[tuple[str, Any]]) -> None:
    records = [
        record(offset, name, tuning(name, value) if isinstance(value, float) else value)
        for offset, (name, value) in enumerate(written)
    ]
    lived, late = folded(records), folded(compacted(records))
    late.restore(trail(records))
    assert late.book.version == lived.book.version
    assert late.book.records == lived.book.records
    assert late.shadowed.keys() == lived.shadowed.keys()


def test_what_was_forged_then_is_not_restored() -> None:
    records = [
        record(0, "all", tuning("all", 1.0), signed=True),
        record(1, "all", tuning("all", 2.0)),
        record(2, "all", BAD),
    ]
    late = folded(records[2:], KEYED)
    late.restore(trail(records))
    assert late.book.offsets == {"tuning/all": 0}


def test_a_record_of_a_topic_that_was_made_again_is_not_restored() -> None:
    old = [record(offset, "all", tuning("all", 1.0)) for offset in range(5)]
    new = [record(0, "a", tuning("a", 1.0), day=1), record(1, "all", BAD, day=1)]
    late = folded(new)
    late.restore(trail(old + new))
    assert set(late.book.records) == {"tuning/a"}
    assert set(late.shadowed) == {"tuning/all"}


def test_a_value_that_the_trail_has_not_whole_is_not_restored() -> None:
    records = [record(0, "all", tuning("all", 1.0)), record(1, "all", BAD)]
    late = folded(records[1:])
    cut = [entry.model_copy(update={"size": 100_000}) for entry in trail(records)]
    late.restore(cut)
    assert late.book.records == {}
