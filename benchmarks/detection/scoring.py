"""How good pages are: what was caught, how soon, at what price in false pages.

An incident is *caught* by a critical page that fires within [start, end] of it; what was firing before does not
count. All delays are in seconds, all money in nano-dollars, rates in pages per workflow and month of 30 days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.detection.stream import Episode, Page, Stream

Scored = tuple[Stream, Sequence[Page]]

MONTH_S: Final = 30 * 86_400.0
GRACE_S: Final = 3_600.0
"""A launch or another benign episode is also paged by what fires this long after its end."""
SUFFICIENT: Final = 20.0
"""Traces per five minutes in the hour before an episode, from which minutes are a fair demand."""


@dataclass(frozen=True)
class Outcome:
    """What became of one episode.

    Attributes
    ----------
    page : Page or None
        The first critical one within it (for what is benign: or within an hour after).
    noticed : bool
        By anything, of any severity; a launch by an alert of kind `launch`, or by a page.
    lost_nanos : int
        Excess spent before the page; all of it without one.
    sufficient : bool
        There was traffic enough to see something within minutes.
    """

    client: str
    episode: Episode
    page: Page | None
    noticed: bool
    lost_nanos: int
    sufficient: bool

    @property
    def delay_s(self) -> float | None:
        return None if self.page is None else self.page.at - self.episode.start

    @property
    def cause_right(self) -> bool | None:
        """The page's kind names the cause; None without a page."""
        return None if self.page is None else self.page.kind in self.episode.causes


@dataclass(frozen=True)
class Watched:
    """Time without incidents that pages are counted over: a clean stream, or the rest of one with episodes."""

    client: str
    clean: bool
    months: float
    pages: int


@dataclass(frozen=True)
class Tally:
    """What scoring keeps of streams and their pages: enough for every figure, small enough to send around."""

    outcomes: tuple[Outcome, ...]
    watched: tuple[Watched, ...]

    @staticmethod
    def joined(parts: Iterable[Tally]) -> Tally:
        listed = list(parts)
        return Tally(
            tuple(o for part in listed for o in part.outcomes),
            tuple(w for part in listed for w in part.watched),
        )


def tally(stream: Stream, pages: Sequence[Page], sufficient: Sequence[bool] | None = None) -> Tally:
    """The outcome of each episode of a stream, and the pages outside of them after the warm-up.

    `sufficient` is what `sufficient_traffic` says of the stream, for whoever scores it more than once.
    """
    if sufficient is None:
        sufficient = sufficient_traffic(stream)
    critical = sorted((p for p in pages if p.severity == "critical"), key=lambda p: p.at)
    outcomes = tuple(
        _outcome(stream.client, episode, pages, critical, enough)
        for episode, enough in zip(stream.episodes, sufficient, strict=True)
    )
    spans = [(e.start, e.end + GRACE_S) for e in stream.episodes]
    begin = max(stream.warm_until, stream.start)
    outside = sum(p.at >= begin and not any(a <= p.at <= b for a, b in spans) for p in critical)
    inside_s = sum(max(min(b, stream.end) - max(a, begin), 0.0) for a, b in spans)
    months = max(stream.end - begin - inside_s, 0.0) / MONTH_S
    return Tally(outcomes, (Watched(stream.client, not stream.episodes, months, outside),))


def _outcome(
    client: str, episode: Episode, pages: Sequence[Page], critical: Sequence[Page], sufficient: bool
) -> Outcome:
    until = episode.end + (GRACE_S if episode.benign else 0.0)
    page = next((p for p in critical if episode.start <= p.at <= until), None)
    within = [p for p in pages if episode.start <= p.at <= until]
    noticed = any(p.kind == "launch" for p in within) or page is not None if episode.benign else bool(within)
    lost = episode.excess_nanos if page is None else min(episode.lost_until(page.at), episode.excess_nanos)
    # The course of the excess is as long as the traffic, and no longer needed.
    label = replace(episode, excess_t=np.empty(0), excess_sum=np.empty(0, dtype=np.int64))
    return Outcome(client, label, page, noticed, lost, sufficient)


def sufficient_traffic(stream: Stream) -> list[bool]:
    """For each episode, whether `SUFFICIENT` traces per five minutes began in the hour before it.

    A call without a trace is a trace of its own.
    """
    calls = stream.calls
    named = calls.trace >= 0
    _, first = np.unique(calls.trace[named], return_index=True)
    begun = np.sort(np.concatenate([calls.t[named][first], calls.t[~named]]))
    edges = np.searchsorted(begun, [(e.start - 3_600.0, e.start) for e in stream.episodes])
    return [bool(b - a >= 12 * SUFFICIENT) for a, b in edges.reshape(-1, 2)]


@dataclass(frozen=True)
class Row:
    """Figures over the material incidents of one kind, or of all.

    Attributes
    ----------
    delay_p50, delay_p90, delay_max : float or None
        Seconds, of the caught ones; None of none.
    lost_share : float or None
        Excess spent before the page over all excess, pooled.
    lost_median : float or None
        The same for each incident, the median of them.
    cause_right : float or None
        Share of the caught ones whose page names the cause.
    sufficient_n, sufficient_recall, sufficient_p50, sufficient_p90
        The same where traffic was sufficient.
    """

    n: int
    recall: float | None
    delay_p50: float | None
    delay_p90: float | None
    delay_max: float | None
    lost_share: float | None
    lost_median: float | None
    cause_right: float | None
    sufficient_n: int
    sufficient_recall: float | None
    sufficient_p50: float | None
    sufficient_p90: float | None


@dataclass(frozen=True)
class Report:
    """All figures of one detector over one set of streams.

    Attributes
    ----------
    large_n, large_recall
        Incidents of $50 and more.
    false_per_month, clean_months
        Pages on clean streams after the warm-up.
    outside_per_month
        Pages outside of episodes on streams that have some: partly aftermath, so apart.
    launches, launches_paged, launches_noticed
        Launches, and the shares that were paged and noticed.
    benign : dict
        Kind to (episodes, share paged), of what is benign and no launch.
    """

    material: Row
    kinds: dict[str, Row]
    large_n: int
    large_recall: float | None
    false_per_month: float | None
    clean_months: float
    outside_per_month: float | None
    launches: int
    launches_paged: float | None
    launches_noticed: float | None
    benign: dict[str, tuple[int, float]]


def report(found: Tally) -> Report:
    """Figures of a tally."""
    material = [o for o in found.outcomes if o.episode.material]
    large = [o for o in material if o.episode.large]
    launches = [o for o in found.outcomes if o.episode.kind == "launch"]
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in material:
        by_kind[outcome.episode.kind].append(outcome)
    benign: dict[str, list[bool]] = defaultdict(list)
    for outcome in found.outcomes:
        if outcome.episode.benign and outcome.episode.kind != "launch":
            benign[outcome.episode.kind].append(outcome.page is not None)
    clean = [w for w in found.watched if w.clean]
    return Report(
        material=_row(material),
        kinds={kind: _row(listed) for kind, listed in sorted(by_kind.items())},
        large_n=len(large),
        large_recall=_share(o.page is not None for o in large),
        false_per_month=_per_month(clean),
        clean_months=sum(w.months for w in clean),
        outside_per_month=_per_month([w for w in found.watched if not w.clean]),
        launches=len(launches),
        launches_paged=_share(o.page is not None for o in launches),
        launches_noticed=_share(o.noticed for o in launches),
        benign={kind: (len(paged), sum(paged) / len(paged)) for kind, paged in sorted(benign.items())},
    )


def _row(outcomes: Sequence[Outcome]) -> Row:
    delays = [o.delay_s for o in outcomes if o.delay_s is not None]
    enough = [o for o in outcomes if o.sufficient]
    soon = [o.delay_s for o in enough if o.delay_s is not None]
    excess = sum(o.episode.excess_nanos for o in outcomes)
    shares = [o.lost_nanos / o.episode.excess_nanos for o in outcomes]
    return Row(
        n=len(outcomes),
        recall=_share(o.page is not None for o in outcomes),
        delay_p50=_quantile(delays, 0.5),
        delay_p90=_quantile(delays, 0.9),
        delay_max=max(delays, default=None),
        lost_share=sum(o.lost_nanos for o in outcomes) / excess if excess else None,
        lost_median=_quantile(shares, 0.5),
        cause_right=_share(o.cause_right is True for o in outcomes if o.page is not None),
        sufficient_n=len(enough),
        sufficient_recall=_share(o.page is not None for o in enough),
        sufficient_p50=_quantile(soon, 0.5),
        sufficient_p90=_quantile(soon, 0.9),
    )


def _share(flags: Iterable[bool]) -> float | None:
    listed = list(flags)
    return sum(listed) / len(listed) if listed else None


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


def _per_month(watched: Sequence[Watched]) -> float | None:
    months = sum(w.months for w in watched)
    return sum(w.pages for w in watched) / months if months > 0 else None
