"""A caught loop, a launch that was let through, and the worst miss, as pictures.

`python -m benchmarks.detection.pictures` plays held-out streams as the benchmark does, and draws what they spent
around three of their episodes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.detection.incidents import HOUR
from benchmarks.detection.labelled import chosen, of_client
from benchmarks.detection.scoring import GRACE_S, sufficient_traffic
from benchmarks.detection.stage import alerts_of
from benchmarks.detection.stream import Episode, Floats, Ints, Page, Stream
from benchmarks.plot import line_plot
from benchmarks.process import ROOT
from schemas.money import format_usd, usd

IMAGES: Final = ROOT / "docs" / "images"
NAMES: Final = ("loop", "launch", "miss")
_WORDS: Final = {"critical": "page", "warning": "ticket", "info": "notice"}
_MINUTE: Final = 60.0
_STEPS: Final = 160
"""About so many points in a picture, none shorter than a minute."""
_IN_HOURS: Final = 12 * HOUR
"""From this length on a picture counts hours."""


@dataclass(frozen=True)
class Scene:
    """One episode with what was spent around it.

    Attributes
    ----------
    t, cost : arrays
        Calls from half its length (at least half an hour) before it until as long after: epoch seconds and
        nano-dollars.
    page, notice : Page or None
        The first critical alert within it, as scoring counts, and the first of another severity: of kind `launch`
        if there is one.
    sufficient : bool
        There was traffic before it that shows what is usual, as scoring says.
    spent_nanos : int
        By all calls within it.
    """

    workflow: str
    episode: Episode
    t: Floats
    cost: Ints
    begin: float
    end: float
    page: Page | None
    notice: Page | None
    sufficient: bool
    spent_nanos: int


def scenes(stream: Stream, pages: Iterable[Page]) -> Iterator[Scene]:
    """Each episode of a stream, with the alerts of `pages` that are about it."""
    listed = sorted(pages, key=lambda page: page.at)
    calls = stream.calls
    for episode, sufficient in zip(stream.episodes, sufficient_traffic(stream), strict=True):
        around = max((episode.end - episode.start) / 2, 0.5 * HOUR)
        begin, end = max(episode.start - around, stream.start), min(episode.end + around, stream.end)
        first, last, after, until = np.searchsorted(calls.t, [begin, episode.start, episode.end, end])
        until_s = episode.end + (GRACE_S if episode.benign else 0.0)
        within = [page for page in listed if episode.start <= page.at <= until_s]
        yield Scene(
            stream.workflow,
            episode,
            calls.t[first:until],
            calls.cost[first:until],
            begin,
            end,
            next((page for page in within if page.severity == "critical"), None),
            min(
                (page for page in within if page.severity != "critical"),
                key=lambda page: (page.kind != "launch", page.at),
                default=None,
            ),
            sufficient,
            int(calls.cost[last:after].sum()),
        )


def choose(found: Iterable[Scene]) -> dict[str, Scene]:
    """The loop with the largest excess that was paged, the dearest launch that was noticed and not paged, and the
    material incident with the largest excess that was not paged; those of them that there are."""
    best: dict[str, tuple[int, Scene]] = {}

    def offer(name: str, worth: int, scene: Scene) -> None:
        if name not in best or worth > best[name][0]:
            best[name] = worth, scene

    for scene in found:
        episode = scene.episode
        if episode.kind == "retry_loop" and episode.material and scene.page is not None:
            offer("loop", episode.excess_nanos, scene)
        if episode.kind == "launch" and scene.page is None and _kind(scene.notice) == "launch":
            offer("launch", scene.spent_nanos, scene)
        if episode.material and scene.page is None:
            offer("miss", episode.excess_nanos, scene)
    return {name: scene for name, (_, scene) in best.items()}


def _kind(alert: Page | None) -> str:
    return "" if alert is None else alert.kind


def draw(scene: Scene) -> str:
    """Dollars per hour over minutes (over hours, if it is long), the episode shaded, its alerts marked, as SVG."""
    episode = scene.episode
    length = scene.end - scene.begin
    step = max(round(length / _STEPS / _MINUTE), 1) * _MINUTE
    edges = np.arange(scene.begin, scene.end + step, step)
    # Whole nano-dollars until they are a rate.
    index = np.searchsorted(edges, scene.t, side="right") - 1
    sums = np.zeros(len(edges) - 1, np.int64)
    np.add.at(sums, index, scene.cost)
    unit, unit_name = (HOUR, "hours") if length >= _IN_HOURS else (_MINUTE, "minutes")
    points = [
        (float((at + step / 2 - scene.begin) / unit), float(usd(int(nanos))) * HOUR / step)
        for at, nanos in zip(edges[:-1], sums, strict=True)
        if at + step <= scene.end
    ]
    marks = [
        (
            (alert.at - scene.begin) / unit,
            f"{_WORDS[alert.severity]}: {alert.kind}, {_lasting(alert.at - episode.start)} in",
        )
        for alert in (scene.page, scene.notice)
        # What follows a page is nothing new to whoever was woken.
        if alert is not None and alert.at <= (scene.end if scene.page is None else scene.page.at)
    ]
    return line_plot(
        _title(scene),
        points,
        unit_name,
        "$/h",
        marks=sorted(marks),
        span=((episode.start - scene.begin) / unit, (episode.end - scene.begin) / unit),
    )


def _title(scene: Scene) -> str:
    episode = scene.episode
    what = f"{episode.kind.replace('_', ' ')}, {episode.size:g} ×"
    if episode.share < 1:
        what += f" in {episode.share:.0%} of traces"
    if episode.benign:
        return f"{scene.workflow}: {what}, {format_usd(scene.spent_nanos)} spent; not paged"
    over = f"{format_usd(episode.excess_nanos)} over"
    if scene.page is None:
        return f"{scene.workflow}: {what}, {over}; never paged"
    lost = format_usd(episode.lost_until(scene.page.at))
    return f"{scene.workflow}: {what}, {over}; {lost} of it before the page"


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def played(seed: int, count: int, first: int | None, variants: int, saved: Path | None) -> Iterator[Scene]:
    """Scenes of the held-out streams with episodes; what `saved` holds of them is not played again."""
    known = _read(saved)
    for client in chosen("held_out", count)[:first]:
        for stream in of_client(client, seed, variants=variants):
            if not stream.episodes:
                continue
            name = f"{seed}/{stream.workflow}"
            if name not in known:
                known[name] = alerts_of(stream)
                if saved is not None:
                    line = {"stream": name, "pages": [asdict(page) for page in known[name]]}
                    with saved.open("a", encoding="utf-8") as out:
                        out.write(json.dumps(line) + "\n")
            sys.stderr.write(f"{stream.workflow}: {len(stream.calls):,} calls, {len(known[name])} alerts\n")
            yield from scenes(stream, known[name])


def _read(saved: Path | None) -> dict[str, list[Page]]:
    if saved is None or not saved.exists():
        return {}
    lines = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    return {line["stream"]: [Page(**page) for page in line["pages"]] for line in lines}


def main() -> int:
    """Draw; 1 if nothing was found for one of the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.pictures", description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--clients", type=int, default=24, help="of the held-out split, quiet to busy")
    parser.add_argument("--first", type=int, help="only so many of these")
    parser.add_argument("--variants", type=int, default=1, help="streams with episodes per client")
    parser.add_argument(
        "--sufficient", action="store_true", help="only episodes before which there was traffic enough"
    )
    parser.add_argument("--pages", type=Path, help="alerts of streams played before; grows")
    parser.add_argument("--out", type=Path, default=IMAGES)
    args = parser.parse_args()
    listed = played(args.seed, args.clients, args.first, args.variants, args.pages)
    found = choose(scene for scene in listed if scene.sufficient or not args.sufficient)
    for name, scene in found.items():
        path = args.out / f"detection-{name}.svg"
        path.write_text(draw(scene), encoding="utf-8")
        sys.stdout.write(f"{path}: {_title(scene)}\n")
    for name in set(NAMES) - set(found):
        sys.stderr.write(f"no {name} among these streams\n")
    return 0 if len(found) == len(NAMES) else 1


if __name__ == "__main__":
    sys.exit(main())
