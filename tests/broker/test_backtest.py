"""What a backtest and a shadow say, held against what the live path has said of the same events."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.alerts import Alert
from schemas.decode import decode
from schemas.feedback import Feedback
from schemas.topics import ALERTS, COST_EVENTS, FEEDBACK, WORKFLOW_STATE, Topic
from service.detect import state
from service.kafka.admin import create_topics
from service.kafka.embedded.broker import EmbeddedBroker, free_port
from service.settings import KafkaSettings, Settings
from tests.service.backtest.traffic import lines
from tests.support.broker import read_all
from tests.support.patience import PATIENCE_S
from tests.support.roles import ROOT, RoleProcess, environment, wait_ready

pytestmark = pytest.mark.broker

WORKFLOWS = ("agent", "helper", "writer", "planner")
Told = tuple[str, str, str, str, float]
"""Fingerprint, workflow, kind, severity, and when it was first told: epoch seconds."""


async def test_backtest_and_shadow_say_what_the_live_path_has_said(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix, partitions=2)
    await create_topics(Settings(kafka=kafka))
    port = free_port()
    env = environment(broker.bootstrap, topic_prefix, TIDEGATE_KAFKA__PARTITIONS="2")
    silent = tmp_path / "silent.yaml"
    silent.write_text("kind: tuning\nname: all\nsettings: {enabled: false}\n", encoding="utf-8")
    same = tmp_path / "same.yaml"
    same.write_text("kind: tuning\nname: other\nscope: {workflow: nobody}\nsettings: {}\n", encoding="utf-8")
    detecting = env | {"TIDEGATE_HEALTH__PORT": str(port), "TIDEGATE_DETECT__COMMIT_LAG_S": "0.5"}
    with (
        RoleProcess("ingest", env, tmp_path / "ingest.log") as ingest,
        RoleProcess("detect", detecting, tmp_path / "detect.log") as detect,
    ):
        await asyncio.to_thread(wait_ready, port)
        events = lines(workflows=WORKFLOWS)
        half = len(events) * 3 // 5
        await _publish(kafka, events[:half])
        await _judged(kafka, half, detect)
        shadow = _shadow(env, same)
        try:
            assert shadow.stderr is not None
            assert "shadow of" in await asyncio.to_thread(shadow.stderr.readline)
            await _publish(kafka, events[half:])
            await _judged(kafka, len(events), detect)
            live = await _told(kafka)
        finally:
            shadow.terminate()
            said = [json.loads(line) for line in shadow.communicate(timeout=PATIENCE_S)[0].splitlines()]
        assert ingest.returncode is None
    assert any(severity == "critical" for *_, severity, _ in live)
    summary = said[-1]
    assert (summary["gained"], summary["lost"], summary["changed"]) == ([], [], [])
    assert summary["unchanged"] == sum(s["by"] == "live" for s in said) >= 1
    as_judged = await _backtest(env, "--config", str(silent), "--from", "rollups", "--processes", "2")
    assert _listed(as_judged["lost"]) == live
    assert as_judged["history"]["events"] == len(events)
    assert as_judged["candidate"]["alerts"] == 0
    unchanged = await _backtest(env, "--config", str(same))
    assert _listed(p["live"] for p in unchanged["unchanged"]) == live
    events_again = ("--from", "cost-events", "--since", "3650d", "--processes", "2")
    from_events = await _backtest(env, "--config", str(silent), *events_again)
    # Folded again, in other batches than when they came: the same incidents, told to within a bucket.
    again = _listed(from_events["lost"])
    assert [told[1:4] for told in again] == [told[1:4] for told in live]
    for one, other in zip(again, live, strict=True):
        assert abs(one[4] - other[4]) <= 20

    page = next(told[0] for told in live if told[3] == "critical")
    said_of_it = Feedback(
        fingerprint=page, workflow="agent", kind="retry_loop", worth="expected",
        author="ops", at=datetime.now(UTC), via="cli",
    )  # fmt: skip
    await _send(kafka, FEEDBACK, [(page.encode(), said_of_it.to_json())])
    tuned = await _asked(env, "tune", "agent", "--json", "--real-above", "0.01")
    assert [episode["worth"] for episode in tuned["episodes"]] == ["noise"]
    assert tuned["proposed"]["needless_pages_per_month"] <= tuned["present"]["needless_pages_per_month"]


def _shadow(env: dict[str, str], candidate: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", "shadow", "--config", str(candidate), "--json"],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def _publish(kafka: KafkaSettings, events: list[bytes]) -> None:
    await _send(kafka, COST_EVENTS, [(json.loads(event)["workflow"].encode(), event) for event in events])


async def _send(kafka: KafkaSettings, topic: Topic, records: list[tuple[bytes, bytes]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all", linger_ms=5)
    await producer.start()
    try:
        for key, value in records:
            await producer.send(kafka.topic(topic), value, key)
        await producer.flush()
    finally:
        await producer.stop()


async def _judged(kafka: KafkaSettings, calls: int, detect: RoleProcess) -> None:
    """Wait until detect has judged so many calls."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        records = await read_all(kafka.bootstrap_servers, kafka.topic(WORKFLOW_STATE))
        newest = {record.key: state.decode(record.value) for record in records}
        if sum(found.totals.calls for found in newest.values()) == calls:
            return
        assert detect.returncode is None, detect.tail()
        assert time.monotonic() < deadline, detect.tail()
        await asyncio.sleep(0.5)


async def _told(kafka: KafkaSettings) -> list[Told]:
    """What is on the alerts topic, each incident as it was first told."""
    records = await read_all(kafka.bootstrap_servers, kafka.topic(ALERTS))
    first = [alert for record in records if (alert := decode(Alert, record.value)).sequence == 1]
    return sorted(
        (
            (a.fingerprint, a.workflow, a.kind, a.severity, a.fired_at.timestamp())
            for a in first
            if a.fired_at is not None
        ),
        key=lambda told: (told[4], told[1], told[0]),
    )


def _listed(incidents: Iterable[dict[str, Any]]) -> list[Told]:
    return [(i["fingerprint"], i["workflow"], i["kind"], i["severity"], i["told_at"]) for i in incidents]


async def _backtest(env: dict[str, str], *arguments: str) -> Any:
    return await _asked(env, "backtest", "--json", *arguments)


async def _asked(env: dict[str, str], *arguments: str) -> Any:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service.cli", *arguments],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
