"""The Faust transport of the keyed stage: the aiokafka driver with its faults put right."""

from __future__ import annotations

from typing import Any

from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as stock

from .consumer import Consumer
from .fuse import Fuse
from .producer import Producer


class Transport(stock.Transport):
    """Needs an app with a `fuse` and a `commit_lag_s`, as `build_app` makes it, and the settings given there."""

    Consumer = Consumer
    Producer = Producer

    def __init__(self, url: Any, app: Any, loop: Any = None) -> None:
        super().__init__(url, app, loop)
        if not isinstance(getattr(app, "fuse", None), Fuse):
            raise ImproperlyConfigured("this transport needs an app with a fuse")
        if app.conf.consumer_auto_offset_reset != "earliest" or app.conf.producer_threaded:
            raise ImproperlyConfigured(
                "this transport reads from the earliest offset and sends from one thread"
            )
