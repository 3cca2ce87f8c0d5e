"""Declared metrics: their names, and that no input can make them grow."""

from __future__ import annotations

import re
from typing import get_args

from prometheus_client import REGISTRY

from service.runtime import metrics
from service.settings import Role


def test_every_metric_is_named_for_its_role() -> None:
    names = [name for name in REGISTRY._names_to_collectors if name.startswith("tidegate_")]
    assert len(names) > 40
    roles = "|".join(get_args(Role))
    for name in names:
        # Several roles follow the configuration, and other topics that they need as a whole.
        assert re.fullmatch(rf"tidegate_({roles}|config|view)_[a-z0-9_]+", name)


def test_a_label_takes_so_many_values_and_no_more() -> None:
    values = {metrics.bounded("test", f"model-{n}") for n in range(10_000)}
    assert len(values) == 201
    assert metrics.OTHER in values
    assert metrics.bounded("test", "model-0") == "model-0"


def test_only_one_config_version_is_in_force() -> None:
    metrics.set_config_version("test", "1-aa", 1, None)
    metrics.set_config_version("test", "2-bb", 2, "1-aa")
    metrics.set_config_version("test", "2-bb", 2, "2-bb")
    versions = {
        sample.labels["version"]: sample.value
        for family in metrics.CONFIG_INFO.collect()
        for sample in family.samples
        if sample.labels["role"] == "test"
    }
    assert versions == {"2-bb": 1.0}
