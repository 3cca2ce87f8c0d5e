"""What a record of a replayable topic holds, as ingest would read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.decode import decode, parse_object, validate
from schemas.events import CostEvent, Outcome
from schemas.reasons import Reason, Refused
from schemas.topics import COST_EVENTS, OUTCOMES, Topic
from service.ingest.adapters import ADAPTERS, FORMAT_HEADER, MAX_BYTES, MAX_DEPTH, NATIVE, adapt, adapter_for

REPLAYABLE: Final[dict[str, tuple[Topic, type[CostEvent | Outcome]]]] = {
    COST_EVENTS.name: (COST_EVENTS, CostEvent),
    OUTCOMES.name: (OUTCOMES, Outcome),
}
"""Topics whose dead letters can be published again, and what must come of them."""

Headers = Sequence[tuple[str, bytes | None]]


class Held(NamedTuple):
    """The records of the contract that one record on the broker holds.

    Attributes
    ----------
    foreign : bool
        An adapter made them: there may be any number of them, and their bytes are not the record's own.
    """

    records: Sequence[CostEvent | Outcome]
    foreign: bool = False


def held(topic: str, value: bytes | None, headers: Headers, default: str) -> Held:
    """Read one record.

    Parameters
    ----------
    topic : str
        The contract's name, one of `REPLAYABLE`.
    default : str
        Format of cost events whose headers name none: `tidegate`, or the name of an adapter.

    Raises
    ------
    Refused
    """
    model = REPLAYABLE[topic][1]
    adapter = None
    if model is CostEvent:
        adapter = adapter_for([(k, v) for k, v in headers if v is not None], ADAPTERS.get(default))
    if adapter is None:
        return Held([decode(model, value)])
    document = parse_object(value, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH)
    events = [validate(CostEvent, event) for event in adapt(document, adapter)]
    if not events:
        raise Refused(Reason.EMPTY, "it holds nothing that costs")
    return Held(events, foreign=True)


def id_of(record: CostEvent | Outcome) -> str:
    """What makes a record the same one again."""
    return record.event_id if isinstance(record, CostEvent) else record.outcome_id


def names_format(headers: Headers) -> bool:
    """Whether some header may say that a record is foreign."""
    return any(name.lower().startswith((FORMAT_HEADER, "content-type", "ce_")) for name, _ in headers)


def as_native(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Headers of a record that was foreign and is none any more."""
    kept = [(name, value) for name, value in headers if name.lower() != FORMAT_HEADER]
    return [*kept, (FORMAT_HEADER, NATIVE.encode())]
