"""The trade-off of a workflow's settings as an SVG: pages a month against dollars caught."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from schemas.money import NANOS_PER_USD
from service.backtest.tuning import Point, frontier

WIDTH: Final = 640
HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 44, 48
_INK: Final = "#768390"
_LINE: Final = "#1f77b4"
_PRESENT: Final = "#d1495b"
_CHOSEN: Final = "#2a9d8f"


def curve(workflow: str, points: Sequence[Point], chosen: Point) -> str:
    """Every setting a dot, the best of them joined; `points` begins with the present one."""
    most_x = _ceiling(max(p.pages_per_month for p in points))
    most_y = _ceiling(max(p.caught for p in points) / NANOS_PER_USD)
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(p: Point) -> tuple[float, float]:
        return (
            _LEFT + p.pages_per_month / most_x * wide,
            _TOP + high * (1 - p.caught / NANOS_PER_USD / most_y),
        )

    title = f"{workflow}: what pages catch"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{_LEFT - 8}" y="{_TOP - 10}" text-anchor="end">$ caught</text>',
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 8}" text-anchor="end">pages per month</text>',
    ]
    for i in range(5):
        y = _TOP + high * (1 - i / 4)
        x = _LEFT + wide * i / 4
        parts += [
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_INK}"'
            f' stroke-opacity="0.25"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most_y * i / 4:g}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{most_x * i / 4:g}</text>',
        ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, frontier(points)))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    for each in points:
        x, y = place(each)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_LINE}"/>')
    for name, each, colour, below in (
        ("present", points[0], _PRESENT, 18),
        ("proposed", chosen, _CHOSEN, -10),
    ):
        if name == "proposed" and each is points[0]:
            continue
        x, y = place(each)
        anchor = "start" if x < WIDTH / 2 else "end"
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{x:.1f}" y="{y + below:.1f}" text-anchor="{anchor}" fill="{colour}">{name}</text>',
        ]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _ceiling(most: float) -> float:
    if most <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(most))
    return next(power * f for f in (1.0, 2.0, 4.0, 8.0, 10.0) if power * f >= most)
