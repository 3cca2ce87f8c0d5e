"""The broker is killed and comes back while calls are made: `make bench-outage`, in short."""

from __future__ import annotations

import pytest

from benchmarks.installation import Installation
from benchmarks.outage import outage
from service.kafka.embedded.apache import ApacheKafka
from tests.support.broker import apache_required

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def test_calls_go_on_or_stop_as_configured_and_all_are_counted_once() -> None:
    reason = ApacheKafka().available()
    if reason is not None and not apache_required():
        pytest.skip(f"a broker that is killed and started again must be Apache Kafka: {reason}")
    with Installation(["ingest", "budgets"], {"TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "3"}) as installation:
        told = outage(installation, 9.0, 3.0, before_s=2.0, after_s=1.0)
    assert told["faults"] == []
    assert told["doubled_on_the_topic"] == 0
    away = {name: flow["calls_while_away"] for name, flow in told["gateways"].items()}
    assert away["open"] > 1.5 * away["closed"] > 0
    assert told["gateways"]["open"]["refused"] == 0
    assert told["gateways"]["closed"]["refused_by"] == ["limits_unknown"]
    assert told["gateways"]["closed"]["calls_again_s_after_it_is_back"] is not None
