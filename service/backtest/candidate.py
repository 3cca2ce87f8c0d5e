"""A configuration as it can be handed to another process."""

from __future__ import annotations

from dataclasses import dataclass

from service.rules.config import ConfigBook


@dataclass(frozen=True, slots=True)
class Candidate:
    """Its name, and key, value and offset of each record."""

    name: str
    records: tuple[tuple[str, bytes, int], ...]

    @classmethod
    def of(cls, name: str, book: ConfigBook) -> Candidate:
        return cls(
            name, tuple((key, record.to_json(), book.offsets[key]) for key, record in book.records.items())
        )

    def book(self) -> ConfigBook:
        """With all dates. The same version as that which it was made of."""
        book = ConfigBook.empty()
        for record in self.records:
            book = book.apply(*record)
        return book
