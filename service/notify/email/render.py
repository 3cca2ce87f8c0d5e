"""A notification as a mail: plain text and HTML of the same, in the thread of its incident. Pure.

A text from outside is cleaned to one line before it comes near a header, so that none can end one and begin
another. Lines are wrapped by the encoding (RFC 2045), none is longer than 998 characters (RFC 5322, 2.1.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from typing import Final

from service.notify import template
from service.notify.notification import Notification
from service.notify.text import clean, fit

MAX_SUBJECT: Final = 200
MAX_LINE: Final = 480
MAX_OTHERS: Final = 50
MAX_BYTES: Final = 1_000_000
"""Below what servers refuse: common limits are 10 MB and more."""


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and lines under it."""

    title: str
    lines: Sequence[str]


def render(said: Notification, sender: str, to: Sequence[str]) -> EmailMessage:
    """The message. Every attempt to send it has the same Message-ID, so that a server may fold repeats."""
    message = EmailMessage(policy=SMTP)
    thread = _message_id(said, 0, sender)
    message["Subject"] = _subject(said)
    message["From"] = Address("Tidegate", addr_spec=sender)
    message["To"] = ", ".join(to)
    message["Date"] = said.at
    message["Message-ID"] = thread if said.sequence == 1 else _message_id(said, said.sequence, sender)
    if said.sequence > 1:
        message["In-Reply-To"] = thread
        message["References"] = thread
    # Nobody's holiday note is an answer to an alert.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Tidegate-Incident"] = said.incident
    if not said.notice and said.severity == "critical" and not said.over:
        message["Importance"] = "high"
    sections = _sections(said)
    message.set_content(_plain(said, sections), charset="utf-8", cte="quoted-printable")
    message.add_alternative(_html(said, sections), subtype="html", charset="utf-8", cte="quoted-printable")
    return message


def _message_id(said: Notification, sequence: int, sender: str) -> str:
    """Of the first mail about an incident (0), and of the later ones. The same at each replica."""
    key = f"{said.receiver}\n{said.incident}\n{sequence}"
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}.{sequence}@{sender.rpartition('@')[2]}>"


def _subject(said: Notification) -> str:
    return fit(clean(f"[tidegate] {template.title(said)}"), MAX_SUBJECT)


def _sections(said: Notification) -> list[Section]:
    alert = said.lead
    also = template.others(said)[:MAX_OTHERS]
    found = [Section("In all" if said.occasion == "daily" else "Also", also)]
    if alert is not None and said.occasion != "daily":
        amounts = [f"{label}: {amount}" for label, amount in template.dollars(alert)]
        team = [] if alert.team is None else [f"Team: {clean(alert.team)}"]
        found = [
            Section("Dollars", [*amounts, f"Since: {template.since(alert)}", *team]),
            Section("Done about it", template.done(said.measures)),
            Section("Why", template.drivers(alert)),
            Section("Traces", template.traces(alert)),
            Section("Customers and others", template.top(alert)),
            *found,
            Section("Judged by", [template.provenance(alert)]),
        ]
    return [Section(one.title, [fit(line, MAX_LINE) for line in one.lines]) for one in found if one.lines]


def _plain(said: Notification, sections: Sequence[Section]) -> str:
    parts = [f"{template.title(said)}\n\n{fit(template.opening(said), 4_000)}"]
    parts += [f"{name}: {url}" for name, url in _links(said)]
    parts += ["\n".join([one.title, *(f"  - {line}" for line in one.lines)]) for one in sections]
    return "\n\n".join(parts) + "\n"


def _html(said: Notification, sections: Sequence[Section]) -> str:
    links = "".join(f'<p><a href="{escape(url)}">{name}</a></p>' for name, url in _links(said))
    listed = "".join(
        f"<h3>{one.title}</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in one.lines)}</ul>"
        for one in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"></head><body>'
        f"<h2>{escape(template.title(said))}</h2><p>{escape(fit(template.opening(said), 4_000))}</p>"
        f"{links}{listed}</body></html>\n"
    )


def _links(said: Notification) -> list[tuple[str, str]]:
    named = (("Open this incident", said.links.console), ("What to do", said.links.runbook))
    return [(name, url) for name, url in named if url is not None]
