"""A thousand invalid records: none of them changes anything, and each refusal says where the fault is."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from schemas.catalog import EXAMPLES
from schemas.control import CONTROL_KINDS
from schemas.reasons import Refused
from service.rules.config import ConfigBook
from tests.support.invalid_records import invalid_records


def test_a_thousand_invalid_records_change_nothing_and_each_names_its_path() -> None:
    book = ConfigBook.empty()
    for offset, kind in enumerate(sorted(CONTROL_KINDS)):
        example = EXAMPLES[f"config-{kind}"]
        book = book.apply(f"{kind}/{example['name']}", json.dumps(example).encode(), offset)
    before = {key: record.to_json() for key, record in book.records.items()}, book.version
    paths = set()
    for key, value, path in islice(invalid_records(seed=6), 1_000):
        with pytest.raises(Refused) as caught:
            book.apply(key, value, 1_000)
        assert caught.value.path == path, value
        paths.add(f"{key}:{path}")
    assert ({key: record.to_json() for key, record in book.records.items()}, book.version) == before
    assert len(paths) > 200, "they are of many kinds"
