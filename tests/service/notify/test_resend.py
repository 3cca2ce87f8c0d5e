"""What still fires is said again to who would take silence for its end, and never after its end was told."""

from __future__ import annotations

from datetime import timedelta

from schemas.control import Cap, ReceiverPolicy
from service.notify.notification import Change
from service.notify.resend import ResendBox
from tests.service.notify.support import Scene, alert, resolved

MINUTE = timedelta(seconds=60)


def scene() -> tuple[Scene, ResendBox]:
    found = Scene({"am": "info"}, wants=frozenset(Change))
    return found, box_of(found)


def box_of(found: Scene) -> ResendBox:
    return ResendBox("am", found.desk, MINUTE, lambda _: found.desk.outboxes["am"].out)


def said(found: Scene, box: ResendBox) -> list[str]:
    """The workflows of what is said again now."""
    names = []
    while (delivery := box.take(found.now)) is not None:
        names += [line.alert.workflow for line in delivery.said.firing]
        box.done(delivery, found.now)
        box.back(delivery)
    return names


def test_what_fires_is_said_again_every_minute_until_it_is_over() -> None:
    found, box = scene()
    found.say(alert())
    assert said(found, box) == ["support-agent"]
    found.wait(59)
    assert said(found, box) == []
    found.wait(2)
    assert said(found, box) == ["support-agent"]
    found.say(resolved())
    found.wait(600)
    assert found.sent[-1].over
    assert said(found, box) == []


def test_it_goes_on_when_somebody_took_it_and_says_who() -> None:
    found, box = scene()
    found.say(alert())
    found.acknowledge(alert().fingerprint)
    found.wait(61)
    delivery = box.take(found.now)
    assert delivery is not None
    [line] = delivery.said.firing
    assert line.acknowledgement is not None
    assert line.acknowledgement.author == "ada"
    assert delivery.said.incident == found.sent[0].incident


def test_nothing_is_said_again_while_there_is_news_or_that_nobody_was_told() -> None:
    found, box = scene()
    found.down.add("am")
    found.say(alert())
    found.wait(61)
    assert said(found, box) == []


def test_an_attempt_that_failed_is_not_repeated_when_it_is_over_or_the_next_one_is_due() -> None:
    found, box = scene()
    found.say(alert())
    found.wait(61)
    delivery = box.take(found.now)
    assert delivery is not None
    assert box.refresh(delivery, found.now + timedelta(seconds=30))
    assert not box.refresh(delivery, found.now + MINUTE)
    found.say(resolved())
    assert not box.refresh(delivery, found.now)


def test_it_knows_when_to_be_asked_again() -> None:
    found, box = scene()
    found.say(alert())
    assert box.wake_at(found.now) == found.now
    began = found.now
    assert said(found, box) == ["support-agent"]
    assert box.wake_at(found.now) == began + MINUTE


def test_after_a_restart_it_goes_on_from_the_log() -> None:
    found, _ = scene()
    found.say(alert())
    found.restart()
    assert said(found, box_of(found)) == ["support-agent"]


def test_news_that_a_cap_holds_back_does_not_hold_it_up() -> None:
    found = Scene(
        {"am": "info"},
        ReceiverPolicy(name="am", cap=Cap(notifications=1, within_s=600.0)),
        wants=frozenset(Change),
    )
    box = box_of(found)
    found.say(alert())
    found.wait(30)
    found.say(alert(fingerprint="other", workflow="chat", kind="creep"))
    assert len(found.sent) == 1
    assert said(found, box) == ["support-agent"]
