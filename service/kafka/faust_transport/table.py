"""A Faust table in memory that knows which partition each key came from, with a changelog of our own making."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import faust
from faust.serializers.codecs import Codec
from faust.serializers.schemas import Schema
from faust.stores import memory
from faust.streams import current_event
from faust.topics import Topic
from faust.types import TP

from .fuse import Fuse

URL = "memory://"

#: (old, new) -> whether a value read from the changelog may take the place of the one before it.
Supersedes = Callable[[Any, Any], bool]


class OwnedMemoryStore(memory.Store):
    """Faust's memory store knows the partition of recovered keys only; here of written ones as well."""

    def __setitem__(self, key: Any, value: Any) -> None:
        event = current_event()
        if event is not None:
            self._key_partition[key] = event.message.partition
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._key_partition.pop(key, None)

    def _clear(self) -> None:
        super()._clear()
        self._key_partition.clear()

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Apply recovered records in their order; one that does not supersede what is here is left out.

        Faust's own applies deletions last and then drops a key that was set again to 0 or "". And its recovery
        only warns of what is raised here, and goes on without those records.
        """
        supersedes: Supersedes | None = self.table.supersedes
        try:
            for event in batch:
                key = to_key(event.key)
                if event.message.value is None:
                    self.data.pop(key, None)
                    self._key_partition.pop(key, None)
                    continue
                value = to_value(event.value)
                if supersedes is None or key not in self.data or supersedes(self.data[key], value):
                    self.data[key] = value
                    self._key_partition[key] = event.message.partition
        except Exception as exc:
            fuse: Fuse = self.app.fuse
            fuse.blow(exc)
            raise

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop what is no longer ours before recovery adds what now is."""
        self.keep_partitions({tp.partition for tp in assigned if tp.topic == self.table.changelog_topic_name})

    def keep_partitions(self, partitions: Collection[int]) -> int:
        """Drop every key that came from another partition than `partitions`; how many those were."""
        foreign = [key for key, partition in self._key_partition.items() if partition not in partitions]
        for key in foreign:
            self.data.pop(key, None)
            del self._key_partition[key]
        return len(foreign)

    def partition_of(self, key: Any) -> int | None:
        """The partition `key` came from; None when it is not here."""
        partition: int | None = self._key_partition.get(key)
        return partition


class ChangelogTopic(Topic):
    """A changelog whose undecodable record stops the worker; Faust would recover the table without it."""

    async def on_decode_error(self, exc: Exception, message: Any) -> None:
        fuse: Fuse = self.app.fuse
        fuse.blow(exc)


class KeyedTable(faust.Table):
    """A table of str keys and objects, kept in memory, with a named changelog and a given codec."""

    def __init__(
        self, app: Any, *, codec: Codec | None = None, supersedes: Supersedes | None = None, **kwargs: Any
    ) -> None:
        super().__init__(app, **kwargs)
        self.codec = codec
        self.supersedes = supersedes
        self.key_serializer = "raw"
        self.value_serializer = codec

    def info(self) -> Any:
        """What a clone of this table is made of."""
        return {**super().info(), "codec": self.codec, "supersedes": self.supersedes}

    def _new_store(self) -> OwnedMemoryStore:
        return OwnedMemoryStore(
            URL,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            loop=self.loop,
        )

    def items_of(self, partition: int) -> Iterator[tuple[str, Any]]:
        """Keys and values that came from `partition`."""
        store: OwnedMemoryStore = self.data
        return ((key, value) for key, value in store.items() if store.partition_of(key) == partition)


def keyed_table(
    app: Any,
    *,
    name: str,
    changelog: str,
    partitions: int,
    codec: Codec,
    supersedes: Supersedes | None = None,
) -> KeyedTable:
    """Declare a table on `app`: str keys, values of any type but bytes, which `codec` turns into bytes and back.

    `changelog` must exist, be compacted and have exactly `partitions` partitions, as many as the topic whose
    events write the table: a key's changelog record goes to the partition of the *event*, and Faust's assignor
    gives a worker partition n of both. Values are kept as they are: to change one, assign it again.

    `supersedes(old, new)` guards recovery against a worker that was suspended for longer than its session: when
    it wakes, its last writes follow those of its successor. Without transactions nothing fences it, but a value
    that carries the source offset applied last tells which is later. Give the changelog a
    `min.compaction.lag.ms` that covers the time until a key is written again, or compaction may keep the wrong
    one; and delete no key, for a deletion says nothing of its age.
    """
    topic = ChangelogTopic(
        app,
        topics=[changelog],
        schema=Schema(key_type=str, key_serializer="raw", value_serializer=codec, allow_empty=True),
        partitions=partitions,
        compacting=True,
        acks=False,
        internal=True,
        allow_empty=True,
    )
    table = KeyedTable(
        app,
        name=name,
        key_type=str,
        partitions=partitions,
        changelog_topic=topic,
        codec=codec,
        supersedes=supersedes,
        beacon=app.tables.beacon,
    )
    app.tables.add(table)
    return table


def drop_foreign_keys(table: KeyedTable, assigned: Collection[TP]) -> int:
    """Drop the keys of `table` whose changelog partition is not among `assigned`; how many those were.

    A `KeyedTable` does this by itself at each rebalance.
    """
    store: OwnedMemoryStore = table.data
    return store.keep_partitions({tp.partition for tp in assigned if tp.topic == table.changelog_topic_name})
