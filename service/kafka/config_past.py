"""The configuration as it was: folded again out of the audit trail, by the rules that workers go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from schemas.control import ConfigChange
from schemas.reasons import Refused
from schemas.topics import CONFIG
from service.kafka.config_topic import Standing
from service.rules.config import ConfigBook
from service.rules.config_signature import HEADER, Signatures, signature_in
from service.settings import KafkaSettings

Told = Callable[[ConfigChange, ConfigBook, Refused | None], None]


def fold(entries: Iterable[ConfigChange], signatures: Signatures, told: Told) -> None:
    """Go through changes in their order; `told` of each with the book after it, and why it was refused, if so."""
    book = ConfigBook.empty()
    for entry in entries:
        refused: Refused | None = None
        try:
            after = book.apply(entry.key, entry.value, entry.offset)
            signatures.check(entry.key, entry.value, headers_of(entry))
            book = after
        except Refused as caught:
            refused = caught.at_rest()
        told(entry, book, refused)


def headers_of(entry: ConfigChange) -> Sequence[tuple[str, bytes | None]]:
    """The signature as the header that it was."""
    return [] if entry.signature is None else [(HEADER, entry.signature.encode())]


def book_at(entries: Sequence[ConfigChange], version: str, kafka: KafkaSettings) -> ConfigBook | None:
    """The latest book that had this version, as the topic's or as that of what held then; None: there is none.

    Where keys are set, a record without a signature changes nothing; it did before there were keys: versions
    of then are looked for by the rules of then. Raises SettingsError.
    """
    found: ConfigBook | None = None
    offset = version.partition("-")[0]

    def compare(entry: ConfigChange, book: ConfigBook, refused: Refused | None) -> None:
        nonlocal found
        for candidate in (book, book.at(entry.written_at)):
            # A version begins with the book's offset: most need no digest.
            if str(candidate.offset) == offset or not candidate.records:
                found = book if candidate.version == version else found

    for secrets in (kafka.config_secrets(), {}):
        fold(entries, Signatures(kafka.topic(CONFIG), secrets), compare)
        if found is not None:
            return found
    return ConfigBook.empty() if version == ConfigBook.empty().version else None


def unsigned_records(standing: Standing, key_id: str, *, nobodys: bool) -> Mapping[str, bytes | None]:
    """The exact bytes of each record that holds and that another key than `key_id` has signed, or nobody.

    Parameters
    ----------
    nobodys : bool
        Whether those are meant, too, that no signature, or a wrong one, is on: they hold only where no key is set.
    """
    book = standing.book
    if nobodys:
        book = ConfigBook.empty()
        for change in standing.changes:
            try:
                book = book.apply(change.key, change.value, change.offset)
            except Refused:
                continue
    at = {change.offset: change for change in standing.changes}
    found: dict[str, bytes | None] = {}
    for key, offset in sorted(book.offsets.items()):
        change = at[offset]
        signature = signature_in(change.headers)
        by = None if signature is None else signature.split(" ")[1:2]
        holds = standing.book.offsets.get(key) == offset
        if (nobodys and not holds) or (holds and by not in (None, [key_id])):
            found[key] = change.value
    return found
