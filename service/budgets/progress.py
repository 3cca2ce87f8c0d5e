"""How far the rollups topic has been read, in offsets and in event time."""

from __future__ import annotations

from typing import Final

import msgspec

from service.budgets.entry import Passage
from service.rules.watermark import Heard

VERSION: Final = 1


class UnreadableProgress(ValueError):
    """Bytes that no version of the codec wrote."""


class Progress(msgspec.Struct, array_like=True):
    """Plain state, kept with the ledgers that it is about.

    Attributes
    ----------
    positions : dict of int to int
        Per partition the offset of the next record.
    watermark : float
        Event time (epoch seconds) before which all spend is counted, but for what comes late. Never goes back.
    latest : float
        The latest event that was seen.
    rereading : dict of str to dict of int to int
        By budget whose past is still being read: up to which offset, per partition.
    """

    positions: dict[int, int] = {}
    watermark: float = 0.0
    latest: float = 0.0
    rereading: dict[str, dict[int, int]] = {}


class Watermark:
    """The least watermark over all source partitions, as all rollups partitions have heard of them.

    Every tick is on every partition, behind the rollups that it speaks of. So what one source has told holds once
    it was read on each partition: one that is behind, as after a restart, holds time back.
    """

    def __init__(self, partitions: int) -> None:
        """`partitions`: how many the rollups topic has."""
        self._heard = [Heard() for _ in range(partitions)]
        self._common: list[float | None] = [None] * partitions

    def observe(self, partition: int, passage: Passage, told_at: float) -> float | None:
        """Take in one tick; the common watermark (epoch seconds) if there is one by now.

        `told_at`: the broker's time of the record, epoch seconds. What is read again says nothing new.
        """
        self._common[partition] = self._heard[partition].observe(
            passage.partition, passage.partitions, passage.watermark, idle=passage.idle, told_at=told_at
        )
        known = [at for at in self._common if at is not None]
        return min(known) if len(known) == len(self._common) else None


def dump(progress: Progress) -> bytes:
    """One version byte, then MessagePack."""
    return bytes((VERSION,)) + msgspec.msgpack.encode(progress)


def load(data: bytes) -> Progress:
    """Bytes to progress. Raises UnreadableProgress."""
    if not data or data[0] != VERSION:
        raise UnreadableProgress(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=Progress)
    except msgspec.MsgspecError as error:
        raise UnreadableProgress(str(error)) from None
