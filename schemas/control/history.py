"""The audit trail: every change of the config topic, kept for ever on a topic of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Base64, Count, Label, Record, Text, Timestamp


class ConfigChange(Record):
    """One record as it was written to the config topic, which is compacted and forgets.

    `tidegate config` writes it in the same transaction as the change. What others write to the config topic is
    added by the workers, which see it (`command` is `seen`); two may add the same: `offset` and `written_at` tell.
    """

    max_bytes: ClassVar[int] = 262_144

    key: Text
    offset: Count = Field(description="where it lies, or lay, on the config topic")
    written_at: Timestamp = Field(description="the time the config topic gave it")
    value: Annotated[Base64, Field(max_length=65_536)] | None = Field(
        None, description="its exact bytes, the first 65,536 of them; absent = deleted"
    )
    size: Count = Field(description="bytes of the value as it was written")
    signature: Text | None = Field(None, description="its header `tidegate-signature`")
    command: Literal["apply", "delete", "rollback", "sign", "seen"]
    change: Label = Field(description="the same for everything that was changed at once")
    author: Label | None = None
    reason: Text | None = None
    recorded_by: Label = Field(description="`cli`, `callbacks` for buttons, or the role that saw it")
