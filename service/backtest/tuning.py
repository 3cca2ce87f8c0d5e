"""Settings for one workflow out of its own past: what each would have paged, and what that was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from statistics import median
from typing import Any, Final, Literal

from schemas.control import Tuning, TuningScope, TuningSettings
from schemas.money import format_usd
from service.backtest.incident import Incident
from service.rules.config import ConfigBook, WorkflowConfig

Worth = Literal["real", "noise", "unknown"]

PAGE_BUDGETS: Final = (0.05, 0.25, 1.0, 4.0)
MIN_USD: Final = (Decimal("0.5"), Decimal(2), Decimal(10))
MIN_MINUTES: Final = (2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is tried."""

    page_budget: float
    min_excess_usd: Decimal
    min_excess_minutes: float

    @classmethod
    def of(cls, config: WorkflowConfig) -> Setting:
        return cls(config.page_budget, config.min_excess_usd, config.min_excess_minutes)

    def to_dict(self) -> dict[str, Any]:
        """As a tuning record has them."""
        return {
            "page_budget": self.page_budget,
            "min_excess_usd": str(self.min_excess_usd),
            "min_excess_minutes": self.min_excess_minutes,
        }


def grid(present: Setting, *, minutes: bool) -> list[Setting]:
    """The present setting, then those to try. `minutes`: vary the minutes too, which doubles the work."""
    tried = product(PAGE_BUDGETS, MIN_USD, MIN_MINUTES if minutes else (present.min_excess_minutes,))
    return list(dict.fromkeys([present, *(Setting(*each) for each in tried)]))


def record(book: ConfigBook, workflow: str, setting: Setting) -> Tuning:
    """The tuning of this workflow alone with a setting in it; whatever else its record says stays."""
    own = next(
        (
            t
            for _, t in sorted(book.records.items())
            if isinstance(t, Tuning) and t.scope.workflow == workflow
        ),
        None,
    )
    settings = TuningSettings(
        page_budget=setting.page_budget,
        min_excess_usd=setting.min_excess_usd,
        min_excess_minutes=setting.min_excess_minutes,
    )
    if own is None:
        return Tuning(name=workflow, scope=TuningScope(workflow=workflow), settings=settings)
    kept = {name: value for name, value in own.settings if value is not None}
    given = {name: value for name, value in settings if value is not None}
    return own.model_copy(update={"settings": TuningSettings(**(kept | given))})


def with_setting(book: ConfigBook, workflow: str, setting: Setting) -> ConfigBook:
    """The configuration once that record is applied."""
    tuning = record(book, workflow, setting)
    return book.apply(f"tuning/{tuning.name}", tuning.to_json(), book.offset + 1)


@dataclass(frozen=True, slots=True)
class Episode:
    """What all settings together saw as one thing. `excess` is the most that any of them saw, nano-dollars."""

    started: float
    ended: float
    excess: int
    worth: Worth
    kinds: tuple[str, ...]

    def holds(self, incident: Incident) -> bool:
        return incident.started <= self.ended and self.started <= incident.ends()


def episodes(
    told: Sequence[Sequence[Incident]], feedback: Mapping[str, str], material_nanos: int
) -> list[Episode]:
    """What was paged by any setting, one entry for what overlaps in time.

    Parameters
    ----------
    feedback : mapping of str to str
        Fingerprint to what people said of it. `real` is real, whatever else they said is noise.
    material_nanos : int
        What nobody has spoken of is real if it came to this much.
    """
    paged = sorted((i for side in told for i in side if i.pages), key=lambda i: (i.started, i.fingerprint))
    groups: list[list[Incident]] = []
    end = float("-inf")
    for incident in paged:
        if incident.started > end:
            groups.append([])
        groups[-1].append(incident)
        end = max(end, incident.ends())
    return [_episode(group, feedback, material_nanos) for group in groups]


def _episode(group: Sequence[Incident], feedback: Mapping[str, str], material_nanos: int) -> Episode:
    excess = max(i.excess for i in group)
    said = {feedback[i.fingerprint] for i in group if i.fingerprint in feedback}
    worth: Worth = "real" if excess >= material_nanos else "unknown"
    if said:
        worth = "real" if "real" in said else "noise"
    return Episode(
        min(i.started for i in group),
        max(i.ends() for i in group),
        excess,
        worth,
        tuple(sorted({i.kind for i in group})),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """What one setting would have come to.

    Attributes
    ----------
    pages_per_month, needless_per_month : float
        All pages; and those about what is not known to be real, which is what a page budget is of.
    caught, missed : int
        Of what is real, nano-dollars: spent over the usual after the page, which it could have stopped; and all
        that was over the usual where no page came.
    delay_s : float or None
        Median of the real ones that were paged.
    """

    setting: Setting
    pages: int
    pages_per_month: float
    needless_per_month: float
    caught: int
    missed: int
    delay_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data; money in nano-dollars."""
        return {
            **self.setting.to_dict(),
            "pages": self.pages,
            "pages_per_month": round(self.pages_per_month, 4),
            "needless_pages_per_month": round(self.needless_per_month, 4),
            "caught_nanos": self.caught,
            "missed_nanos": self.missed,
            "delay_s": None if self.delay_s is None else round(self.delay_s, 3),
        }


def point(setting: Setting, told: Sequence[Incident], found: Sequence[Episode], months: float) -> Point:
    """What a setting that told these incidents is worth over so many months of 30 days."""
    pages = [i for i in told if i.pages]
    needless = sum(any(e.worth != "real" and e.holds(i) for e in found) for i in pages)
    caught = missed = 0
    delays = []
    for episode in found:
        if episode.worth != "real":
            continue
        first = min((i for i in pages if episode.holds(i)), key=lambda i: i.told, default=None)
        if first is None:
            missed += episode.excess
        else:
            caught += max(episode.excess - first.told_excess, 0)
            delays.append(first.told - episode.started)
    per_month = 1 / months if months > 0 else 0.0
    return Point(
        setting,
        len(pages),
        len(pages) * per_month,
        needless * per_month,
        caught,
        missed,
        median(delays) if delays else None,
    )


def proposed(points: Sequence[Point], page_budget: float) -> Point:
    """Of the settings within the budget of needless pages the one that catches most; the first of equals.

    `points` begins with the present setting, so that nothing is changed for nothing. Where none is within the
    budget: the one with the fewest needless pages.
    """
    within = [p for p in points if p.needless_per_month <= page_budget]
    if not within:
        return min(points, key=lambda p: (p.needless_per_month, -p.caught))
    return max(within, key=lambda p: (p.caught, -p.pages))


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those of which none has fewer pages and catches as much: the trade-off curve, by pages."""
    found: list[Point] = []
    for each in sorted(points, key=lambda p: (p.pages, -p.caught)):
        if not found or each.caught > found[-1].caught:
            found.append(each)
    return found


def rows(points: Sequence[Point], chosen: Point) -> Iterator[tuple[str, ...]]:
    """For a table: the present setting first."""
    for number, each in enumerate(points):
        setting = each.setting
        yield (
            "present" if number == 0 else "proposed" if each is chosen else "",
            f"{setting.page_budget:g}",
            f"{setting.min_excess_usd:g}",
            f"{setting.min_excess_minutes:g}",
            f"{each.pages:,}",
            f"{each.pages_per_month:.2f}",
            f"{each.needless_per_month:.2f}",
            format_usd(each.caught),
            format_usd(each.missed),
            "-" if each.delay_s is None else f"{each.delay_s / 60:.1f} min",
        )
