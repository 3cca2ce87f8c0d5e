"""A changed incident as an SVG: spend over time, and when each configuration told it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from schemas.money import NANOS_PER_USD
from service.backtest.course import MINUTE_S
from service.backtest.incident import Incident

WIDTH: Final = 800
HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 44, 44
_INK: Final = "#768390"
_LINE: Final = "#1f77b4"
_LIVE: Final = "#d1495b"
_CANDIDATE: Final = "#2a9d8f"
_BEFORE_S: Final = 3_600.0
_AFTER_S: Final = 1_800.0
_MOST_S: Final = 12 * 3_600.0


def picture(spend: Mapping[int, int], live: Incident | None, candidate: Incident | None) -> str:
    """An SVG that is readable on light and dark pages alike.

    Parameters
    ----------
    spend : mapping of int to int
        Nano-dollars by minute since the epoch, of the incident's workflow.
    live, candidate : Incident or None
        One of them may be None: it was not told.
    """
    given = [incident for incident in (live, candidate) if incident is not None]
    begin = min(i.started for i in given) - _BEFORE_S
    end = min(max(max(i.ends() for i in given), max(i.told for i in given)) + _AFTER_S, begin + _MOST_S)
    end = max(end, max(i.told for i in given) + MINUTE_S)
    minutes = range(math.floor(begin / MINUTE_S), math.ceil(end / MINUTE_S))
    # Dollars an hour, each over five minutes: single minutes of few calls are all peaks.
    rate = [_per_hour(spend, minute) for minute in minutes]
    scale = _ceiling(max(rate, default=0.0))
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    since, until = minutes[0] * MINUTE_S, minutes[-1] * MINUTE_S + MINUTE_S

    def x(epoch: float) -> float:
        return _LEFT + (min(max(epoch, since), until) - since) / (until - since) * wide

    def y(dollars: float) -> float:
        return _TOP + high * (1 - dollars / scale)

    title = _title(given[0], live, candidate)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{_LEFT - 8}" y="{_TOP - 10}" text-anchor="end">$/h</text>',
    ]
    for i in range(5):
        dollars = scale * i / 4
        parts += [
            f'<line x1="{_LEFT}" y1="{y(dollars):.1f}" x2="{WIDTH - _RIGHT}" y2="{y(dollars):.1f}"'
            f' stroke="{_INK}" stroke-opacity="0.25"/>',
            f'<text x="{_LEFT - 8}" y="{y(dollars) + 4:.1f}" text-anchor="end">{dollars:g}</text>',
        ]
    parts += [
        f'<text x="{x(at):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_clock(at)}</text>'
        for at in _marks(since, until)
    ]
    line = " ".join(
        f"{x((minute + 0.5) * MINUTE_S):.1f},{y(value):.1f}"
        for minute, value in zip(minutes, rate, strict=True)
    )
    started, over = x(min(i.started for i in given)), x(max(i.ends() for i in given))
    parts += [
        f'<rect x="{started:.1f}" y="{_TOP}" width="{max(over - started, 1.0):.1f}"'
        f' height="{high}" fill="#e09f3e" fill-opacity="0.18"/>',
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2" stroke-linejoin="round"/>',
    ]
    for row, (name, incident, colour) in enumerate(
        (("live", live, _LIVE), ("candidate", candidate, _CANDIDATE))
    ):
        height = _TOP + 14 + row * 16
        if incident is None:
            parts.append(
                f'<text x="{WIDTH - _RIGHT}" y="{height}" text-anchor="end" fill="{colour}">'
                f"{name}: not told</text>"
            )
            continue
        at = x(incident.told)
        beside, anchor = (at + 5, "start") if at < WIDTH / 2 else (at - 5, "end")
        label = f"{name}: {incident.severity} {_clock(incident.told, seconds=True)}"
        parts += [
            f'<line x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{_TOP + high}" stroke="{colour}"'
            f' stroke-width="1.5" stroke-dasharray="{"5 3" if row else "none"}"/>',
            f'<text x="{beside:.1f}" y="{height}" text-anchor="{anchor}" fill="{colour}">'
            f"{escape(label)}</text>",
        ]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def file_name(number: int, incident: Incident) -> str:
    """A name that sorts by number and is safe on any file system."""
    safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in incident.workflow)[:60]
    return f"{number:03d}-{safe}-{incident.kind}.svg"


def _per_hour(spend: Mapping[int, int], minute: int) -> float:
    nanos = sum(spend.get(minute + i, 0) for i in range(-2, 3))
    return max(nanos, 0) * 12 / NANOS_PER_USD


def _ceiling(most: float) -> float:
    """A round number that is not below `most`."""
    if most <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(most))
    return next(power * f for f in (1.0, 2.0, 4.0, 8.0, 10.0) if power * f >= most)


def _marks(since: float, until: float) -> Sequence[float]:
    step = next(s for s in (600, 1_200, 1_800, 3_600, 7_200, 86_400 * 30) if (until - since) / s <= 8)
    first = math.ceil(since / step) * step
    return [first + i * step for i in range(int((until - first) // step) + 1)]


def _clock(epoch: float, *, seconds: bool = False) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%H:%M:%S" if seconds else "%H:%M")


def _title(incident: Incident, live: Incident | None, candidate: Incident | None) -> str:
    what = "lost" if candidate is None else "gained" if live is None else "changed"
    day = datetime.fromtimestamp(incident.started, UTC).strftime("%Y-%m-%d")
    return f"{incident.workflow}: {incident.kind}, {what} ({day}, UTC)"
