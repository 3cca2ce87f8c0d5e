"""A notification as a message with buttons, and as a reply in its thread. Pure.

Limits beside those of `service.notify.slack.render`: 25 elements in a block of actions; a button's text 75, its
value 2,000; a dialogue's title 100, text 300, buttons 30 characters. Source: docs.slack.dev, "Button element",
"Confirmation dialog object".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from schemas.alerts import Alert
from schemas.feedback import WORTH, Worth
from service.notify import template
from service.notify.notification import UPDATES, Change, Notification
from service.notify.slack.render import MAX_MESSAGE, escape
from service.notify.slack.render import message as webhook_message
from service.notify.text import clean, fit, fit_lines, units
from service.rules.press import Act, Subject

MAX_REPLY: Final = 2_900
MAX_REPLY_LINE: Final = 480
MAX_DIALOGUE: Final = 300
MAX_NEWS: Final = 20
ACTION: Final = "tidegate_"
"""What every `action_id` of ours begins with."""
NO_LAUNCH: Final = frozenset({"data_quality", "throttle", "budget_pace", "budget_exhausted"})

_WORTH: Final[Mapping[Worth, str]] = {
    "real": "Real problem",
    "planned": "Planned",
    "expected": "Always like that",
    "not_worth_it": "Not worth it",
}
_QUIET: Final = UPDATES | {Change.RESOLVED}


def message(said: Notification, channel: str, ts: str | None = None, *, buttons: bool = True) -> bytes:
    """The body of `chat.postMessage`, or with `ts` of `chat.update`: the incident as it is now."""
    elements = _elements(said) if buttons else []
    while True:
        block = {"type": "actions", "block_id": f"{ACTION}{said.sequence}", "elements": elements}
        found = webhook_message(said, [block] if elements else [])
        if not elements or units(orjson.dumps(found).decode()) <= MAX_MESSAGE:
            break
        # Names of hundreds of quotes leave no room for four values that hold them; the first button matters most.
        elements.pop()
    found["channel"] = channel
    if ts is not None:
        found["ts"] = ts
    return orjson.dumps(found)


def reply(said: Notification, channel: str, ts: str) -> bytes:
    """The body of `chat.postMessage` for the thread: only what is new.

    What somebody should act on is shown in the channel, too: an edited message makes no sound.
    """
    lines = [template.opening(said), *(f"• {text}" for text in template.others(said)[:MAX_NEWS])]
    text = fit_lines([fit(line, MAX_REPLY_LINE, escape) for line in lines], MAX_REPLY)
    found: dict[str, Any] = {
        "channel": channel,
        "thread_ts": ts,
        "text": text,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}],
        "unfurl_links": False,
        "unfurl_media": False,
    }
    if not said.over and not said.changes <= _QUIET:
        found["reply_broadcast"] = True
    return orjson.dumps(found)


def _elements(said: Notification) -> list[dict[str, Any]]:
    alert = said.lead
    if alert is None or said.occasion == "daily":
        return []
    subject = Subject.of(alert, said.incident)
    if said.over:
        if alert.scope is not None:
            return []  # what is said of alerts is about workflows
        return [_button(worth, _WORTH[worth], subject) for worth in WORTH]
    return _acts(said, alert, subject)


def _acts(said: Notification, alert: Alert, subject: Subject) -> list[dict[str, Any]]:
    where = f"{template.kind(alert)} in {clean(alert.workflow)}"
    found = []
    if not said.notice and said.acknowledgement is None:
        found.append({**_button("acknowledge", "Acknowledge", subject), "style": "primary"})
    found.append(
        _button(
            "silence", "Silence 1 h", subject, f"Nobody is told of {where} for an hour. It goes on costing."
        )
    )
    if alert.scope is None and not alert.of_budget and alert.kind not in NO_LAUNCH:
        text = (
            f"Up to {subject.multiple:,.0f} times the usual volume and ${subject.cap_usd:,} are meant for a day:"
            f" {clean(alert.workflow)}. Dearer calls are still told."
        )
        found.append(_button("launch", "Planned launch", subject, text))
    if not said.notice and alert.kind != "throttle":
        text = f"What holds {where} back ends at once, and is not done again for a day."
        found.append({**_button("release", "Release throttle", subject, text), "style": "danger"})
    return found


def _button(act: Act, text: str, subject: Subject, asks: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "button",
        "action_id": f"{ACTION}{act}",
        "text": _plain(text),
        "value": subject.value(),
    }
    if asks is not None:
        found["confirm"] = {
            "title": _plain(f"{text}?"),
            "text": _plain(fit(asks, MAX_DIALOGUE, escape)),
            "confirm": _plain("Yes"),
            "deny": _plain("No"),
        }
    return found


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
