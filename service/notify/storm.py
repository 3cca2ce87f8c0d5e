"""At most so many notifications to one receiver in some minutes, and one digest of what was held back. Pure.

1. While there is room, every notification goes out when it is due.
2. Without room, what is due waits. Once the first has waited for `settling`, what is new in all that waits goes out
   as one digest, which needs no room: at most one in the cap's time.
3. The alerts in it are one incident from then on. Ends and reminders of others wait until there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from schemas.control import Cap

PREFIX: Final = "storm="
"""What the key of a digest's group begins with."""
_SETTLING: Final = timedelta(seconds=60)


def room_at(sent: Sequence[datetime], cap: Cap, now: datetime) -> datetime | None:
    """When there is room for one more, by when the last ones were sent (in order); None: at once."""
    within = timedelta(seconds=cap.within_s)
    counted = [at for at in sent if at > now - within]
    if len(counted) < cap.notifications:
        return None
    return counted[-cap.notifications] + within


def settling(cap: Cap) -> timedelta:
    """How long a digest waits for more, so that it is one."""
    return min(_SETTLING, timedelta(seconds=cap.within_s / 4))


def digest_at(held_since: datetime, last_digest: datetime | None, cap: Cap) -> datetime:
    """When a digest may be sent of what is held back since then."""
    ready = held_since + settling(cap)
    if last_digest is None:
        return ready
    return max(ready, last_digest + timedelta(seconds=cap.within_s))


def group(now: datetime) -> str:
    """The key of the group of a digest that is put together now."""
    return f"{PREFIX}{int(now.timestamp())}"


def is_digest(group: str) -> bool:
    return group.startswith(PREFIX)
