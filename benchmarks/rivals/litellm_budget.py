"""LiteLLM's own check of a user's budget before a call, in one process without a database or Redis.

Runs with an interpreter that has `litellm[proxy]`, not with Tidegate's. Prints one JSON object: microseconds per
check by the wall clock (p50, p99) and of CPU time.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import statistics
import sys
import time

from litellm.caching.caching import DualCache
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.hooks.max_budget_limiter import _PROXY_MaxBudgetLimiter


async def main(count: int) -> None:
    hook, cache = _PROXY_MaxBudgetLimiter(), DualCache()
    user = UserAPIKeyAuth(user_id="u", user_max_budget=1e9, user_spend=1.0)
    walls = []
    data = {"model": "gpt-4o", "messages": []}
    await hook.async_pre_call_hook(user, cache, data, "completion")
    cpu = time.thread_time_ns()
    for _ in range(count):
        wall = time.perf_counter_ns()
        await hook.async_pre_call_hook(user, cache, data, "completion")
        walls.append(time.perf_counter_ns() - wall)
    cpu = time.thread_time_ns() - cpu
    cuts = statistics.quantiles(walls, n=100)
    told = {
        "what": f"litellm {importlib.metadata.version('litellm')}: _PROXY_MaxBudgetLimiter.async_pre_call_hook",
        "p50": round(cuts[49] / 1e3, 2),
        "p99": round(cuts[98] / 1e3, 2),
        "cpu": round(cpu / count / 1e3, 2),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
