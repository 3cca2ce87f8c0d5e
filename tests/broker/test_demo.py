"""`tidegate demo` as a person runs it: an embedded broker, every role a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

_CODE = """
import sys
from pathlib import Path
from service.demo.app import DemoOptions, run_demo
sys.exit(run_demo(DemoOptions(seconds=SECONDS, report=Path(sys.argv[1]), broker="noida", backfill_hours=HOURS)))
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of the demo's own, to see that nothing stays in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert list(folder.iterdir()) == []


@contextmanager
def running(report: Path, seconds: float | None, hours: float) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process; killed in the end if a test has failed before it was over."""
    code = _CODE.replace("SECONDS", repr(seconds)).replace("HOURS", repr(hours))
    demo = subprocess.Popen(
        [sys.executable, "-c", code, str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    with demo:
        try:
            yield demo
        finally:
            demo.kill()


def children_of(pid: int) -> dict[int, str]:
    """Process id to command line of the direct children that still run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(status[1]) == pid and status[0] != "Z":
            found[int(entry.name)] = command
    return found


def lines_until(demo: subprocess.Popen[str], words: str) -> list[str]:
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if words in line:
            return lines
    pytest.fail(f"the demo ended before it said {words!r}:\n{''.join(lines)}")


def test_the_demo_accounts_for_every_nano_dollar_and_stops_the_loop(scratch: Path, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    # The loop goes on for six tenths of it: long enough to be stopped on a slow machine too.
    with running(report_file, seconds=45, hours=3) as demo:
        lines_until(demo, "the live traffic begins")
        children = children_of(demo.pid)
        output, _ = demo.communicate(timeout=400)
    report = orjson.loads(report_file.read_bytes())
    assert demo.returncode == 0, output
    assert report["failures"] == []
    assert report["events_published"] == report["events_accounted"] > 5_000
    assert report["cost_nanos_published"] == report["cost_nanos_accounted"] > 0
    (incident,) = report["incidents"]
    assert (incident["workflow"], incident["kind"]) == ("support-agent", "retry_loop")
    assert incident["alerted_at"] is not None
    assert incident["throttled_at"] is not None
    assert incident["delay_s"] > 0
    assert [(launch["workflow"], launch["paged"]) for launch in report["launches"]] == [("chat", False)]
    assert report["calls_rejected"] > 0
    assert report["dead_letters"] == report["malformed_published"] > 0
    assert report["duplicates_published"] > 0
    for role in ("ingest", "detect", "notify", "demo.driver", "noida-db"):
        assert any(role in command for command in children.values()), f"{role} is a process of its own"
    assert not any(Path(f"/proc/{pid}").exists() for pid in children), "no process is left behind"


def test_ctrl_c_ends_it_in_order(scratch: Path, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    with running(report_file, seconds=None, hours=0.5) as demo:
        lines_until(demo, "the live traffic begins")
        time.sleep(2)
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, output
    report = orjson.loads(report_file.read_bytes())
    assert report["events_published"] == report["events_accounted"] > 0


def test_it_says_so_and_fails_when_a_role_dies(scratch: Path, tmp_path: Path) -> None:
    with running(tmp_path / "report.json", seconds=60, hours=24) as demo:
        lines_until(demo, "hours of past traffic")
        (ingest,) = [pid for pid, command in children_of(demo.pid).items() if "ingest" in command]
        os.kill(ingest, signal.SIGKILL)
        output, _ = demo.communicate(timeout=300)
    assert demo.returncode == 8, output
    assert "ingest ended with status -9" in output
    assert not (tmp_path / "report.json").exists()
