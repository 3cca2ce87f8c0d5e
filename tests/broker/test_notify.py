"""The notify role on a real broker: nothing lost, nothing told twice, whoever dies when."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.alerts import Alert
from schemas.control import Cap, Control, Match, ReceiverPolicy, Silence
from schemas.dead_letters import DeadLetter
from schemas.notifications import NotificationLogEntry, ParkedNotification
from schemas.topics import (
    ACKNOWLEDGEMENTS,
    ALERTS,
    CONFIG,
    CONFIG_HISTORY,
    CONFIG_REJECTIONS,
    DEAD_LETTERS,
    NOTIFICATION_LOG,
    PARKED_NOTIFICATIONS,
    THROTTLE_EVENTS,
    Topic,
)
from service.demo.receivers import Fault, LocalReceivers
from service.errors import SettingsError
from service.kafka import Producer, TopicPartition, consumer, producer, started
from service.kafka.embedded.broker import EmbeddedBroker
from service.notify.app import run
from service.runtime import metrics
from service.settings import (
    HealthSettings,
    KafkaSettings,
    NotifySettings,
    PagerDutyReceiver,
    ReceiverSettings,
    Settings,
    SlackReceiver,
    WebhookReceiver,
)
from tests.service.notify.support import alert, resolved
from tests.support.broker import create_topics, read_all
from tests.support.patience import PATIENCE_S, until

pytestmark = pytest.mark.broker
ROOT = Path(__file__).parents[2]


@pytest.fixture
def local() -> Iterator[LocalReceivers]:
    with LocalReceivers() as running:
        yield running


class Site:
    """One installation on the broker, with topics, a producer of alerts and receivers of its own."""

    def __init__(self, kafka: KafkaSettings, sender: Producer, local: LocalReceivers) -> None:
        self.kafka = kafka
        self.sender = sender
        self.local = local

    def settings(self, *vendors: str, **changed: Any) -> Settings:
        known: dict[str, ReceiverSettings] = {
            "slack": SlackReceiver(webhook_url=SecretStr(self.local.slack_url)),
            "pager": PagerDutyReceiver(
                routing_key=SecretStr(self.local.routing_key), base_url=self.local.base_url, changes=False
            ),
            "hook": WebhookReceiver(
                url=self.local.webhook_url, hmac_secret=SecretStr(self.local.hmac_secret)
            ),
        }
        options = {
            "max_attempts": 100,
            "backoff_initial_s": 0.05,
            "backoff_max_s": 0.2,
            "group_wait_s": 0.0,
            "group_interval_s": 0.1,
            "page_interval_s": 0.1,
            **changed,
        }
        notify = NotifySettings(
            group_id=f"{self.kafka.topic_prefix}notify",
            receivers={name: known[name] for name in vendors},
            **options,
        )
        return Settings(kafka=self.kafka, notify=notify, health=HealthSettings(port=-1))

    async def publish(self, *alerts: Alert) -> None:
        for one in alerts:
            await self.sender.send_and_wait(
                self.kafka.topic(ALERTS), one.to_json(), key=one.fingerprint.encode()
            )

    async def configure(self, record: Control, *, key: str) -> None:
        await self.sender.send_and_wait(self.kafka.topic(CONFIG), record.to_json(), key=key.encode())

    async def records(self, topic: Topic) -> list[Any]:
        return await read_all(self.kafka.bootstrap_servers, self.kafka.topic(topic))

    async def logged(self) -> list[NotificationLogEntry]:
        found = [r.value for r in await self.records(NOTIFICATION_LOG)]
        return [NotificationLogEntry.from_json(value) for value in found if value is not None]

    async def committed(self) -> int:
        """Sum of the group's committed offsets of the alerts topic."""
        group = f"{self.kafka.topic_prefix}notify"
        async with started(consumer(self.kafka, group_id=group), self.kafka) as reader:
            offsets = [
                await reader.committed(TopicPartition(self.kafka.topic(ALERTS), p))
                for p in range(self.kafka.partitions)
            ]
        return sum(offset or 0 for offset in offsets)


@pytest.fixture
async def site(broker: EmbeddedBroker, topic_prefix: str, local: LocalReceivers) -> AsyncIterator[Site]:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix, partitions=1)
    single = (
        ACKNOWLEDGEMENTS,
        CONFIG,
        CONFIG_HISTORY,
        CONFIG_REJECTIONS,
        DEAD_LETTERS,
        PARKED_NOTIFICATIONS,
        THROTTLE_EVENTS,
    )
    topics = {kafka.topic(t): 1 for t in single}
    await create_topics(broker.bootstrap, {**topics, kafka.topic(ALERTS): 1})
    await create_topics(broker.bootstrap, {kafka.topic(NOTIFICATION_LOG): 1}, {"cleanup.policy": "compact"})
    async with started(producer(kafka, client_id="test"), kafka) as sender:
        found = Site(kafka, sender, local)
        await found.configure(
            ReceiverPolicy(name="*", cap=Cap(notifications=50, within_s=10)), key="receiver_policy/*"
        )
        yield found


@asynccontextmanager
async def at_work(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """The role in this process; yields its stop event, and stops it in the end."""
    stop = asyncio.Event()
    role = asyncio.create_task(run(settings, stop=stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(role, PATIENCE_S)


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """The role in a process of its own, killed in the end if it still runs."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **_environ(settings)}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service.cli", "notify", cwd=ROOT, env=environ
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def _environ(settings: Settings) -> dict[str, str]:
    found = {
        "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "TIDEGATE_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "TIDEGATE_KAFKA__SESSION_TIMEOUT_S": "2",
        "TIDEGATE_HEALTH__PORT": "-1",
        "TIDEGATE_LOG__LEVEL": "WARNING",
    }
    for name in ("group_id", *_TIMES):
        found[f"TIDEGATE_NOTIFY__{name.upper()}"] = str(getattr(settings.notify, name))
    for name, receiver in settings.notify.receivers.items():
        for field, value in receiver.model_dump(exclude_none=True).items():
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found[f"TIDEGATE_NOTIFY__RECEIVERS__{name}__{field.upper()}"] = text
    return found


_TIMES = (
    "max_attempts",
    "backoff_initial_s",
    "backoff_max_s",
    "group_wait_s",
    "group_interval_s",
    "page_interval_s",
)


def incidents(count: int, *, after: int = 0) -> list[Alert]:
    """Each of another team, so that each is told by itself."""
    return [
        alert(fingerprint=f"incident-{number:03}", team=f"team-{number:03}")
        for number in range(after, after + count)
    ]


def config_versions() -> set[str]:
    """In force at the notify role in this process."""
    samples = [s for metric in metrics.CONFIG_INFO.collect() for s in metric.samples]
    return {s.labels["version"] for s in samples if s.labels["role"] == "notify" and s.value}


def told(local: LocalReceivers) -> Counter[str]:
    """How often the webhook took news of each alert: `FINGERPRINT CHANGE`."""
    return Counter(
        f"{line['fingerprint']} {line['change']}"
        for r in local.of("webhook")
        for line in r.body["alerts"]
        if line["change"] is not None
    )


async def test_killed_while_a_receiver_fails_nothing_is_lost_and_nothing_told_twice(
    site: Site, local: LocalReceivers
) -> None:
    settings = site.settings("hook", "pager")
    before, after = incidents(14)[:6], incidents(14)[6:]
    await site.publish(*before)
    async with process(settings) as first:
        await until(lambda: len(told(local)) == 6)

        async def logged() -> bool:
            return len([e for e in await site.logged() if e.receiver == "hook"]) == 6

        await until(logged)
        local.fail_always("webhook", Fault(503))
        await site.publish(*after)
        await until(lambda: len(local.of("webhook", "scripted")) >= 5)
        first.send_signal(signal.SIGKILL)
        await first.wait()
    local.fail_always("webhook", None)
    async with process(settings) as second:
        await until(lambda: len(told(local)) == 14)
        await until(lambda: len({r.body["dedup_key"] for r in local.of("pagerduty")}) == 14)
        await site.publish(*(resolved(fingerprint=a.fingerprint, team=a.team) for a in incidents(14)))
        await until(lambda: len(told(local)) == 28)

        async def all_committed() -> bool:
            return await site.committed() == 28

        await until(all_committed)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    assert told(local) == {
        f"incident-{number:03} {change}": 1 for number in range(14) for change in ("joined", "resolved")
    }
    assert local.violations == []
    assert await site.records(PARKED_NOTIFICATIONS) == []


async def test_killed_between_delivery_and_log_it_is_told_again_under_the_same_key(
    site: Site, local: LocalReceivers
) -> None:
    """The one gap that cannot be closed: the vendors that can fold a repetition are given the key to do it."""
    settings = site.settings("hook", "pager", "slack")
    for vendor, status, body in (("webhook", 200, "ok"), ("pagerduty", 202, "{}"), ("slack", 200, "ok")):
        local.fail(vendor, [Fault(status, body, hang_s=60.0, accepts=True)])  # type: ignore[arg-type]
    await site.publish(alert())
    async with process(settings) as first:
        await until(lambda: len(local.received) == 3)
        first.kill()
        await first.wait()
    assert await site.logged() == []
    async with at_work(settings):
        await until(lambda: len(local.received) == 6)
    assert told(local) == {f"{alert().fingerprint} joined": 2}
    assert len({r.headers["idempotency-key"] for r in local.of("webhook")}) == 1
    assert len({r.body["dedup_key"] for r in local.of("pagerduty")}) == 1
    assert len(local.of("slack")) == 2, "Slack has no key: it shows the message twice, as documented"


async def test_two_replicas_tell_everybody_once_while_one_joins_and_one_leaves(
    site: Site, local: LocalReceivers, caplog: pytest.LogCaptureFixture
) -> None:
    settings = site.settings("hook", "slack")
    published = 0
    # Slow, so that requests are out whenever partitions change hands …
    local.fail_always("webhook", Fault(200, "ok", hang_s=0.1, accepts=True))
    # … and a receiver that is down, so that nothing is committed and only the log knows who was told.
    local.fail_always("slack", Fault(503))

    def shares() -> list[int]:
        """How many partitions somebody took up, each time."""
        lines = [r.args for r in caplog.records if r.msg.startswith("partitions ")]
        return [len(args[0]) for args in lines if isinstance(args, tuple) and isinstance(args[0], list)]

    async def publish_more() -> None:
        nonlocal published
        await site.publish(*incidents(20, after=published))
        published += 20

    async def changed_hands() -> bool:
        """Whether the partition was given anew with the second one there; until then there is work."""
        if published - len(told(local)) < 20:
            await publish_more()
        return shares().count(1) >= 2

    with caplog.at_level(logging.INFO, "service.notify.reader"):
        async with at_work(settings) as first:
            await publish_more()
            await until(lambda: len(told(local)) >= 10)
            async with at_work(settings):
                await until(changed_hands)
                await publish_more()
                await until(lambda: len(told(local)) >= published - 20)
                first.set()
                await publish_more()
                await until(lambda: len(told(local)) == published)
                # The one that stays takes over what the other left.
                assert shares()[-1] == 1
    assert set(told(local).values()) == {1}
    assert await site.committed() < published
    assert local.violations == []


async def test_a_final_error_is_parked_and_holds_nobody_up(site: Site, local: LocalReceivers) -> None:
    local.fail_always("slack", Fault(404, "no_service"))
    async with at_work(site.settings("slack", "hook")):
        await site.publish(alert(sequence=1), alert(sequence=2))
        await until(lambda: len(told(local)) == 1 and len(local.of("slack", None)) == 1)
        await site.publish(resolved(sequence=3))
        await until(lambda: len(told(local)) == 2)

        async def committed() -> bool:
            return await site.committed() == 3

        await until(committed)
    parked = [ParkedNotification.from_json(r.value) for r in await site.records(PARKED_NOTIFICATIONS)]
    assert [(p.receiver, p.outcome, p.detail) for p in parked] == [("slack", "final_error", "404 no_service")]
    assert len(local.of("slack", None)) == 1, "the same state is not asked about again, nor its end told"


async def test_out_of_attempts_it_is_parked_and_its_end_not_told(site: Site, local: LocalReceivers) -> None:
    local.fail_always("webhook", Fault(500))
    async with at_work(site.settings("hook", max_attempts=3, group_interval_s=3_600.0)):
        await site.publish(alert())
        await until(lambda: len(local.of("webhook", None)) == 3)

        async def parked() -> bool:
            return len(await site.records(PARKED_NOTIFICATIONS)) == 1

        await until(parked)
    (record,) = await site.records(PARKED_NOTIFICATIONS)
    found = ParkedNotification.from_json(record.value)
    assert (found.outcome, found.attempts, found.alert) == ("retries_exhausted", 3, alert())


async def test_a_hanging_receiver_holds_the_commit_and_not_the_others(
    site: Site, local: LocalReceivers
) -> None:
    local.fail_always("slack", Fault(500, hang_s=600.0))
    async with at_work(site.settings("slack", "hook")):
        await site.publish(*incidents(20))
        await until(lambda: len(told(local)) == 20)
        assert await site.committed() < 20
        local.stop()  # it hangs no longer, so the role need not wait for it either


async def test_an_incident_is_told_when_it_begins_and_when_it_ends(site: Site, local: LocalReceivers) -> None:
    launch = alert(fingerprint="launch", kind="launch", severity="info")
    async with at_work(site.settings("hook", "pager")):
        await site.publish(launch, alert(sequence=1))
        await until(lambda: len(told(local)) == 2)
        await site.publish(*(alert(sequence=n) for n in range(2, 6)), resolved(sequence=6))
        await until(lambda: len(told(local)) == 3)
        await until(lambda: len(local.of("pagerduty")) == 3)
    own = alert().fingerprint
    assert told(local) == {"launch joined": 1, f"{own} joined": 1, f"{own} resolved": 1}
    events = local.of("pagerduty")
    assert [r.body["event_action"] for r in events if r.path == "/v2/enqueue"] == ["trigger", "resolve"]
    assert [r.path for r in events].count("/v2/change/enqueue") == 1
    assert local.violations == []


async def test_what_cannot_be_read_becomes_a_dead_letter(site: Site, local: LocalReceivers) -> None:
    async with at_work(site.settings("hook")):
        await site.sender.send_and_wait(site.kafka.topic(ALERTS), b'{"status": "odd"}', key=b"k")
        await site.publish(alert())
        await until(lambda: len(told(local)) == 1)
    (record,) = await site.records(DEAD_LETTERS)
    letter = DeadLetter.from_json(record.value)
    assert (letter.value, letter.key) == (b'{"status": "odd"}', b"k")
    assert record.key.decode() == f"{letter.origin.topic}/{letter.origin.partition}/{letter.origin.offset}"


async def test_a_silence_on_the_config_topic_holds_from_one_alert_to_the_next(
    site: Site, local: LocalReceivers
) -> None:
    now = datetime.now(UTC)
    silence = Silence(
        name="load-test",
        match=Match(workflow="loadtest-*"),
        starts_at=now - timedelta(minutes=1),
        ends_at=now + timedelta(minutes=10),
        author="ops",
        reason="load test",
    )
    async with at_work(site.settings("hook")):
        await site.publish(alert(fingerprint="a", workflow="loadtest-1", team="a"))
        await until(lambda: len(told(local)) == 1)
        before = config_versions()
        await site.configure(silence, key="silence/load-test")
        await until(lambda: config_versions() != before)
        await site.publish(
            alert(fingerprint="b", workflow="loadtest-1", team="b"), alert(fingerprint="c", workflow="chat")
        )
        await until(lambda: len(told(local)) == 2)
    assert set(told(local)) == {"a joined", "c joined"}


async def test_alerts_on_several_partitions_are_refused(broker: EmbeddedBroker, topic_prefix: str) -> None:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)
    topics = (
        ACKNOWLEDGEMENTS,
        CONFIG,
        CONFIG_HISTORY,
        CONFIG_REJECTIONS,
        DEAD_LETTERS,
        NOTIFICATION_LOG,
        PARKED_NOTIFICATIONS,
        THROTTLE_EVENTS,
    )
    await create_topics(broker.bootstrap, {**{kafka.topic(t): 1 for t in topics}, kafka.topic(ALERTS): 2})
    settings = Settings(kafka=kafka, health=HealthSettings(port=-1))
    with pytest.raises(SettingsError, match="must have 1"):
        await run(settings, stop=asyncio.Event())
