"""The paced producer's process, and whether ingest has accounted for what it sent."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from benchmarks.cores import BROKER_CORE
from benchmarks.process import Process, RunFailed
from service.settings import Settings


class Sender:
    """`benchmarks.paced` on the broker's core. Use as a context manager: it is surely ended."""

    def __init__(self, settings: Settings, rate: float, seconds: float, workflows: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
        self._log = Path(self._folder.name) / "batches.npy"
        self._process = Process(
            "paced",
            [
                sys.executable,
                "-m",
                "benchmarks.paced",
                str(rate),
                str(seconds),
                str(workflows),
                str(self._log),
            ],
            {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers},
            BROKER_CORE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._folder.cleanup()

    @property
    def alive(self) -> bool:
        """Whether it still has something to send."""
        return self._process.alive

    def until_sending(self) -> None:
        """Wait until everything is rendered and the first batch is due. Raises RunFailed."""
        while not any("sending" in line for _, line in self._process.lines):
            if not self._process.alive:
                raise RunFailed(f"the producer failed\n{self._process.tail()}")
            time.sleep(0.1)

    def report(self) -> dict[str, Any]:
        """What it sent, after it has ended: see `benchmarks.paced.Sent`. Raises RunFailed."""
        if self._process.wait(10) or not self._process.said:
            raise RunFailed(f"the producer failed\n{self._process.tail()}")
        report: dict[str, Any] = json.loads(self._process.said[-1])
        return report

    def batches(self) -> npt.NDArray[np.float64]:
        """Every batch: partition, first offset, records, when it was handed to the client."""
        found: npt.NDArray[np.float64] = np.load(self._log)
        return found


def same_counts(sent: Mapping[str, Any], counted: Mapping[str, int]) -> None:
    """Ingest has counted every event, every duplicate and every dead letter. Raises RunFailed."""
    wanted = sent["events"], sent["duplicates"], sent["bad"]
    if (counted["events"], counted["duplicates"], counted["dead_letters"]) != wanted:
        raise RunFailed(f"sent {sent}, but ingest counts {dict(counted)}")
