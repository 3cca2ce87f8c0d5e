"""Dead letters as text for people. Nothing of what a gateway sent reaches the terminal unescaped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Final

from schemas.base import format_timestamp
from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.decode import parse_object
from schemas.reasons import Refused
from service.commands.invocation import printable
from service.dead_letters.mend import LARGEST
from service.ingest.adapters import MAX_DEPTH

_HEX_COLUMNS: Final = 16
_DETAIL_CHARS: Final = 120


def row(letter: DeadLetter, mark: DeadLetterReplay | None) -> str:
    """One line: where from, when, why, and whether it is settled."""
    where = f"{letter.path}: " if letter.path else ""
    state = mark.outcome if mark else "-"
    head = f"{letter.origin!s:<40}  {format_timestamp(letter.timestamp):<24}  {letter.reason.value:<24}  {state:<9}"
    return printable(f"{head}  {where}{letter.detail}", len(head) + _DETAIL_CHARS)


def summary(letters: Iterable[tuple[DeadLetter, bool]]) -> list[str]:
    """Counts by topic, reason and path, the most frequent first; `settled` of each."""
    total: Counter[tuple[str, str, str]] = Counter()
    settled: Counter[tuple[str, str, str]] = Counter()
    for letter, done in letters:
        group = letter.origin.topic, letter.reason.value, letter.path
        total[group] += 1
        settled[group] += done
    lines = [f"{'letters':>9}  {'settled':>9}  {'topic':<32}  {'reason':<24}  path"]
    for group, count in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        topic, reason, path = group
        lines.append(printable(f"{count:>9,}  {settled[group]:>9,}  {topic:<32}  {reason:<24}  {path}"))
    lines.append(f"{total.total():>9,}  {settled.total():>9,}  in all")
    return lines


def page(letter: DeadLetter, mark: DeadLetterReplay | None) -> list[str]:
    """Everything about one letter."""
    lines = [
        f"origin   {letter.origin}",
        f"time     {format_timestamp(letter.timestamp)}",
        f"reason   {letter.reason.value}",
        f"path     {letter.path or '(the whole record)'}",
        f"detail   {letter.detail}",
        f"key      {short(letter.key)}",
        *(f"header   {header.key}: {short(header.value)}" for header in letter.headers),
    ]
    if mark is not None:
        who = f" by {mark.by}" if mark.by else ""
        lines.append(f"settled  {mark.outcome} as {mark.record_id}, {format_timestamp(mark.at)}{who}")
    return [*map(printable, lines), *value_lines(letter.value)]


def short(data: bytes | None) -> str:
    return "(none)" if data is None else data.decode("utf-8", "backslashreplace")


def value_lines(value: bytes | None) -> list[str]:
    """A refused value: JSON laid out, other text line by line and escaped, anything else in hexadecimal."""
    if value is None:
        return ["value    (none)"]
    head = f"value    {len(value):,} bytes"
    try:
        laid_out = json.dumps(
            parse_object(value, max_bytes=LARGEST, max_depth=MAX_DEPTH), indent=2, ensure_ascii=False
        )
    except Refused:
        pass
    else:
        return [f"{head}, JSON", *map(printable, laid_out.split("\n"))]
    try:
        return [f"{head}, UTF-8", *map(printable, value.decode().split("\n"))]
    except UnicodeDecodeError as error:
        return [f"{head}, not UTF-8 at byte {error.start}", *hexadecimal(value)]


def hexadecimal(value: bytes) -> list[str]:
    """Offset, bytes, and what of them is printable ASCII."""
    lines = []
    for at in range(0, len(value), _HEX_COLUMNS):
        part = value[at : at + _HEX_COLUMNS]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):<{3 * _HEX_COLUMNS - 1}}  {shown}")
    return lines
