"""noida-db's Kafka: one 12 MB binary from a wheel, up in well under a second. The demo's broker."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from service.kafka.embedded.broker import LOOPBACK, BrokerStartError, EmbeddedBroker


class NoidaBroker(EmbeddedBroker):
    """`noida-db` with only its Kafka enabled, bound to loopback.

    Speaks transactions, fencing, read_committed, groups and every codec, but gives up neither a group member
    that was killed nor a transaction that timed out, creates topics that a producer names, and keeps every
    record in memory: for the demo and small tests (docs/adr/0001-embedded-broker.md). With a `data_dir` it
    writes `kafka.json` there. It prints a harmless note about a weak symbol where glibc is older than 2.39.
    """

    supports_transactions = True

    def __init__(self, data_dir: Path | None = None, port: int | None = None) -> None:
        super().__init__(data_dir, port)
        self.name = "noida-db"
        if self.available() is None:
            self.name = f"noida-db {importlib.metadata.version('noida-db')}"

    def available(self) -> str | None:
        binary = _binary()
        if binary is None:
            return "the wheel noida-db is not installed (pip install 'tidegate[demo]')"
        if not os.access(binary, os.X_OK):
            return f"{binary} is missing or not executable"
        return None

    def prepare(self) -> None:
        """Nothing to fetch: the binary came with the wheel."""

    def _command(self, data_dir: Path) -> list[str]:
        binary = _binary()
        if binary is None:
            raise BrokerStartError("the wheel noida-db is not installed")
        if not self._keep:
            # It saves by writing all it holds to kafka.tmp, again and again while records arrive: 1.5 GB in 40 s
            # with 400,000 events. Nobody reads what is thrown away, and a directory in its place stops that.
            (data_dir / "kafka.tmp").mkdir(exist_ok=True)
        return [
            str(binary),
            "start",
            "--only",
            "kafka",
            "--kafka-port",
            str(self._port),
            "--host",
            LOOPBACK,
            "--data-dir",
            str(data_dir),
        ]


def _binary() -> Path | None:
    """The wheel's executable. Its Python module is not imported: it only wraps the same file."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "noida-db"
