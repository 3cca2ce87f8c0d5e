"""The configuration folded again out of its audit trail: each change once, and every version found again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from schemas.control import ConfigChange
from schemas.topics import CONFIG
from service.kafka.config_change import Change, Intent, history_entry
from service.kafka.config_past import book_at
from service.kafka.config_trail import each_once
from service.rules.config import ConfigBook
from service.rules.config_signature import HEADER, sign
from service.settings import ConfigKey, KafkaSettings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "0123456789abcdef0123456789abcdef"
PLAIN = KafkaSettings()
KEYED = KafkaSettings(config_keys={"ops": ConfigKey(hmac_secret=SecretStr(SECRET))})


def tuning(name: str, pending_s: float, **fields: str) -> bytes:
    document = {"kind": "tuning", "name": name, "settings": {"pending_s": pending_s}, **fields}
    return json.dumps(document).encode()


def entry(
    offset: int, name: str, value: bytes | None, command: str = "apply", signed: bool = False
) -> ConfigChange:
    key, at = f"tuning/{name}", NOON + timedelta(seconds=offset)
    headers = []
    if signed:
        signature = sign("ops", SECRET.encode(), PLAIN.topic(CONFIG), key, value, at)
        headers = [(HEADER, signature.encode())]
    return history_entry(Change(key, value, offset, at, headers), Intent(command, "ada"), f"c{offset}")


def versions(entries: list[ConfigChange]) -> list[str]:
    book, found = ConfigBook.empty(), []
    for one in entries:
        book = book.apply(one.key, one.value, one.offset)
        found.append(book.version)
    return found


def test_each_change_is_taken_once_and_from_whoever_knows_who_it_was() -> None:
    applied, seen = entry(0, "a", b"{}"), entry(0, "a", b"{}", "seen")
    later = entry(3, "b", None, "seen")
    for entries in ([applied, seen, later], [later, seen, applied], [seen, seen, later, applied]):
        assert [(e.offset, e.command) for e in each_once(entries)] == [(0, "apply"), (3, "seen")]


def test_a_topic_that_was_made_again_does_not_hide_the_old_one() -> None:
    old = entry(0, "a", b"{}")
    new = old.model_copy(update={"written_at": NOON + timedelta(days=1)})
    assert each_once([new, old]) == [old, new]


def test_every_version_there_was_is_found_again_byte_for_byte() -> None:
    entries = [
        entry(0, "a", tuning("a", 1.0)),
        entry(1, "b", tuning("b", 2.0)),
        entry(2, "a", None),
        entry(4, "a", tuning("a", 3.0)),
    ]
    for index, version in enumerate(versions(entries)):
        found = book_at(entries, version, PLAIN)
        assert found is not None
        assert found.version == version
        wanted = {e.key for e in entries[: index + 1]} - ({"tuning/a"} if index == 2 else set())
        assert set(found.records) == wanted
    assert book_at(entries, "1-00000000", PLAIN) is None
    assert book_at(entries, "nonsense", PLAIN) is None
    first = book_at(entries, "defaults", PLAIN)
    assert first is not None
    assert not first.records


def test_what_was_refused_then_is_not_brought_back() -> None:
    entries = [entry(0, "a", tuning("a", 1.0)), entry(1, "a", b'{"kind": "tuning"}')]
    found = book_at(entries, versions(entries[:1])[0], PLAIN)
    assert found is not None
    assert found.offsets == {"tuning/a": 0}


def test_where_keys_are_set_versions_of_before_are_found_and_forged_changes_are_not() -> None:
    before = [entry(0, "a", tuning("a", 1.0))]
    signed = [*before, entry(1, "a", tuning("a", 1.0), "sign", signed=True)]
    forged = [*signed, entry(2, "a", tuning("a", 9.0), "seen"), entry(3, "b", tuning("b", 2.0), signed=True)]
    assert book_at(forged, versions(before)[0], KEYED) is not None
    found = book_at(forged, versions([signed[1], forged[3]])[1], KEYED)
    assert found is not None
    assert found.workflow("w").pending_s == 2.0
    assert found.offsets == {"tuning/a": 1, "tuning/b": 3}


def test_the_version_that_workers_went_by_leads_to_the_same_records() -> None:
    entries = [
        entry(0, "a", tuning("a", 1.0)),
        entry(1, "b", tuning("b", 2.0, effective_at="2026-04-01T00:00:00Z")),
    ]
    whole = book_at(entries, versions(entries)[1], PLAIN)
    assert whole is not None
    assert set(whole.records) == {"tuning/a", "tuning/b"}


def test_more_bytes_than_any_record_has_are_cut_and_said() -> None:
    found = entry(0, "a", b"x" * 100_000)
    assert (found.size, len(found.value or b"")) == (100_000, 65_536)
    assert len(found.to_json()) < ConfigChange.max_bytes
