"""What is said of a change of the configuration, or of an announced launch, in plain words. Pure.

Names, authors and reasons come from outside: all of them are cleaned here, and escaped and cut by the vendor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from schemas.control import Approval, Control, Tuning
from schemas.money import format_usd, nanos
from service.notify.text import clean, fit
from service.notify.tidings import Edit, Phase, Tidings

Origin = Literal["apply", "delete", "rollback", "sign", "seen", "button", "answer", "feedback"]
"""What a record came of: a command of `tidegate config`, somebody who wrote past it, a button, an answer to a
throttle that asks, or what somebody said that an alert was worth."""

_NOBODY: Final = "somebody"
_MAX_NAMES: Final = 3
_MAX_WORDS: Final = 60
_MAX_VALUES: Final = 8
_MAX_REASON: Final = 300
_NOT_CONTENT: Final = {"schema_version", "kind", "name", "author", "reason", "managed_by"}
_HEAD: Final[Mapping[Origin, str]] = {
    "apply": "CONFIG CHANGED",
    "delete": "CONFIG CHANGED",
    "rollback": "CONFIG ROLLED BACK",
    "sign": "CONFIG SIGNED",
    "seen": "CONFIG CHANGED",
    "button": "CONFIG CHANGED",
    "answer": "THROTTLE ANSWERED",
    "feedback": "FEEDBACK",
}
_HOW: Final[Mapping[Origin, str]] = {
    "apply": "",
    "delete": "",
    "rollback": " rolled back:",
    "sign": "",
    "seen": ", past tidegate config,",
    "button": " pressed a button:",
    "answer": " answered what a throttle asked:",
    "feedback": " said what an alert was worth:",
}
_STEP: Final = {"begins": "LAUNCH BEGINS", "over": "LAUNCH OVER", "cancelled": "LAUNCH CANCELLED"}


def title(told: Tidings) -> str:
    """`CONFIG CHANGED: tuning/search and 2 more`, `LAUNCH BEGINS: shop-assistant`, `CONFIG: 17 changes since …`."""
    if told.since is not None:
        return f"CONFIG: {'more than ' if told.cut else ''}{told.changes} changes since {_time(told.since)}"
    if told.phases:
        # What it means comes before how it was written down.
        return f"{_STEP[told.phases[0].step]}: {_named([p.launch.workflow for p in told.phases], 1)}"
    return f"{_HEAD[origin(told.edits[0])]}: {_named([_name(edit) for edit in told.edits], 1)}"


def opening(told: Tidings) -> str:
    """The first sentences: what launches come to, who changed what and why, from which version to which."""
    said = [launch(phase) for phase in told.phases[:_MAX_NAMES]]
    if len(told.phases) > _MAX_NAMES:
        said.append(f"{len(told.phases) - _MAX_NAMES} more launches begin or end.")
    if told.edits and told.since is not None:
        said.append(f"{len(told.edits)} records changed, by {_named(_unique(map(_who, told.edits)))}.")
    elif told.edits:
        said.append(_deed(told.edits))
    if (versions := told.versions) is not None:
        before, after = versions
        said.append(f"Version {before} → {after}." if before != after else f"Version {after}.")
    return " ".join(said)


def records(told: Tidings) -> list[str]:
    """A line for each record: `changed tuning/search: settings.pending_s 5.0 → 8.0`; in a sum with when and who."""
    return [
        f"{_time(edit.at)} {_who(edit)}: {_record(edit)}" if told.since is not None else _record(edit)
        for edit in told.edits
    ]


def launches(told: Tidings) -> list[str]:
    """A line for each launch that begins or ends."""
    return [f"{_time(phase.at)} {launch(phase)}" for phase in told.phases]


def people(told: Tidings) -> list[str]:
    """Who changed something, each once."""
    return _unique(map(_who, told.edits))


def reasons(told: Tidings) -> list[str]:
    """Why, each once; empty where nobody said."""
    return _unique(_why(edit) for edit in told.edits)


def origin(edit: Edit) -> Origin:
    """What it came of."""
    entry = edit.entry
    if entry.key.startswith("tuning/~feedback-"):
        return "feedback"
    if entry.key.startswith("approval/"):
        return "answer"
    if entry.recorded_by == "callbacks":
        return "button"
    return entry.command


def action(edit: Edit) -> str:
    """`created`, `changed`, `deleted`; `signed` and `rewrote` where the content is what it was; `overwritten` where
    a later record was there already."""
    if edit.overtaken:
        return "overwritten"
    if edit.after is None:
        return "deleted"
    if edit.before is None:
        return "created"
    if _content(edit.before) == _content(edit.after):
        return "signed" if edit.entry.command == "sign" else "rewrote"
    return "changed"


def launch(phase: Phase) -> str:
    """`A launch of chat begins: up to 20 times the usual volume and $4,000.00 until … Owner: ada.`"""
    one = phase.launch
    of, owner = f"launch of {clean(one.workflow)}", f"Owner: {clean(one.owner)}."
    if phase.step == "over":
        return f"The {of} is over: volume is judged as ever. {owner}"
    ends = min(one.ends_at, one.expires_at or one.ends_at)
    if phase.step == "cancelled":
        return f"The {of}, announced until {_time(ends)}, is cancelled: volume is judged as ever. {owner}"
    each = f", {format_usd(nanos(one.unit_cost_usd))} per trace" if one.unit_cost_usd is not None else ""
    return (
        f"A {of} begins: up to {one.volume_multiple:,.15g} times the usual volume and"
        f" {format_usd(nanos(one.cap_usd))}{each} until {_time(ends)}. {owner}"
    )


def _deed(edits: Sequence[Edit]) -> str:
    """`ada pressed a button: created silence/chat. Why: pressed in Slack on incident 5b0c….`"""
    by: dict[str, list[str]] = {}
    for edit in edits:
        by.setdefault(_done(edit), []).append(_object(edit))
    deeds = "; ".join(f"{done} {_named(names)}" for done, names in by.items())
    who = _named(_unique(map(_who, edits)), 2)
    said = f"{'Somebody' if who == _NOBODY else who}{_HOW[origin(edits[0])]} {deeds}."
    why = _unique(_why(edit) for edit in edits)
    return f"{said} Why: {fit('; '.join(why), _MAX_REASON)}." if why else said


def _done(edit: Edit) -> str:
    """What was done with it, as a verb."""
    if edit.overtaken:
        return "wrote for a moment"
    if isinstance(edit.after, Approval):
        return "said"
    return action(edit)


def _record(edit: Edit) -> str:
    head = f"{'wrote for a moment' if edit.overtaken else action(edit)} {clean(edit.entry.key)}"
    before, after = _content(edit.before), _content(edit.after)
    if edit.after is None or before == after:
        return head
    if edit.before is None:
        values = [f"{name} {value}" for name, value in after.items()]
    else:
        values = [
            f"{name} {before.get(name, '(unset)')} → {after.get(name, '(unset)')}"
            for name in {**before, **after}
            if before.get(name) != after.get(name)
        ]
    more = f", and {len(values) - _MAX_VALUES} more" if len(values) > _MAX_VALUES else ""
    return f"{head}: {', '.join(values[:_MAX_VALUES])}{more}"


def _content(record: Control | None) -> dict[str, str]:
    """What a record says, as path and value, each short enough for a line."""
    if record is None:
        return {}
    return dict(_flat("", record.model_dump(mode="json", exclude_none=True, exclude=_NOT_CONTENT)))


def _flat(path: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{path}.{clean(str(name))}" if path else clean(str(name)), inner)
    else:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        yield path, fit(clean(text), _MAX_WORDS)


def _name(edit: Edit) -> str:
    """The record's key; where keys say nothing to people, the workflow of feedback, and what an answer says."""
    record = edit.after or edit.before
    if origin(edit) == "feedback" and isinstance(record, Tuning) and record.scope.workflow is not None:
        return clean(record.scope.workflow)
    if isinstance(record, Approval):
        return f"{record.decision} to {clean(record.proposal)}"
    return clean(edit.entry.key)


def _object(edit: Edit) -> str:
    """The same as part of a sentence."""
    return f"the tuning of {_name(edit)}" if origin(edit) == "feedback" else _name(edit)


def _who(edit: Edit) -> str:
    # Who wrote past `tidegate config` may have put a name into the record, and that may be anybody's.
    own = edit.after.author if edit.after is not None else None
    return clean(edit.entry.author or own or "") or _NOBODY


def _why(edit: Edit) -> str:
    own = edit.after.reason if edit.after is not None else None
    return clean(edit.entry.reason or own or "")


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _named(names: Sequence[str], most: int = _MAX_NAMES) -> str:
    """`a, b, c and 4 more`."""
    shown = [fit(clean(name), _MAX_WORDS) for name in names[:most]]
    more = len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more" if more else ", ".join(shown)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
