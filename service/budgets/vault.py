"""Where accounts are kept between processes: a compacted topic, written in the transaction that tells of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from schemas.topics import BUDGET_LEDGERS
from service.budgets import account as accounts
from service.budgets import progress as progresses
from service.budgets.account import Account, UnreadableAccount
from service.budgets.accounts import Accounts
from service.budgets.progress import Progress, UnreadableProgress
from service.errors import Stalled
from service.kafka.lane import Send
from service.kafka.reader import latest
from service.rules import forecast
from service.settings import KafkaSettings

_LOG = logging.getLogger(__name__)
_PROGRESS: Final = b"progress"
_LEDGER: Final = b"ledger/"
_USUAL: Final = b"usual/"


async def opened(kafka: KafkaSettings) -> tuple[dict[str, Account], Progress | None]:
    """What was kept last. To be asked for after the lane is open: before, its former owner may still write.

    Raises
    ------
    Stalled
        An account of a later release, or a damaged one: to begin it anew would lose what it counted.
    BrokerUnavailable, TopicsMissing
    """
    found = await latest(kafka, kafka.topic(BUDGET_LEDGERS))
    kept: dict[str, Account] = {}
    try:
        for key, value in found.items():
            if key.startswith(_LEDGER):
                name = key[len(_LEDGER) :]
                kept[name.decode()] = accounts.load(value, found.get(_USUAL + name))
        position = found.get(_PROGRESS)
        progress = None if position is None else progresses.load(position)
    except (UnreadableAccount, UnreadableProgress, UnicodeDecodeError) as error:
        raise Stalled(f"the topic {kafka.topic(BUDGET_LEDGERS)} cannot be read: {error}") from None
    _LOG.info("%d budgets were kept", len(kept))
    return kept, progress


def kept(kafka: KafkaSettings, all_of_them: Accounts, wall: float) -> Iterator[Send]:
    """The records that keep what has changed, and how far the topic was read with it."""
    topic = kafka.topic(BUDGET_LEDGERS)
    for name, account, learnt in all_of_them.changes(wall):
        key = name.encode()
        if account is None:
            yield _tombstone(topic, _LEDGER + key)
            yield _tombstone(topic, _USUAL + key)
            continue
        yield Send(topic, accounts.dump(account), _LEDGER + key)
        if learnt:
            yield Send(topic, forecast.dump(account.usual), _USUAL + key)
    yield Send(topic, progresses.dump(all_of_them.progress), _PROGRESS)


def _tombstone(topic: str, key: bytes) -> Send:
    return Send(topic, None, key)
