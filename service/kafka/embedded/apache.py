"""Apache Kafka itself, one KRaft node run from its Maven jars. The tests' broker."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from service.kafka.embedded.broker import LOOPBACK, BrokerStartError, EmbeddedBroker, free_port

# 4.x rather than 3.9: it is what new clusters run, and the stricter of the two. It dropped protocol versions
# older than Kafka 2.1's (KIP-896) and brokers it formats use transaction.version 2; aiokafka 0.14.0 and
# faust-streaming 0.15.3 negotiate around both: see docs/adr/0001-embedded-broker.md for what was tried.
KAFKA_VERSION = "4.1.1"
_JAVA_NEEDED = 17
_POM = Path(__file__).with_name("pom.xml")
_FETCH_TIMEOUT_S = 300

# C1 alone compiles fast and spares the two cores of a CI machine; the serial collector spares memory.
_JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true"]
_LOGGING = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
# As strict as production about topics, as small as one node allows.
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Groups form at once; a killed member may be given up after a second if it asks for that.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A transaction left open by a killed process is aborted within a second of its timeout.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# After a crash the node waits for its former self's session (9 s by default) before it registers again.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
# Compaction within a second of being due, with 8 MB of the heap and not 128.
log.cleaner.backoff.ms=500
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
"""


class ApacheKafka(EmbeddedBroker):
    """Apache Kafka in KRaft mode, broker and controller in one JVM of at most 512 MB heap.

    The jars are fetched once by Maven into `$TIDEGATE_CACHE/kafka-<version>`, by default under
    `~/.cache/tidegate`.
    """

    name = f"Apache Kafka {KAFKA_VERSION} (KRaft)"
    supports_transactions = True

    def __init__(self, data_dir: Path | None = None, port: int | None = None) -> None:
        super().__init__(data_dir, port)
        self._controller_port = free_port()

    def available(self) -> str | None:
        java = shutil.which("java")
        if java is None:
            return "no `java` on the PATH"
        version = _java_version(java)
        if version < _JAVA_NEEDED:
            return f"Java {version or 'of unknown version'} found, Kafka needs {_JAVA_NEEDED} or later"
        if not jar_dir().is_dir() and shutil.which("mvn") is None:
            return f"no jars in {jar_dir()} and no `mvn` on the PATH to fetch them"
        return None

    def prepare(self) -> None:
        fetch_jars()

    def _command(self, data_dir: Path) -> list[str]:
        config = data_dir / "server.properties"
        config.write_text(
            _PROPERTIES.format(
                host=LOOPBACK,
                port=self._port,
                controller_port=self._controller_port,
                log_dir=data_dir / "log",
            ),
            encoding="utf-8",
        )
        java = ["java", *_JVM, *_LOGGING, "-cp", f"{jar_dir()}/*"]
        if not (data_dir / "log" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # The "=" keeps an id that begins with "-" from being read as an option.
            format_storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
            _run([*java, "-Xmx128m", *format_storage, "--config", str(config)], timeout_s=120)
        return [*java, "-Xms128m", "-Xmx512m", "kafka.Kafka", str(config)]


def jar_dir() -> Path:
    """Where the jars of this Kafka version are, or will be, cached. If it exists it is complete."""
    root = os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate"
    return Path(root) / f"kafka-{KAFKA_VERSION}"


def fetch_jars() -> Path:
    """Copy the jars from Maven into the cache unless they are there: a few seconds to a minute, 43 MB.

    Whole or not at all: they are copied beside the cache and renamed into it. Of several processes that want them
    at once, one fetches and the others wait. Raises BrokerStartError with Maven's last lines.
    """
    target = jar_dir()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _fetch(target)
    return target


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        work = Path(scratch)
        shutil.copy(_POM, work / "pom.xml")
        jars = work / "jars"
        _run(
            [
                *("mvn", "-q", "-B", "-f", str(work / "pom.xml"), "dependency:copy-dependencies"),
                *(f"-Dkafka.version={KAFKA_VERSION}", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"),
            ],
            timeout_s=_FETCH_TIMEOUT_S,
        )
        jars.rename(target)


def _java_version(java: str) -> int:
    """The feature release of this `java`, such as 17; 0 when it does not say."""
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(match[1]) if match else 0


def _run(command: list[str], timeout_s: float) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerStartError(f"`{command[0]}` failed: {error}") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise BrokerStartError(f"`{command[0]}` ended with status {done.returncode}:\n{tail}")
