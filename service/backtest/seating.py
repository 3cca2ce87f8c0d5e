"""Where configurations are judged: here, or in processes apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.backtest.apart import FEW, Apart
from service.backtest.course import Sides
from service.backtest.side import Side


@dataclass(frozen=True, slots=True)
class Seating:
    """How many processes judge, besides this one; of 1, all of it is done here.

    Attributes
    ----------
    spend : bool
        Also sum spend by minute, for pictures.
    after : int
        Records from which on processes are started.
    """

    processes: int = 1
    spend: bool = False
    after: int = FEW

    @contextmanager
    def seat(self, groups: Sequence[Sequence[Side]]) -> Iterator[list[Sides]]:
        """Groups of sides, each of which is given the same records. What is started is ended in any case."""
        each = max(self.processes // len(groups), 1)
        seated: list[Sides] = []
        try:
            for sides in groups:
                if self.processes == 1:
                    seated.append(Sides(sides, spend=self.spend))
                else:
                    seated.append(Apart(sides, spend=self.spend, processes=each, after=self.after))
            yield seated
        finally:
            for judged in seated:
                judged.close()
