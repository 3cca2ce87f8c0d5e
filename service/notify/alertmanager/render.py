"""A notification as Alertmanager's alerts: one for each of ours, the same labels for as long as it fires. Pure.

Alertmanager knows an alert by its labels, so nothing in them changes but the severity; what changes is in the
annotations. An alert that is not sent again ends by itself at its `endsAt`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from schemas.alerts import Alert, Severity
from schemas.base import format_timestamp
from service.notify import template
from service.notify.notification import RANK, Change, Line, Links, Notification
from service.notify.text import clean, fit, fit_lines

BATCH: Final = 64
"""Alerts in one request, as Prometheus sends them."""
MAX_ANNOTATION: Final = 2_000
"""Alertmanager has no limit of its own; the receivers behind it have."""
MAX_LABEL: Final = 400
LIVES: Final = 4
"""Times that an alert may fail to be sent again before it ends by itself, as Prometheus has it."""


def render(said: Notification, now: datetime, resend: timedelta) -> list[bytes]:
    """Bodies of as many requests as it takes; none if there is nothing to say of any alert.

    Parameters
    ----------
    now : datetime
        Wall time of this attempt, UTC.
    resend : timedelta
        When what fires is sent again.
    """
    if said.occasion == "daily":
        return []
    ends = now + LIVES * resend
    found = [_alert(said, line, line.alert.severity, now, ends) for line in said.firing]
    for line in said.firing:
        if line.change is Change.WORSENED:
            # With another severity it is another alert there, and that one would go on until it times out.
            found += [_alert(said, line, lower, now, now) for lower in _below(line.alert.severity)]
    found += [_alert(said, line, line.alert.severity, now, _end(line.alert, now)) for line in said.resolved]
    return [orjson.dumps(found[at : at + BATCH]) for at in range(0, len(found), BATCH)]


def _below(severity: Severity) -> list[Severity]:
    return [other for other, rank in RANK.items() if rank < RANK[severity]]


def _end(alert: Alert, now: datetime) -> datetime:
    # Event time may be ahead of this machine's: an end in the future would be no end.
    return min(alert.resolved_at or alert.updated_at, now)


def _alert(
    said: Notification, line: Line, severity: Severity, now: datetime, ends: datetime
) -> dict[str, Any]:
    alert = line.alert
    found: dict[str, Any] = {
        "labels": _labels(said, alert, severity),
        "annotations": _annotations(said, line),
        "startsAt": format_timestamp(min(alert.started_at, ends, now)),
        "endsAt": format_timestamp(ends),
    }
    if alert is said.lead and said.links.console is not None:
        found["generatorURL"] = said.links.console
    return found


def _labels(said: Notification, alert: Alert, severity: Severity) -> dict[str, str]:
    named = {
        "alertname": "Tidegate" + "".join(word.title() for word in alert.kind.split("_")),
        "severity": severity,
        "kind": alert.kind,
        "workflow": clean(alert.workflow),
        "team": clean(alert.team or ""),
        "incident": said.incident,
        "fingerprint": clean(alert.fingerprint),
    }
    # An empty label is no label to Alertmanager.
    return {name: fit(value, MAX_LABEL) for name, value in named.items() if value}


def _annotations(said: Notification, line: Line) -> dict[str, str]:
    alert = line.alert
    texts = {
        "summary": template.sentence(alert),
        "since": template.since(alert),
        "judged_by": template.provenance(alert),
        **{label.lower().replace("'", "").replace(" ", "_"): usd for label, usd in template.dollars(alert)},
        "acknowledged_by": "" if line.acknowledgement is None else clean(line.acknowledgement.author),
        **_links(said.links if alert is said.lead else Links(runbook=said.links.runbook)),
    }
    lists = {
        "why": template.drivers(alert),
        "traces": template.traces(alert),
        "top": template.top(alert),
        "done": template.done(line.measures),
    }
    return {
        **{name: fit(text, MAX_ANNOTATION) for name, text in texts.items() if text},
        **{name: fit_lines(lines, MAX_ANNOTATION) for name, lines in lists.items() if lines},
    }


def _links(links: Links) -> dict[str, str]:
    return {"console": links.console or "", "runbook_url": links.runbook or ""}
