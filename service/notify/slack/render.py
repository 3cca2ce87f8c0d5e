"""An alert as a Slack message of blocks, within every documented limit. Pure.

Limits: 50 blocks; header 150; section text 3,000; 10 fields of 2,000; the whole message about 13,000 characters.
Lengths are counted in UTF-16 units, the strictest reading. Source: docs.slack.dev, "Blocks", "Formatting message
text" (only `&`, `<` and `>` are escaped, and `verbatim` stops Slack from finding links and names by itself).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from schemas.alerts import Alert
from service.notify import template
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

_MARK: Final = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


def render(alert: Alert, link: str | None = None) -> bytes:
    """The request body. `link`: where to read more, an http(s) URL."""
    notification = fit(f"{template.headline(alert)}. {template.sentence(alert)}", MAX_NOTIFICATION, escape)
    needed = [_header(alert), _section(fit(template.sentence(alert), MAX_SUMMARY, escape)), _fields(alert)]
    optional = [block for block in (_why(alert), _where(alert)) if block is not None]
    last = [*([_link(link)] if link else []), _context(alert)]
    while True:
        blocks = [*needed, *optional, *last]
        body = orjson.dumps(
            {"text": notification, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
        )
        if not optional or units(body.decode()) <= MAX_MESSAGE:
            return body
        optional.pop()


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _header(alert: Alert) -> dict[str, Any]:
    mark = "✅" if alert.status == "resolved" else _MARK[alert.severity]
    text = fit(f"{mark} {template.headline(alert)}", MAX_HEADER, escape)
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


def _link(link: str) -> dict[str, Any]:
    target = link.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C").replace("&", "&amp;")
    return _section(f"<{target}|Open this incident>")


def _context(alert: Alert) -> dict[str, Any]:
    return {
        "type": "context",
        "elements": [_mrkdwn(fit(template.provenance(alert), MAX_CONTEXT, escape))],
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
