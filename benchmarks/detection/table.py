"""The figures as Markdown tables and as one JSON line, and whether we won."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Final

from benchmarks.detection.match import DEFAULTS, OURS, SHIPPED, Entry
from benchmarks.detection.scoring import Report, Row
from benchmarks.detection.spread import Interval

_MOST: Final = "most"
_LEAST: Final = "least"
LAUNCHES_TARGET: Final = 0.01

FIGURES: Final[dict[str, tuple[str, Callable[[Report], float | None]]]] = {
    "material_recall": (_MOST, lambda r: r.material.recall),
    "large_recall": (_MOST, lambda r: r.large_recall),
    "delay_p50_s": (_LEAST, lambda r: r.material.delay_p50),
    "delay_p90_s": (_LEAST, lambda r: r.material.delay_p90),
    "lost_share": (_LEAST, lambda r: r.material.lost_share),
    "lost_median": (_LEAST, lambda r: r.material.lost_median),
    "false_per_month": (_LEAST, lambda r: r.false_per_month),
    "outside_per_month": (_LEAST, lambda r: r.outside_per_month),
    "launches_paged": (_LEAST, lambda r: r.launches_paged),
    "launches_noticed": (_MOST, lambda r: r.launches_noticed),
    "cause_right": (_MOST, lambda r: r.material.cause_right),
}


def duration(seconds: float | None) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|".join(["---", *("---:" for _ in head[1:])])
    lines = [" | ".join(head), rule, *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if line is not rule else f"|{line}|" for line in lines) + "\n"


def contest(reports: Mapping[Entry, Report], setting: str, mine: str = DEFAULTS) -> str:
    """Everybody at one setting, the best recall first; ours at `mine`."""
    listed = [(name, r) for (name, at), r in reports.items() if at == setting and name != OURS]
    listed.sort(key=lambda item: -(item[1].material.recall or 0.0))
    if (OURS, mine) in reports:
        listed.insert(0, (f"**{OURS}**", reports[OURS, mine]))
    head = [
        "detector", "false pages / month", "recall, large", "recall, material", "delay p50", "delay p90",
        "lost / excess", "launches paged", "noticed", "cause right", "pages elsewhere / month",
    ]  # fmt: skip
    rows = [
        [
            name,
            _number(r.false_per_month),
            _number(r.large_recall),
            _number(r.material.recall),
            duration(r.material.delay_p50),
            duration(r.material.delay_p90),
            _number(r.material.lost_share),
            _number(r.launches_paged, 3),
            _number(r.launches_noticed),
            _number(r.material.cause_right if OURS in name else None),
            _number(r.outside_per_month),
        ]
        for name, r in listed
    ]
    return _table(head, rows)


def kinds(report: Report) -> str:
    """Our incidents kind by kind, with tails, and what is benign below."""
    head = [
        "kind", "n", "recall", "delay p50", "delay p90", "worst", "lost / excess", "lost, median", "cause right",
        "n, busy", "recall, busy", "p50, busy", "p90, busy",
    ]  # fmt: skip
    rows = [_kind(kind, row) for kind, row in report.kinds.items()] + [_kind("**all**", report.material)]
    paged = [("launch", report.launches, report.launches_paged or 0.0)] + [
        (kind, n, share) for kind, (n, share) in report.benign.items()
    ]
    benign = _table(["benign", "n", "paged"], [[kind, str(n), _number(share, 3)] for kind, n, share in paged])
    return f"{_table(head, rows)}\n{benign}"


def _kind(kind: str, row: Row) -> list[str]:
    return [
        kind,
        str(row.n),
        _number(row.recall),
        duration(row.delay_p50),
        duration(row.delay_p90),
        duration(row.delay_max),
        _number(row.lost_share),
        _number(row.lost_median),
        _number(row.cause_right),
        str(row.sufficient_n),
        _number(row.sufficient_recall),
        duration(row.sufficient_p50),
        duration(row.sufficient_p90),
    ]


def intervals(found: Mapping[str, Interval], report: Report) -> str:
    """Figures with the range in which nine of ten resamples of the clients lie."""
    rows = [
        [key, _number(FIGURES[key][1](report), 3), f"{low:.3f}–{high:.3f}"]
        for key, (low, high) in found.items()
    ]
    return _table(["figure", "value", "5th–95th percentile over clients"], rows)


def over_seeds(by_seed: Mapping[int, Report]) -> str:
    """Figures of each seed: how far they lie apart."""
    head = ["figure", *(f"seed {seed}" for seed in by_seed), "mean", "standard deviation"]
    rows = []
    for key, (_, read) in FIGURES.items():
        values = [read(report) for report in by_seed.values()]
        there = [value for value in values if value is not None]
        spread = stdev(there) if len(there) > 1 else None
        middle = mean(there) if there else None
        rows.append([key, *(_number(v, 3) for v in values), _number(middle, 3), _number(spread, 3)])
    return _table(head, rows)


def figures(report: Report) -> dict[str, Any]:
    """The figures of one detector by name; None where there is no case."""
    return {key: _rounded(read(report)) for key, (_, read) in FIGURES.items()} | {
        "incidents": report.material.n,
        "large": report.large_n,
        "launches": report.launches,
        "clean_months": _rounded(report.clean_months),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def best_peers(reports: Mapping[Entry, Report], setting: str) -> dict[str, dict[str, Any]]:
    """For each figure the best peer at a budget. Where less is better, only those that find at least half of what
    the best of them finds: whoever never pages pages no launch either.
    """
    peers = {name: r for (name, at), r in reports.items() if at == setting and name != OURS}
    most = max((r.material.recall or 0.0 for r in peers.values()), default=0.0)
    best: dict[str, dict[str, Any]] = {}
    for key, (sense, read) in FIGURES.items():
        cases = [
            (value, name)
            for name, r in peers.items()
            if (value := read(r)) is not None
            and (sense == _MOST or (r.material.recall or 0.0) >= most / 2)
            and key != "cause_right"
        ]
        if cases:
            value, name = max(cases) if sense == _MOST else min(cases)
            best[key] = {"peer": name, "value": round(value, 4)}
    return best


def lost_against(reports: Mapping[Entry, Report], budgets: Sequence[float]) -> list[str]:
    """Peers that we do not beat, each with the reason; empty if we beat them all.

    Each peer is taken at the smallest budget at which it has at least as many false pages as we have, or else at
    the largest. There we must find more material incidents, and page fewer launches, or no more than the target.
    """
    mine = reports[OURS, DEFAULTS]
    recall, false, paged = (
        mine.material.recall or 0.0,
        mine.false_per_month or 0.0,
        mine.launches_paged or 0.0,
    )
    reasons = []
    names = dict.fromkeys(name for name, at in reports if name != OURS and at not in (DEFAULTS, SHIPPED))
    for name in names:
        rows = [reports[name, f"{b:g}"] for b in sorted(budgets)]
        row = next((r for r in rows if (r.false_per_month or 0.0) >= false), rows[-1])
        its_recall, its_false = row.material.recall or 0.0, row.false_per_month or 0.0
        its_paged = row.launches_paged or 0.0
        if recall <= its_recall:
            reasons.append(f"{name}: recall {recall:.3f}, its {its_recall:.3f}")
        if false > max(its_false, max(budgets)):
            reasons.append(f"{name}: {false:.2f} false pages a month, its {its_false:.2f}")
        if paged >= its_paged and paged > LAUNCHES_TARGET:
            reasons.append(f"{name}: {paged:.3f} of launches paged, its {its_paged:.3f}")
    return reasons
