"""From a refused value to a record that the contract takes, or the reason why it is still none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple, NoReturn

from schemas.decode import parse_object
from schemas.events import CostEvent, Outcome
from schemas.reasons import Reason, Refused
from service.dead_letters.reading import Headers, held, id_of
from service.errors import InvalidInput
from service.ingest.adapters import MAX_DEPTH, NATIVE

_PARTS: Final = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
LARGEST: Final = 1_000_000
"""Bytes of a value that is mended; no dead letter holds more."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a document: a value put at a path, or what is there taken away.

    Attributes
    ----------
    path : tuple of str
        Names of fields; a number where there is a list.
    """

    path: tuple[str, ...]
    value: Any = None
    remove: bool = False


class Mended(NamedTuple):
    """What will be published in place of a refused value.

    Attributes
    ----------
    records : tuple of (id, bytes)
        One of the wire format, its bytes as they were mended; or what an adapter made of a foreign record.
    content : str
        SHA-256 of the records in their canonical form: what is written differently but says the same is the same.
    """

    records: tuple[tuple[str, bytes], ...]
    content: str
    foreign: bool = False

    @property
    def record_id(self) -> str:
        """The first one's."""
        return self.records[0][0]


def parse_set(text: str) -> Edit:
    """`PATH=JSON`, as in `cost_usd="0.12"` or `charge.quantity=3`. Raises InvalidInput."""
    path, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"{text!r}: give PATH=JSON")
    try:
        return Edit(_path(path), json.loads(value, parse_constant=_no_constant))
    except ValueError:
        raise InvalidInput(
            f"{path}: {value!r} is not JSON; a string needs its quotes: '{path}=\"…\"'"
        ) from None


def parse_unset(text: str) -> Edit:
    """`PATH`. Raises InvalidInput."""
    return Edit(_path(text), remove=True)


def _path(text: str) -> tuple[str, ...]:
    parts = tuple(re.sub(r"\\(.)", r"\1", part) for part in _PARTS.findall(text))
    if not parts or ".".join(_PARTS.findall(text)) != text:
        raise InvalidInput(
            f"{text!r} is no path: names with dots between them (a dot in a name is written \\.)"
        )
    return parts


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def edited(value: bytes, edits: Sequence[Edit]) -> bytes:
    """The value with the edits made, in their order. Without edits the very same bytes.

    Raises
    ------
    Refused
        It is no JSON object, even to a generous reader (NaN, a byte order mark); or a path leads through
        something that has no fields. A key that comes twice cannot be mended so: which of the two is meant?
    """
    if not edits:
        return value
    document = _generously(value)
    for edit in edits:
        _apply(document, edit)
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair in an escape: what is published is refused for it
        return json.dumps(document, separators=(",", ":")).encode()


def _generously(value: bytes) -> dict[str, Any]:
    try:
        return parse_object(value, max_bytes=LARGEST, max_depth=MAX_DEPTH)
    except Refused as strict:
        if strict.reason is not Reason.INVALID_JSON:
            raise
        try:
            document = json.loads(value.removeprefix(_BOM), object_pairs_hook=unique)
        except (ValueError, RecursionError):
            raise strict from None
        if not isinstance(document, dict):
            raise Refused(Reason.NOT_AN_OBJECT, "expected a JSON object") from None
        return document


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `object_pairs_hook`: an object in which no key comes twice. Raises Refused."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(Reason.DUPLICATE_KEY, "a key comes twice in one object: say by hand which is meant")
    return found


def _apply(document: dict[str, Any], edit: Edit) -> None:
    here: Any = document
    *parents, last = edit.path
    for depth, part in enumerate(parents, start=1):
        if isinstance(here, dict):
            if part not in here:
                if edit.remove:
                    return
                here[part] = {}
            here = here[part]
        else:
            here = here[_index(here, part, edit.path[:depth])]
    if isinstance(here, dict):
        if edit.remove:
            here.pop(last, None)
        else:
            here[last] = edit.value
    elif edit.remove:
        del here[_index(here, last, edit.path)]
    else:
        here[_index(here, last, edit.path)] = edit.value


def _index(here: Any, part: str, path: Sequence[str]) -> int:
    if not isinstance(here, list):
        raise Refused(Reason.WRONG_TYPE, "what is there has no fields", ".".join(path[:-1]))
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(here):
        raise Refused(Reason.INVALID_VALUE, f"the list there has {len(here)} items", ".".join(path))
    return int(part)


@dataclass(frozen=True, slots=True)
class Check:
    """What ingest would ask of a record that is published now.

    Attributes
    ----------
    default : str
        Format of cost events whose headers name none.
    """

    now: datetime
    future_allowance_s: float
    default: str = NATIVE

    def read(self, topic: str, value: bytes, headers: Headers = ()) -> Mended:
        """The records that a value holds. One of the wire format may also stand where a foreign one was refused.

        Parameters
        ----------
        topic : str
            The contract's name, one of `REPLAYABLE`.

        Raises
        ------
        Refused
        """
        try:
            records, foreign = held(topic, value, headers, self.default)
        except Refused as refused:
            try:
                records, foreign = held(topic, value, (), NATIVE)
            except Refused:
                raise refused from None
            return self._mended(records, [value], foreign=True)
        return self._mended(records, [r.to_json() for r in records] if foreign else [value], foreign=foreign)

    def _mended(
        self, records: Sequence[CostEvent | Outcome], values: Sequence[bytes], *, foreign: bool
    ) -> Mended:
        latest = self.now + timedelta(seconds=self.future_allowance_s)
        if any(record.occurred_at > latest for record in records):
            raise Refused(
                Reason.IN_THE_FUTURE,
                f"later than now by more than {self.future_allowance_s:g} s",
                "occurred_at",
            )
        content = sha256(b"\n".join(record.to_json() for record in records)).hexdigest()
        ids = [id_of(record) for record in records]
        return Mended(tuple(zip(ids, values, strict=True)), content, foreign)
