"""How far forecasts of a window's end are off, beside linear pace: recorded clients of a model service.

Each client's fortnight is priced per call and lived through hour by hour. Windows are its second week, with the
first to learn from, and the whole fortnight, with nothing to learn from but itself. At 25, 50 and 75 % of each the
forecast is compared with what the window spent in the end, beside the line through what was spent so far.
*Clients* are those that call in at least half of the hours; *teams* are sums of eight random clients of any kind,
as a budget over several workflows is. The forecast's constants were chosen on every other client (`train`); figures
are of the others. One JSON line: median and mean absolute error as shares of what was spent (a single error counts
as 3 at most), and how many ends were in the interval, which promises 0.8. `--train` shows the others.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from typing import Final

import numpy as np

from benchmarks.detection.clients import STEP_S, Client, clients
from benchmarks.detection.stream import Split
from service.rules.budget import Outlook
from service.rules.calendar import Span
from service.rules.forecast import HOUR_S, Usual, note, outlook

USD_PER_INPUT: Final = 2.5e-6
USD_PER_OUTPUT: Final = 10e-6
TEAMS: Final = 60
TEAM_SIZE: Final = 8
WINDOWS: Final = {"week": Span(168 * HOUR_S, 336 * HOUR_S), "fortnight": Span(0, 336 * HOUR_S)}
POINTS: Final = (0.25, 0.5, 0.75)
WORST: Final = 3.0

Series = list[int]
"""Nano-dollars per hour."""


def spend(client: Client) -> Series:
    per_call = (
        np.nan_to_num(client.input_mean) * USD_PER_INPUT + np.nan_to_num(client.output_mean) * USD_PER_OUTPUT
    )
    hourly = (client.calls * per_call).reshape(-1, HOUR_S // STEP_S).sum(axis=1)
    return [round(float(usd) * 1e9) for usd in hourly]


def populations(split: Split) -> dict[str, list[Series]]:
    series = [spend(client) for client in clients() if client.split == split]
    dice = random.Random(7)
    teams = []
    for _ in range(TEAMS):
        # Of one size or so: else a team would be its largest client.
        parts = [
            [amount * 10**12 // max(sum(one), 1) * dice.randrange(30, 100) // 100 for amount in one]
            for one in dice.sample(series, TEAM_SIZE)
        ]
        teams.append([sum(hour) for hour in zip(*parts, strict=True)])
    return {"clients": [s for s in series if sum(a > 0 for a in s) * 2 >= len(s)], "teams": teams}


def forecast(series: Series, window: Span, now: int) -> Outlook:
    usual = Usual()
    for hour in range(now // HOUR_S):
        note(usual, hour * HOUR_S, series[hour])
    note(usual, now, 0)
    spent = sum(series[window.start // HOUR_S : now // HOUR_S])
    return outlook(usual, window, now, spent)


def compare(population: list[Series], window: Span, point: float) -> dict[str, float]:
    now = window.start + int(window.seconds * point) // HOUR_S * HOUR_S
    errors, linear, inside = list[float](), list[float](), list[bool]()
    for series in population:
        whole = sum(series[window.start // HOUR_S : window.end // HOUR_S])
        spent = sum(series[window.start // HOUR_S : now // HOUR_S])
        if whole <= 0 or spent <= 0:
            continue
        found = forecast(series, window, now)
        errors.append(min(abs(found.expected - whole) / whole, WORST))
        linear.append(min(abs(spent * window.seconds / (now - window.start) - whole) / whole, WORST))
        inside.append(found.low <= whole <= found.high)
    return {
        "windows": len(errors),
        "median": round(statistics.median(errors), 3),
        "linear_median": round(statistics.median(linear), 3),
        "mean": round(statistics.fmean(errors), 3),
        "linear_mean": round(statistics.fmean(linear), 3),
        "coverage": round(statistics.fmean(inside), 3),
    }


def run(split: Split) -> dict[str, object]:
    started = time.process_time()
    found: dict[str, object] = {
        f"{name}/{length}/{round(point * 100)}%": compare(population, window, point)
        for name, population in populations(split).items()
        for length, window in WINDOWS.items()
        for point in POINTS
    }
    return {
        "benchmark": "forecast",
        "split": split,
        **found,
        "cpu_s": round(time.process_time() - started, 1),
    }


if __name__ == "__main__":
    print(json.dumps(run("train" if "--train" in sys.argv else "held_out")))
