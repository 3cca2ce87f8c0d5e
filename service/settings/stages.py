"""The stages without a port of their own, and what all of them have."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.settings.section import Name, Port, Seconds, Section


class IngestSettings(Section):
    group_id: Name = "tidegate-ingest"
    adapter: Literal["tidegate", "litellm", "otlp", "cloudevents", "focus"] = "tidegate"
    """Format of records that name none in their headers: our own, or the adapter that turns them into it."""
    allowed_lateness_s: Annotated[float, Field(ge=0, le=3_600)] = 5.0
    idle_timeout_s: Seconds = 10.0
    """A partition silent for so long stops holding the others' watermark back."""
    future_allowance_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """An event later than the broker's time by more is refused: one bad clock must not move all time."""
    commit_interval_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    rollups_per_s: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Of one partition, about: with more to tell commits wait longer, up to a second. A rollup costs detect a state
    written, and a detect that falls behind is late by seconds; gathering costs a few tenths."""
    max_batch_records: Annotated[int, Field(ge=1, le=100_000)] = 50_000
    """Of one partition in one transaction. Reached only when there is a backlog."""
    dedup_offsets: Annotated[int, Field(ge=0, le=100_000_000)] = 500_000
    """How far back, in offsets of a partition, a second event with the same id is recognised. Costs 15 bytes each,
    and so many are read again, 5 µs each, when a partition changes hands."""
    dead_letter_max_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    dead_letter_ratio_window: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    dead_letter_max_streak: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    transaction_max_age_s: Annotated[float, Field(ge=1, le=50)] = 30.0


class DetectSettings(Section):
    app_id: Name = "tidegate-detect"
    commit_lag_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    state_soft_bytes: Annotated[int, Field(ge=1_024, le=1_000_000)] = 16_384
    state_hard_bytes: Annotated[int, Field(ge=1_024, le=1_000_000)] = 65_536

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.state_soft_bytes > self.state_hard_bytes:
            raise ValueError("state_soft_bytes must not exceed state_hard_bytes")
        return self


class BudgetsSettings(Section):
    group_id: Name = "tidegate-budgets"
    reread_records: Annotated[int, Field(ge=0, le=1_000_000_000)] = 500_000
    """A budget that is new is counted from its window's start if that is no more records of `rollups` ago, else
    from now on. Reading so many takes some 30 s, in which no budget is up to date."""


class ThrottlesSettings(Section):
    group_id: Name = "tidegate-throttles"
    ack_wait_s: Seconds = 15.0
    """An enforced command that no gateway has acknowledged for so long is told to people."""


class OutcomesSettings(Section):
    group_id: Name = "tidegate-outcomes"
    keep_s: Annotated[float, Field(ge=60, le=2_592_000)] = 86_400.0
    """A trace of which nothing was heard for so long is forgotten: what comes later is of another."""
    max_traces: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """With more at a time those go that were silent for longest. Some 250 bytes each, twice that with outcomes."""


class HealthSettings(Section):
    host: str = "127.0.0.1"
    port: Port = 0
    """Port of the role this process runs; 0: the role's own below, -1: any free one."""
    ingest_port: Port = 9101
    detect_port: Port = 9102
    notify_port: Port = 9103
    door_port: Port = 9104
    budgets_port: Port = 9105
    decisions_port: Port = 9106
    throttles_port: Port = 9107
    outcomes_port: Port = 9108
    callbacks_port: Port = 9109
    stall_after_s: Seconds = 30.0
    """A loop that has made no progress for so long is reported unhealthy."""

    def port_of(self, role: str) -> int:
        """The port to bind for a role; 0 asks the kernel for a free one."""
        port: int = self.port or getattr(self, f"{role}_port")
        return max(port, 0)


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
