"""Making a text safe and short enough for somebody else's limit."""

from __future__ import annotations

from collections.abc import Callable

ELLIPSIS = "…"


def clean(text: str) -> str:
    """One line: whatever does not print (control characters, bidi overrides, line breaks) becomes a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def units(text: str) -> int:
    """Length in UTF-16 code units, the longest way any vendor may count characters."""
    return len(text) + sum(c > "\uffff" for c in text)


def fit(text: str, limit: int, escape: Callable[[str], str] = str) -> str:
    """`text`, escaped, in at most `limit` (at least 1) UTF-16 units; cut between characters, never inside an
    escape, and then ended by an ellipsis. `escape` must work character by character."""
    escaped = escape(text)
    if units(escaped) <= limit:
        return escaped
    kept: list[str] = []
    room = limit - 1
    for character in text:
        piece = escape(character)
        room -= units(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + ELLIPSIS


def fit_lines(lines: list[str], limit: int) -> str:
    """As many whole lines as fit into `limit` UTF-16 units, and a last line that says how many do not."""
    whole = "\n".join(lines)
    if units(whole) <= limit:
        return whole
    for count in range(len(lines) - 1, 0, -1):
        text = "\n".join([*lines[:count], f"{ELLIPSIS} and {len(lines) - count} more"])
        if units(text) <= limit:
            return text
    return fit(lines[0], limit)
