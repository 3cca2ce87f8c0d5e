"""What somebody says of an alert, written down and put into effect."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime

from schemas.control import Tuning
from schemas.decode import decode
from schemas.feedback import Feedback
from schemas.reasons import Refused
from schemas.topics import FEEDBACK
from service.kafka.clients import producer, started
from service.kafka.config_change import Intent
from service.kafka.config_topic import Standing, commit, standing
from service.kafka.reader import read
from service.rules.feedback import WINDOW, tuning, tuning_name
from service.runtime.clock import Clock
from service.settings import KafkaSettings


async def judge(
    kafka: KafkaSettings, said: Feedback, clock: Clock, *, withdrawn: bool = False, by: str = "cli"
) -> Tuning | None:
    """Write down what was said, and the tuning that follows from all that was said of the workflow.

    Saying the same again changes nothing. Returns the tuning that stands now, None if none does.

    Parameters
    ----------
    withdrawn : bool
        Whoever says it takes back instead what was said of this alert, by anybody.
    by : str
        Who writes it down, as the trail of the configuration names it.

    Raises
    ------
    BrokerUnavailable, TopicsMissing, KafkaError
    Fenced, Stalled
        As `config_topic.commit`: what was said is written down and not in effect; say it again.
    """
    now = clock.now()
    async with started(producer(kafka, client_id="tidegate-feedback"), kafka) as sender:
        value = None if withdrawn else said.to_json()
        await sender.send_and_wait(kafka.topic(FEEDBACK), value, key=said.fingerprint.encode())
    everything = await _said(kafka, now - WINDOW)
    wanted: Tuning | None = None

    def decide(stands: Standing) -> dict[str, bytes | None]:
        nonlocal wanted
        wanted = _wanted(stands, said.workflow, everything, now)
        return _missing(stands, said.workflow, wanted)

    what = "nothing any more" if withdrawn else said.worth
    reason = f"{said.author} said {what} of {said.fingerprint}"
    await commit(kafka, Intent(author=said.author, reason=reason, by=by), decide, clock)
    return wanted


async def settle(kafka: KafkaSettings, said: Feedback, clock: Clock, *, by: str) -> bool:
    """Put into effect what somebody else wrote to the topic. Returns whether there was anything left to do.

    Looks first and changes the configuration only where it must: another command that is at work is not disturbed.
    Raises as `judge` does.
    """
    now = clock.now()
    everything = await _said(kafka, now - WINDOW)

    def decide(stands: Standing) -> dict[str, bytes | None]:
        wanted = _wanted(stands, said.workflow, everything, now)
        return _missing(stands, said.workflow, wanted)

    if not decide(await standing(kafka)):
        return False
    reason = f"{said.author} said {said.worth} of {said.fingerprint}"
    await commit(kafka, Intent(author=said.author, reason=reason, by=by), decide, clock)
    return True


def _key(workflow: str) -> str:
    return f"tuning/{tuning_name(workflow)}"


def _wanted(stands: Standing, workflow: str, said: list[Feedback], now: datetime) -> Tuning | None:
    """The tuning that should stand by all that was said."""
    key, book = _key(workflow), stands.book
    without = book.apply(key, None, stands.end) if key in book.records else book
    return tuning(workflow, without.at(now).workflow(workflow), said, now)


def _missing(stands: Standing, workflow: str, wanted: Tuning | None) -> dict[str, bytes | None]:
    """What is to be written for that."""
    key = _key(workflow)
    if stands.book.records.get(key) == wanted:
        return {}
    return {key: None if wanted is None else wanted.to_json()}


async def _said(kafka: KafkaSettings, since: datetime) -> list[Feedback]:
    found: dict[bytes | None, Feedback] = {}
    async with aclosing(read(kafka, kafka.topic(FEEDBACK), since=since)) as records:
        async for record in records:
            if record.value is None:
                found.pop(record.key, None)
                continue
            try:
                found[record.key] = decode(Feedback, record.value)
            except Refused:
                continue  # not ours; `tidegate tail feedback` shows it
    return list(found.values())
