"""One reading of the config topic, record by record: the same for workers and for the command line."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from schemas.reasons import Refused
from schemas.topics import CONFIG
from service.rules.config import ConfigBook
from service.rules.config_signature import Signatures
from service.settings import KafkaSettings


class ConfigFold:
    """What the records of the topic amount to, from its beginning on.

    Attributes
    ----------
    book : ConfigBook
        Every record that was accepted, whenever it holds.
    signatures : Signatures
    refused : dict of str to (int, Refused)
        By key: offset and fault of its latest record, where that was refused.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Raises SettingsError: a key cannot be read."""
        self.book = ConfigBook.empty()
        self.signatures = Signatures(kafka.topic(CONFIG), kafka.config_secrets())
        self.refused: dict[str, tuple[int, Refused]] = {}

    def take(self, record: ConsumerRecord) -> None:
        """Account for the next record.

        Raises
        ------
        Refused
            It changes nothing.
        """
        key = key_of(record)
        try:
            book = self.book.apply(key, record.value, record.offset)
            # Only now: one that is refused for its content must not make those signed before it too old.
            self.signatures.check(key, record.value, record.headers)
            self.book = book
        except Refused as refused:
            self.refused[key] = (record.offset, refused.at_rest())
            raise
        self.refused.pop(key, None)


def key_of(record: ConsumerRecord) -> str:
    """The record's key. One that is no UTF-8 equals no control record's key, and is refused with the rest."""
    return (record.key or b"").decode("utf-8", "replace")
