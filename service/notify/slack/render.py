"""A notification as a Slack message of blocks, within every documented limit. Pure.

Limits: 50 blocks; header 150; section text 3,000; 10 fields of 2,000; the whole message about 13,000 characters.
Lengths are counted in UTF-16 units, the strictest reading. Source: docs.slack.dev, "Blocks", "Formatting message
text" (only `&`, `<` and `>` are escaped, and `verbatim` stops Slack from finding links and names by itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from schemas.alerts import Alert
from service.notify import template
from service.notify.notification import Links, Notification
from service.notify.text import clean, fit, fit_lines, units

MAX_HEADER: Final = 150
MAX_FIELD: Final = 300
MAX_SUMMARY: Final = 2_000
MAX_SECTION: Final = 2_500
MAX_LINE: Final = 480
MAX_CONTEXT: Final = 1_000
MAX_NOTIFICATION: Final = 600
MAX_MESSAGE: Final = 12_000
"""Characters of the whole JSON. Slack's own bound is about 13,000 and nowhere said exactly."""
MAX_DRIVERS: Final = 5
MAX_WHERE: Final = 8
MAX_DONE: Final = 5

_MARK: Final = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


def render(said: Notification) -> bytes:
    """The request body: everything about the lead alert, and a line for each of the others."""
    return orjson.dumps(message(said))


def message(said: Notification, last_of_all: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The same before it is JSON. `last_of_all`: blocks that it ends with, and makes room for."""
    if said.tidings is not None:
        return _line(said)
    opening = template.opening(said)
    notification = fit(f"{template.title(said)}. {opening}", MAX_NOTIFICATION, escape)
    needed = [_header(said), _section(fit(opening, MAX_SUMMARY, escape))]
    optional = [_bullets("Done about it", template.done(said.measures)[:MAX_DONE])]
    optional += [_bullets("In all" if said.occasion == "daily" else "Also", template.others(said))]
    last = _links(said.links)
    if said.lead is not None and said.occasion != "daily":
        needed.append(_fields(said.lead))
        optional += [_why(said.lead), _where(said.lead)]
        last.append(_context(said.lead))
    blocks = [block for block in optional if block is not None]
    while True:
        found = {
            "text": notification,
            "blocks": [*needed, *blocks, *last, *last_of_all],
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if not blocks or units(orjson.dumps(found).decode()) <= MAX_MESSAGE:
            return found
        blocks.pop()


def _line(said: Notification) -> dict[str, Any]:
    """One small line: nobody has to do anything about it."""
    title, opening = template.title(said), template.opening(said)
    text = f"*{fit(title, MAX_HEADER, escape)}* {fit(opening, MAX_CONTEXT, escape)}"
    return {
        "text": fit(title, MAX_NOTIFICATION, escape),
        "blocks": [{"type": "context", "elements": [_mrkdwn(text)]}],
        "unfurl_links": False,
        "unfurl_media": False,
    }


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _header(said: Notification) -> dict[str, Any]:
    mark = "🗒" if said.occasion == "daily" else "✅" if said.over else _MARK[said.severity]
    text = fit(f"{mark} {template.title(said)}", MAX_HEADER, escape)
    return {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}}


def _fields(alert: Alert) -> dict[str, Any]:
    pairs = [*template.dollars(alert), ("Since", template.since(alert))]
    if alert.team is not None:
        pairs.append(("Team", clean(alert.team)))
    texts = [f"*{label}*\n{fit(value, MAX_FIELD, escape)}" for label, value in pairs]
    return {"type": "section", "fields": [_mrkdwn(text) for text in texts]}


def _why(alert: Alert) -> dict[str, Any] | None:
    return _bullets("Why", template.drivers(alert)[:MAX_DRIVERS])


def _where(alert: Alert) -> dict[str, Any] | None:
    # The trace first: it is what can be stopped.
    return _bullets("Where", [*template.traces(alert), *template.top(alert)][:MAX_WHERE])


def _bullets(title: str, lines: list[str]) -> dict[str, Any] | None:
    if not lines:
        return None
    bullets = [f"• {fit(line, MAX_LINE, escape)}" for line in lines]
    return _section(fit_lines([f"*{title}*", *bullets], MAX_SECTION))


def _links(links: Links) -> list[dict[str, Any]]:
    named = ((links.console, "Open this incident"), (links.runbook, "What to do"))
    return [_section(f"<{_target(url)}|{name}>") for url, name in named if url is not None]


def _target(link: str) -> str:
    return link.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C").replace("&", "&amp;")


def _context(alert: Alert) -> dict[str, Any]:
    return {
        "type": "context",
        "elements": [_mrkdwn(fit(template.provenance(alert), MAX_CONTEXT, escape))],
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
