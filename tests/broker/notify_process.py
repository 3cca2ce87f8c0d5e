"""The notify role as a process of its own, so that it can be killed. Settings come from the environment."""

from __future__ import annotations

import sys
from functools import partial

from service.kafka import consumer
from service.notify import app
from service.runtime.logs import configure
from service.runtime.process import run_role
from service.settings import Settings

if __name__ == "__main__":
    # The least the broker allows: the group must notice soon that a member was killed.
    vars(app)["consumer"] = partial(consumer, session_timeout_ms=6_000, heartbeat_interval_ms=500)
    settings = Settings.load()
    configure(settings.log)
    sys.exit(run_role(lambda stop: app.run(settings, stop=stop)))
