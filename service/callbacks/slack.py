"""A request to a Slack app's interactivity URL: who pressed which buttons. Pure.

Source: docs.slack.dev, "block_actions payloads".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from service.rules.press import ACTS, Press, Subject, Unreadable

ACTION: Final = "tidegate_"
"""What every `action_id` of ours begins with; a message may have others'."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_ACTIONS: Final = 25
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Pressed:
    """One request.

    Attributes
    ----------
    user : str
        Slack's id of the person.
    answer_to : str or None
        The `response_url`: messages for the person may be sent there, for half an hour.
    """

    user: str
    presses: tuple[Press, ...]
    answer_to: str | None


def read(body: bytes) -> Pressed:
    """What was pressed; nothing if it is about something else. Raises Unreadable."""
    payload = _payload(body)
    user = payload.get("user")
    if payload.get("type") != "block_actions" or not isinstance(user, dict):
        return Pressed("", (), None)
    actions = payload.get("actions")
    ours = [
        action
        for action in (actions if isinstance(actions, list) else [])[:_MAX_ACTIONS]
        if isinstance(action, dict) and str(action.get("action_id", "")).startswith(ACTION)
    ]
    answer_to = payload.get("response_url")
    person = str(user.get("id") or "")
    presses = tuple(_press(action, _author(user)) for action in ours)
    return Pressed(person, presses, answer_to if isinstance(answer_to, str) else None)


def _payload(body: bytes) -> dict[str, Any]:
    try:
        form = parse_qs(body.decode("utf-8"), strict_parsing=True, max_num_fields=20)
        payload = orjson.loads(form["payload"][0])
    except (UnicodeDecodeError, ValueError, KeyError):
        raise Unreadable("expected a form with a payload in JSON") from None
    if not isinstance(payload, dict):
        raise Unreadable("the payload is no object")
    return payload


def _author(user: dict[str, Any]) -> str:
    name = user.get("username") or user.get("name") or user.get("id")
    if not isinstance(name, str) or not name.isprintable():
        raise Unreadable("the person has no name")
    return name[:_MAX_NAME]


def _press(action: dict[str, Any], author: str) -> Press:
    named = str(action["action_id"]).removeprefix(ACTION)
    act = next((known for known in ACTS if known == named), None)
    if act is None:
        raise Unreadable("this button was made by another version")
    return Press(act, Subject.read(str(action.get("value") or "")), _at(action.get("action_ts")), author)


def _at(stamp: object) -> datetime:
    try:
        seconds = Decimal(stamp if isinstance(stamp, str) and len(stamp) <= 20 else "")
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    except (InvalidOperation, ValueError, OverflowError):
        raise Unreadable("the press has no time") from None
