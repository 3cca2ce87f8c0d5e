"""The only place in the library that asks what time it is. Everything else is handed a clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, for what others wrote; elapsed time, for how long something holds."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed instant; never goes back, whoever sets the machine's clock."""
        ...


class SystemClock:
    """The machine's own clock."""

    # The function itself: a call is decided in a few microseconds, and a wrapper would be a tenth of that.
    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)
