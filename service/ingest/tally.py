"""Metrics of what was committed: counted once it is durable, never before."""

from __future__ import annotations

from service.ingest.fold import Batch
from service.runtime import metrics


def tally(batch: Batch, partition: int, ticks: int, value_bytes: int) -> None:
    """Count one committed batch."""
    metrics.INGEST_EVENTS.labels(str(partition)).inc(batch.records)
    metrics.INGEST_BYTES.inc(value_bytes)
    metrics.INGEST_ROLLUPS.inc(len(batch.deltas))
    metrics.INGEST_COST.inc(sum(delta.cost_nanos for delta in batch.deltas) / 1e9)
    metrics.INGEST_TICKS.inc(ticks)
    metrics.INGEST_DUPLICATES.inc(batch.duplicates)
    metrics.INGEST_LATE.inc(batch.late)
    metrics.INGEST_UNATTRIBUTED.inc(batch.unattributed)
    for letter in batch.dead_letters:
        metrics.INGEST_DEAD_LETTERS.labels(letter.reason.value).inc()
    for (kind, provider, model), calls in batch.faults.items():
        which = metrics.bounded("model", f"{provider}/{model}")
        metrics.INGEST_PRICE_FAULTS.labels(kind, which).inc(calls)
        if kind == "unpriced":
            metrics.INGEST_UNPRICED.labels(which).inc(calls)
