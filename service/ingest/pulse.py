"""How many calls each gateway reported in each bucket: what it takes to notice that one has gone silent.

Every gateway is counted, watched or not, so this must cost next to nothing: a few sums for a call, and one small
record for a gateway and bucket, sent once the bucket is over. A tenfold of records for the same calls, one for
each commit, would be detect's burden and tell it nothing more.
"""

from __future__ import annotations

from typing import Final, final

from schemas.rollups import BUCKET_SECONDS
from service.ingest.call import Call
from service.ingest.delta import Delta

MAX_OPEN: Final = 4_096
"""Gateways × buckets that are not over. Labels that flood in as gateways must not fill the memory."""
_BUCKET: Final = BUCKET_SECONDS * 1_000_000


@final
class Pulses:
    """Counts the calls of gateways in the buckets that are not over yet.

    They are held back across commits, and a fold that is thrown away takes them along: whoever goes on from its
    offsets counts those of the open buckets again from the records it remembers.
    """

    __slots__ = ("_open", "_partition")

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._open: dict[tuple[str, int], Delta] = {}

    def __len__(self) -> int:
        return len(self._open)

    def beat(self, gateway: str, call: Call, cost_nanos: int, offset: int) -> None:
        """Count one call."""
        place = gateway, call.at // _BUCKET
        delta = self._open.get(place)
        if delta is None:
            if len(self._open) >= MAX_OPEN:
                return
            delta = self._open[place] = Delta.of_scope(
                self._partition, "gateway", gateway, place[1], call.at, offset
            )
        delta.notice(call, cost_nanos, offset)

    def over(self, watermark: int) -> list[Delta]:
        """Give up the deltas of buckets that ended before the watermark (epoch microseconds), in no order."""
        if not self._open:
            return []
        ended = [place for place in self._open if (place[1] + 1) * _BUCKET <= watermark]
        return [self._open.pop(place) for place in ended]
