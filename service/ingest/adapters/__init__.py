"""Foreign records as cost events: pure functions, one per format, and how a record names its format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from schemas.reasons import Reason, Refused
from service.ingest.adapters.cloudevents import from_binary, from_cloudevents
from service.ingest.adapters.focus import from_focus
from service.ingest.adapters.litellm import from_litellm
from service.ingest.adapters.otel import from_otlp

Adapter = Callable[[Mapping[str, Any]], list[dict[str, Any]]]
"""A parsed foreign record to documents in the wire form of `schemas.events.CostEvent`, which validates them.

An empty list when the record holds nothing that costs. Raises `schemas.reasons.Refused`, with paths in the
foreign record's terms, and nothing else. Neither clock nor I/O: the same record gives the same events.
"""

ADAPTERS: Final[Mapping[str, Adapter]] = {
    "litellm": from_litellm,
    "otlp": from_otlp,
    "cloudevents": from_cloudevents,
    "focus": from_focus,
}
"""By the name that the setting and the header `tidegate-format` use."""

NATIVE: Final = "tidegate"
"""The name of no adapter: a cost event of the wire format, whatever the topic's default."""
FORMAT_HEADER: Final = "tidegate-format"
MAX_EVENTS: Final = 10_000
"""Most events of one record. The OpenTelemetry Collector batches 8,192 spans unless told otherwise."""

_CONTENT_TYPE: Final = "content-type"
_CLOUDEVENTS: Final = "application/cloudevents"

MAX_BYTES: Final = 1_048_576
"""Largest foreign record that is worth parsing: Kafka's own bound unless somebody raised it."""
MAX_DEPTH: Final = 64
"""Deepest nesting worth parsing. A list in an attribute of a span lies 13 deep, a prompt in parts deeper."""


def adapter_for(headers: Iterable[tuple[str, bytes]], default: Adapter | None) -> Adapter | None:
    """The adapter of one record: what its headers say, else the topic's default. None: it needs none.

    1. `tidegate-format` names an adapter, or `tidegate` for none.
    2. CloudEvents' Kafka binding: `content-type: application/cloudevents+json` is structured mode, the header
       `ce_specversion` binary mode.
    3. The default.

    Of a header that comes twice the last counts. Names of headers are compared without regard to case.

    Raises
    ------
    Refused
        `invalid_value` for an unknown format, `invalid_utf8` for a header that is no text. The path is
        `headers.<name>`.
    """
    if not headers:
        return default
    known = {
        name.lower(): value
        for name, value in headers
        if name.lower() in (FORMAT_HEADER, _CONTENT_TYPE) or name[:3].lower() == "ce_"
    }
    if not known:
        return default
    texts = {name: _text(name, value) for name, value in known.items()}
    named = texts.get(FORMAT_HEADER)
    if named is not None and named != "cloudevents":
        if named != NATIVE and named not in ADAPTERS:
            expected = ", ".join((*ADAPTERS, NATIVE))
            raise Refused(Reason.INVALID_VALUE, f"expected one of {expected}", f"headers.{FORMAT_HEADER}")
        return ADAPTERS.get(named)
    media_type = texts.get(_CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type.startswith(_CLOUDEVENTS):
        if media_type not in (_CLOUDEVENTS, f"{_CLOUDEVENTS}+json"):
            raise Refused(
                Reason.INVALID_VALUE, "only single events in JSON are read", f"headers.{_CONTENT_TYPE}"
            )
        return from_cloudevents
    if "ce_specversion" in texts:
        attributes = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
        return partial(from_binary, attributes)
    return from_cloudevents if named is not None else default


def adapt(document: Mapping[str, Any], adapter: Adapter) -> list[dict[str, Any]]:
    """The documents that an adapter makes of one record, at most `MAX_EVENTS`.

    Raises
    ------
    Refused
        The adapter's, or `too_long`.
    """
    events = adapter(document)
    if len(events) > MAX_EVENTS:
        raise Refused(
            Reason.TOO_LONG, f"{len(events):,} events in one record, at most {MAX_EVENTS:,} are read"
        )
    return events


def _text(name: str, value: bytes | None) -> str:
    if value is None:  # Kafka has such headers, whatever the client's types say
        raise Refused(Reason.INVALID_VALUE, "a header without a value", f"headers.{name}")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(Reason.INVALID_UTF8, "a header that is not UTF-8", f"headers.{name}") from None
