"""The whole line in one command, as a newcomer runs it: `tidegate up`, events in, rollups out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.kafka.embedded.broker import EmbeddedBroker
from tests.support.patience import PATIENCE_S
from tests.support.roles import ROOT, environment

pytestmark = pytest.mark.broker


def tidegate(env: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env=env,
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_up_runs_every_role_and_stops_them_all(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    env = environment(broker.bootstrap, topic_prefix, TIDEGATE_KAFKA__PARTITIONS="1")
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "up", "--create-topics"],
            env=env,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        event = {
            "event_id": "e1",
            "occurred_at": datetime.now(UTC).isoformat(),
            "provider": "openai",
            "model": "gpt-5",
            "workflow": "newcomer",
            "cost_usd": "0.25",
        }
        deadline = time.monotonic() + PATIENCE_S
        while tidegate(env, "topics", "check").returncode != 0:
            assert time.monotonic() < deadline, log.read_text()
        assert tidegate(env, "publish", "-", stdin=json.dumps(event)).returncode == 0
        rollup = tidegate(env, "tail", "rollups", "--from-start", "--max", "1", "--json")
        record = json.loads(rollup.stdout)["record"]
        assert (record["workflow"], record["cost_nanos"]) == ("newcomer", 250_000_000)
        assert up.poll() is None, log.read_text()
        up.send_signal(signal.SIGTERM)
        assert up.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(PATIENCE_S)
    text = log.read_text()
    assert all(f"{role:<6} | " in text for role in ("ingest", "detect", "notify", "budgets")), text
    assert "Traceback" not in text


def test_a_role_that_dies_ends_up_with_its_status(
    broker: EmbeddedBroker, topic_prefix: str, tmp_path: Path
) -> None:
    # No topics were created: the first role to notice ends, with the status for that.
    found = tidegate(environment(broker.bootstrap, topic_prefix), "up")
    assert found.returncode == 3, found.stderr
    assert "run `tidegate topics create`" in found.stderr
    assert found.stderr.splitlines()[-1].endswith("ended with status 3; the others are stopped")
    assert "Traceback" not in found.stderr
