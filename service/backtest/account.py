"""The account of a backtest: the difference of two configurations with its totals, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.backtest.compare import Comparison, Watch, compare, watched
from service.backtest.course import Judged, Seen
from service.backtest.incident import Incident
from service.backtest.side import Verdict


@dataclass(frozen=True)
class Account:
    """What a backtest found.

    Attributes
    ----------
    told : tuple of two lists of Incident
        What the live configuration and the candidate told in the time that is compared.
    """

    history: str
    seen: Seen
    watch: Watch
    live: Verdict
    candidate: Verdict
    told: tuple[Sequence[Incident], Sequence[Incident]]
    comparison: Comparison

    @classmethod
    def of(cls, history: str, judged: Judged, since: float | None) -> Account:
        """`since`: only what was told from then on is compared, epoch seconds; what was before taught."""
        seen, (live, candidate) = judged.seen, judged.verdicts
        begin, end = seen.begin or 0.0, seen.end or 0.0
        start = begin if since is None else max(since, begin)
        told = tuple([i for i in side.incidents if i.told >= start] for side in (live, candidate))
        watch = watched(list(seen.first.values()), start, end)
        return cls(history, seen, watch, live, candidate, (told[0], told[1]), compare(told[0], told[1]))

    def pages(self) -> tuple[int, int]:
        """How often somebody would be woken: live, candidate."""
        live, candidate = (sum(i.pages for i in side) for side in self.told)
        return live, candidate

    def to_dict(self) -> dict[str, Any]:
        """Everything, in a fixed order; money in nano-dollars, times in epoch seconds."""
        seen, watch = self.seen, self.watch
        return {
            "history": {
                "source": self.history,
                "records": seen.records,
                "events": seen.events,
                "refused": seen.refused,
                "begin": seen.begin,
                "end": seen.end,
                "cost_nanos": seen.cost_nanos,
                "compared_since": watch.since,
                "workflows": watch.workflows,
                "workflow_months": round(watch.workflow_months, 6),
            },
            "live": self._side(self.live, self.told[0]),
            "candidate": self._side(self.candidate, self.told[1]),
            "gained": [i.to_dict() for i in self.comparison.gained],
            "lost": [i.to_dict() for i in self.comparison.lost],
            "changed": [pair.to_dict() for pair in self.comparison.changed],
            "unchanged": [pair.to_dict() for pair in self.comparison.unchanged],
        }

    def _side(self, verdict: Verdict, told: Sequence[Incident]) -> dict[str, Any]:
        pages = sum(i.pages for i in told)
        rate = self.watch.per_month(pages)
        return {
            "config_version": verdict.version,
            "alerts": len(told),
            "pages": pages,
            "pages_per_workflow_month": None if rate is None else round(rate, 4),
            "excess_told_nanos": sum(i.excess for i in told),
            "throttled_scopes": verdict.throttled.scopes,
            "throttle_commands": dict(sorted(verdict.throttled.commands.items())),
            "dry_run_spared_nanos": verdict.throttled.spared_nanos,
        }
