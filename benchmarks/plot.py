"""A line in an SVG, readable on light and dark pages alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH: Final = 800
HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 44, 44
_INK: Final = "#768390"
_LINE: Final = "#1f77b4"
_MARK: Final = "#d1495b"
_SPAN: Final = "#e09f3e"
_ROW: Final = 15


def line_plot(
    title: str,
    points: Sequence[tuple[float, float]],
    x_name: str,
    y_name: str,
    *,
    marks: Sequence[tuple[float, str]] = (),
    span: tuple[float, float] | None = None,
) -> str:
    """One line through `points`, both axes from 0.

    Parameters
    ----------
    marks : sequence of (x, label)
        A vertical line each, with its label beside it, every next label a row lower.
    span : (x, x) or None
        From where to where the background is shaded.

    Raises
    ------
    ValueError
        No points.
    """
    if not points:
        raise ValueError("nothing to plot")
    x_step, y_step = _step(max(x for x, _ in points)), _step(max(y for _, y in points))
    x_end = math.ceil(max(x for x, _ in points) / x_step) * x_step
    y_end = math.ceil(max(y for _, y in points) / y_step) * y_step
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / x_end * wide, _TOP + high - y / y_end * high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<text x="{_LEFT}" y="24" font-size="14">{escape(title)}</text>',
    ]
    for i in range(round(y_end / y_step) + 1):
        _, y = place(0, i * y_step)
        parts += [
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_INK}"'
            f' stroke-opacity="0.25"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i * y_step:g}</text>',
        ]
    for i in range(round(x_end / x_step) + 1):
        x, y = place(i * x_step, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{i * x_step:g}</text>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    if span is not None:
        (begin, _), (end, _) = place(span[0], 0), place(span[1], 0)
        parts.append(
            f'<rect x="{begin:.1f}" y="{_TOP}" width="{end - begin:.1f}" height="{high}" fill="{_SPAN}"'
            f' fill-opacity="0.18"/>'
        )
    parts += [
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{escape(x_name)}</text>',
        f'<text x="{_LEFT - 8}" y="{_TOP - 12}" text-anchor="end">{escape(y_name)}</text>',
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2" stroke-linejoin="round"/>',
    ]
    for row, (at, label) in enumerate(marks):
        x, _ = place(at, 0)
        # Where there is more room.
        beside, anchor = (x + 5, "start") if x < WIDTH / 2 else (x - 5, "end")
        parts += [
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_TOP + high}" stroke="{_MARK}"'
            f' stroke-width="1.5" stroke-dasharray="5 3"/>',
            f'<text x="{beside:.1f}" y="{_TOP + 12 + row * _ROW}" text-anchor="{anchor}" fill="{_MARK}">'
            f"{escape(label)}</text>",
        ]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _step(end: float) -> float:
    """A round distance between marks: four to eight of them up to `end`."""
    if end <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(end))
    return next(power * f for f in (0.125, 0.25, 0.5, 1.0, 2.0) if end / (power * f) <= 8)
