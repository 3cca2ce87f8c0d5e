"""How long a test waits for what must happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 90.0
"""Ten times what anything takes on a quiet machine: a loaded one is slow, and that is no bug.

How fast something is, a benchmark says. A test that fails costs its patience once; one that passes, nothing.
"""


async def until(
    holds: Callable[[], bool | Awaitable[bool]], within_s: float = PATIENCE_S, *, every_s: float = 0.05
) -> None:
    """Look again and again until `holds()` is, or resolves to, true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(every_s)
