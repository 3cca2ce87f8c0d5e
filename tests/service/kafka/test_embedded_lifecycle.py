"""Embedded brokers as child processes: what they listen on, how they end, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from service.kafka.embedded import apache
from service.kafka.embedded.apache import ApacheKafka
from service.kafka.embedded.broker import BrokerStartError, EmbeddedBroker, choose, free_port, wait_ready
from service.kafka.embedded.noida import NoidaBroker
from tests.support.broker import broker_under_test, create_topics, read_all
from tests.support.patience import PATIENCE_S

needs_apache = pytest.mark.skipif(
    ApacheKafka().available() is not None, reason=f"Apache Kafka cannot run: {ApacheKafka().available()}"
)


def listening(pid: int) -> set[str]:
    """Hexadecimal addresses of the TCP sockets that a process listens on, as the kernel writes them."""
    fds = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {fd[len("socket:[") : -1] for fd in fds if fd.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "0A":
                found.add(fields[1].split(":")[0])
    return found


def gone(pid: int, within_s: float = PATIENCE_S) -> bool:
    """Whether a process that is not our child ends within that many seconds; a zombie counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["broker", "embedded_broker"])
def test_only_loopback_is_listened_on(request: pytest.FixtureRequest, kind: str) -> None:
    running: EmbeddedBroker = request.getfixturevalue(kind)
    assert running.pid is not None
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening(running.pid)
    assert listening(running.pid) <= loopback


@pytest.mark.broker
def test_stop_ends_the_process_and_throws_the_data_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broker = NoidaBroker()
    broker.start()
    pid = broker.pid
    assert pid is not None
    assert list(tmp_path.iterdir()) != []
    broker.stop()
    assert (broker.pid, gone(pid)) == (None, True)
    assert list(tmp_path.iterdir()) == []
    broker.stop()  # nothing to do, no error


@pytest.mark.broker
async def test_a_stopped_broker_can_be_started_again_empty_and_on_the_same_port() -> None:
    broker = NoidaBroker()
    for _ in range(2):
        # Called where an event loop runs, as a test or the demo may.
        with broker:
            bootstrap = broker.bootstrap
            await create_topics(broker.bootstrap, {"a": 1})
    assert broker.bootstrap == bootstrap


@pytest.mark.broker
@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_broker_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from service.kafka.embedded.noida import NoidaBroker\n"
        "b = NoidaBroker(); b.start(); print(b.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what a killed process cannot remove, pytest does
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)  # it lives
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


@pytest.mark.broker
@needs_apache
async def test_apache_kafka_keeps_its_records_over_a_crash_and_a_clean_restart(tmp_path: Path) -> None:
    broker = ApacheKafka(data_dir=tmp_path / "data")
    try:
        broker.start()
        await create_topics(broker.bootstrap, {"a": 1})
        for round_, end in enumerate([broker.kill, broker.stop]):
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
                await producer.send_and_wait("a", b"%d" % round_)
            end()
            broker.start()
        assert [record.value for record in await read_all(broker.bootstrap, "a")] == [b"0", b"1"]
    finally:
        broker.stop()
    assert (tmp_path / "data" / "log" / "meta.properties").exists()


@pytest.mark.broker
def test_a_taken_port_is_reported_with_what_the_broker_said() -> None:
    with socket.socket() as other:
        port = free_port()
        other.bind(("127.0.0.1", port))
        other.listen()
        broker = NoidaBroker(port=port)
        with pytest.raises(BrokerStartError, match=rf"noida-db .* on 127\.0\.0\.1:{port}: exited"):
            broker.start()
    assert broker.pid is None
    assert "in use" in broker.log_tail()


async def test_waiting_for_nobody_times_out() -> None:
    with pytest.raises(TimeoutError):
        await wait_ready(f"127.0.0.1:{free_port()}", timeout_s=0.3)


async def test_something_that_listens_but_is_no_kafka_is_not_ready() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", free_port()) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(TimeoutError):
            await wait_ready(f"{host}:{port}", timeout_s=0.5)


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only directory on the PATH besides /bin and /usr/bin's shell tools; the cache of jars is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "mkdir", "touch", "echo"):
        (folder / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    return folder


JAVA = "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"


def test_apache_kafka_says_why_it_cannot_run(bin_dir: Path) -> None:
    assert ApacheKafka().available() == "no `java` on the PATH"
    executable(bin_dir / "java", "echo 'java version \"1.8.0_202\"' >&2")
    assert ApacheKafka().available() == "Java 8 found, Kafka needs 17 or later"
    executable(bin_dir / "java", JAVA)
    assert "no `mvn` on the PATH" in (ApacheKafka().available() or "")
    apache.jar_dir().mkdir(parents=True)
    assert ApacheKafka().available() is None


def test_auto_falls_back_to_noida_and_apache_alone_does_not(
    bin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(choose("auto"), NoidaBroker)
    with pytest.raises(BrokerStartError, match="no `java` on the PATH"):
        choose("apache")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(BrokerStartError, match="no `java` on the PATH"):
        broker_under_test()


def test_a_failed_fetch_leaves_nothing_behind_and_is_not_apache_kafka(bin_dir: Path) -> None:
    executable(bin_dir / "java", JAVA)
    executable(bin_dir / "mvn", "echo 'Could not resolve'; exit 1")
    with pytest.raises(BrokerStartError, match="status 1:\nCould not resolve"):
        apache.fetch_jars()
    assert list(apache.jar_dir().parent.glob("fetch-*")) == []
    assert not apache.jar_dir().exists()
    assert isinstance(choose("auto"), NoidaBroker)


def test_jars_are_fetched_once_however_many_want_them_at_once(bin_dir: Path, tmp_path: Path) -> None:
    get = 'for a in "$@"; do case $a in -DoutputDirectory=*) d=${a#*=};; esac; done; mkdir -p $d; touch $d/a.jar'
    executable(bin_dir / "mvn", f"echo fetched >> {tmp_path}/fetches; {get}")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: apache.fetch_jars(), range(4)))
    assert found == [apache.jar_dir()] * 4
    assert [jar.name for jar in apache.jar_dir().iterdir()] == ["a.jar"]
    assert (tmp_path / "fetches").read_text() == "fetched\n"
    assert list(apache.jar_dir().parent.glob("fetch-*")) == []
