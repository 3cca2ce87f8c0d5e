"""Every trace of a delta with its cost, for the cost of outcomes, where somebody asks for it.

A rollup names the dearest traces and sums the rest. What an outcome cost must be exact, so the traces of workflows
with a record of kind `outcomes` are told a second time, all of them, on a topic of their own: in the transaction of
the rollup, and so without the duplicates, at the prices, and exactly as often as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

from schemas.control import Outcomes
from schemas.outcomes import MAX_TRACE_COSTS
from service.ingest.delta import Delta

_MAX_NAMES: Final = 100_000


class Joining:
    """Whose calls are told by trace, for all partitions of a process."""

    def __init__(self, records: Iterable[Outcomes] = ()) -> None:
        self.use(records)

    def use(self, records: Iterable[Outcomes]) -> None:
        """Replace who they are, from the next batch on."""
        self._patterns = sorted({record.workflow for record in records})
        self._known: dict[str, bool] = {}

    def tells(self, delta: Delta) -> bool:
        """Whether the traces of a delta are told. A scope's never are: they are those of workflows."""
        if not self._patterns or delta.scope is not None:
            return False
        workflow = delta.workflow
        known = self._known.get(workflow)
        if known is None:
            if len(self._known) >= _MAX_NAMES:  # a flood of workflow names must not fill the memory
                self._known.clear()
            known = any(fnmatchcase(workflow, pattern) for pattern in self._patterns)
            self._known[workflow] = known
        return known


def told(delta: Delta) -> Iterator[bytes]:
    """The records of a delta's traces, by name: none where no call and no charge has one."""
    traces = delta.trace_costs()
    if not traces:
        return
    head: dict[str, Any] = {
        "schema_version": 1,
        "workflow": delta.workflow,
        "bucket_start": delta.starts_at,
        "source": {
            "partition": delta.partition,
            "first_offset": delta.first_offset,
            "last_offset": delta.last_offset,
        },
    }
    for some in _parts(traces):
        yield orjson.dumps({**head, "traces": some})


def _parts(traces: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(traces), MAX_TRACE_COSTS):
        yield traces[start : start + MAX_TRACE_COSTS]
