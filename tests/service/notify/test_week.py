"""The scripted week of tests/broker/test_notify_week.py in manual time, with restarts and without."""

from __future__ import annotations

import os
import random

import orjson
import pytest

from schemas.alerts import Alert
from schemas.throttles import ThrottleEvent
from service.notify.notification import NEWS, Notification
from service.notify.pagerduty import render as pagerduty
from service.notify.slack import render as slack
from service.notify.webhook import render as webhook
from tests.service.notify.support import Scene
from tests.service.notify.week import CONFIG_RECORDS, END, GOLDEN, START, VENDORS, described, week

_OF = {"hook": "webhook", "pager": "pagerduty", "slack": "slack"}


def played(restarts: set[int]) -> Scene:
    scene = Scene(
        {"slack": "info", "pager": "info", "hook": "info"},
        *CONFIG_RECORDS,
        wants={"slack": NEWS},
        start=START,
    )
    for number, step in enumerate(sorted(week(), key=lambda step: step.at)):
        scene.wait((step.at - scene.now).total_seconds())
        if isinstance(step.record, Alert):
            scene.say(step.record)
        elif isinstance(step.record, ThrottleEvent):
            scene.throttle(step.record)
        else:
            scene.acknowledge(step.record)
        if number in restarts:
            scene.restart()
    scene.wait((END - scene.now).total_seconds())
    return scene


def told(scene: Scene) -> list[str]:
    lines: list[str] = []
    for vendor in VENDORS:
        sent = [said for said in scene.sent if _OF[said.receiver] == vendor]
        lines += [*(described(vendor, said.at, body(vendor, said)) for said in sent), ""]
    return lines


def body(vendor: str, said: Notification) -> dict[str, object]:
    if vendor == "slack":
        content = slack.render(said)
    elif vendor == "pagerduty":
        content = pagerduty.render(said, "0" * 32).body
    else:
        content = webhook.body(said)
    found: dict[str, object] = orjson.loads(content)
    return found


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_week_is_told_exactly_also_by_who_is_restarted_again_and_again(seed: int | None) -> None:
    """TIDEGATE_WRITE_GOLDEN=1 writes the file that the broker's test compares with, too."""
    restarts = set() if seed is None else set(random.Random(seed).sample(range(len(week())), 20))
    found = told(played(restarts))
    if seed is None and os.environ.get("TIDEGATE_WRITE_GOLDEN") == "1":
        GOLDEN.write_text("\n".join(found), encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8").split("\n")
