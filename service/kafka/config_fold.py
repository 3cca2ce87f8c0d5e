"""One reading of the config topic, record by record: the same for workers and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import ConsumerRecord

from schemas.control import ConfigChange
from schemas.reasons import Refused
from schemas.topics import CONFIG
from service.rules.config import ConfigBook
from service.rules.config_signature import HEADER, Headers, Signatures
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
            self._accept(key, record.value, record.offset, record.headers)
        except Refused as refused:
            self.refused[key] = (record.offset, refused.at_rest())
            raise
        self.refused.pop(key, None)

    def _accept(self, key: str, value: bytes | None, offset: int, headers: Headers) -> None:
        book = self.book.apply(key, value, offset)
        # Only now: one that is refused for its content must not make those signed before it too old.
        self.signatures.check(key, value, headers)
        self.book = book

    @property
    def shadowed(self) -> dict[str, int]:
        """Keys of which only a refused record is there, with its offset: compaction may have removed a good one."""
        return {key: offset for key, (offset, _) in self.refused.items() if key not in self.book.records}

    def restore(self, trail: Sequence[ConfigChange]) -> None:
        """Account for what the trail (oldest first, each once) says was there before what is shadowed."""
        for key, offset in self.shadowed.items():
            for entry in _before(trail, offset):
                if entry.key != key or entry.size != len(entry.value or b""):
                    continue
                headers = [] if entry.signature is None else [(HEADER, entry.signature.encode())]
                try:
                    self._accept(key, entry.value, entry.offset, headers)
                except Refused:
                    continue  # as when it was written


def _before(trail: Sequence[ConfigChange], offset: int) -> list[ConfigChange]:
    """The entries before an offset, oldest first: of this topic, for one that is made again begins anew."""
    found: list[ConfigChange] = []
    for entry in reversed(trail):
        if entry.offset < offset:
            found.append(entry)
            offset = entry.offset
        elif found:
            break
    return found[::-1]


def key_of(record: ConsumerRecord) -> str:
    """The record's key. One that is no UTF-8 equals no control record's key, and is refused with the rest."""
    return (record.key or b"").decode("utf-8", "replace")
