"""Commands that need no broker, and how every user's mistake ends: one clear line and the right status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.catalog import EXAMPLES, SCHEMAS
from schemas.control import file as control_file
from tests.service.commands.conftest import Tidegate


def test_version_and_help(tidegate: Tidegate) -> None:
    assert tidegate("--version").stdout.startswith("tidegate ")
    help_text = tidegate("--help").stdout
    for command in (
        "up",
        "ingest",
        "detect",
        "notify",
        "budgets",
        "topics",
        "publish",
        "tail",
        "config",
        "replay",
        "demo",
    ):
        assert command in help_text


def test_schemas_are_listed_and_printed(tidegate: Tidegate) -> None:
    listed = tidegate("schema").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [*SCHEMAS, control_file.NAME]
    assert json.loads(tidegate("schema", control_file.NAME).stdout) == control_file.file_schema()
    assert json.loads(tidegate("schema", "cost-event").stdout)["title"] == "CostEvent"
    example = json.loads(tidegate("schema", "cost-event", "--example").stdout)
    assert example["event_id"] == EXAMPLES["cost-event"]["event_id"]
    assert tidegate("schema", "costevent").exit_code == 1


def test_settings_say_where_they_come_from_and_keep_secrets(tidegate: Tidegate, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(
        '[kafka]\npartitions = 8\n[notify.receivers.oncall]\ntype = "slack"\nwebhook_url = "https://hooks/T0P"\n'
    )
    result = tidegate("--settings", str(file), "settings", TIDEGATE_INGEST__IDLE_TIMEOUT_S="3")
    assert f"kafka.partitions = 8  # {file}" in result.stdout
    assert "ingest.idle_timeout_s = 3.0  # TIDEGATE_INGEST__IDLE_TIMEOUT_S" in result.stdout
    assert "kafka.replication_factor = 1  # default" in result.stdout
    assert "T0P" not in result.output
    as_json = tidegate("--settings", str(file), "settings", "--json").stdout
    assert json.loads(as_json)["notify"]["receivers"]["oncall"]["webhook_url"] == "**********"


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "says"),
    [
        (
            ["topics", "check"],
            {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            3,
            "no Kafka broker answers",
        ),
        (
            ["config", "get"],
            {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            3,
            "no Kafka broker answers",
        ),
        (
            ["tail", "alerts"],
            {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            3,
            "no Kafka broker answers",
        ),
        (
            ["publish", "-"],
            {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            3,
            "no Kafka broker answers",
        ),
        (
            ["settings"],
            {"TIDEGATE_KAFKA__PARTITIONS": "many"},
            2,
            "TIDEGATE_KAFKA__PARTITIONS: kafka.partitions: ",
        ),
        (["--settings", "nowhere.toml", "settings"], {}, 2, "nowhere.toml: No such file"),
        (["up"], {"TIDEGATE_HEALTH__PORT": "9000"}, 2, "health.port: one port for several roles"),
        (["publish", "nowhere.jsonl"], {}, 1, "nowhere.jsonl: No such file"),
        (["config", "validate", "nowhere.yaml"], {}, 1, "nowhere.yaml: No such file"),
        (["tail", "weather"], {}, 1, "no topic 'weather' in the contract"),
        (["replay", "nowhere.jsonl"], {}, 1, "nowhere.jsonl"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_its_exit_status(
    tidegate: Tidegate, arguments: list[str], environment: dict[str, str], status: int, says: str
) -> None:
    result = tidegate(*arguments, stdin=None, **environment)
    assert result.exit_code == status, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("tidegate: ")
    assert says in line


def test_a_mistake_ends_the_real_process_the_same_way() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "service.cli", "topics", "check"],
        env={"PATH": "", "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 3
    (line,) = found.stderr.splitlines()
    assert line.startswith("tidegate: no Kafka broker answers at 127.0.0.1:1")
    assert found.stdout == ""


def test_every_bad_setting_is_told_at_once(tidegate: Tidegate) -> None:
    result = tidegate("settings", TIDEGATE_KAFKA__PARTITIONS="0", TIDEGATE_LOG__LEVEL="LOUD")
    assert result.exit_code == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        "TIDEGATE_KAFKA__PARTITIONS",
        "TIDEGATE_LOG__LEVEL",
    ]
