"""Who may come in, and which settings let nobody in by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import SettingsError
from service.http.keyring import ANONYMOUS, Keyring
from service.settings import DoorSettings, Settings
from service.settings_sources import load
from tests.service.door.support import OTHER, TOKEN, settings


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (f"Bearer {TOKEN}", "new"),
        (f"bearer  {TOKEN}", "new"),  # the scheme's case does not matter (RFC 9110, 11.1)
        (f"Bearer {OTHER}", "old"),
        (f"Bearer {TOKEN}x", None),
        (f"Bearer {TOKEN[:-1]}", None),
        (f"Bearer {TOKEN.upper()}", None),
        (f"Basic {TOKEN}", None),
        (TOKEN, None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        ("Bearer \udcff\udcfe", None),  # bytes of a header that are not UTF-8
        (None, None),
    ],
)
def test_only_a_token_that_is_known_is_let_in(header: str | None, name: str | None) -> None:
    assert Keyring.load(settings(), "door").admit(header) == name


def test_nobody_is_asked_when_everybody_may_come_in() -> None:
    keyring = Keyring.load(DoorSettings(allow_anonymous=True), "door")
    assert keyring.admit(None) == keyring.admit("Bearer whatever") == ANONYMOUS


def test_a_door_for_nobody_does_not_start() -> None:
    assert not DoorSettings().configured
    with pytest.raises(SettingsError, match="none is given"):
        Keyring.load(DoorSettings(), "door")


@pytest.mark.parametrize(
    "token", ["short", "has a space in the middle", "ümläute-are-no-header", "", "=" * 20]
)
def test_a_token_that_is_weak_or_fits_no_header_is_refused_without_telling_it(token: str) -> None:
    with pytest.raises(SettingsError, match=r"door\.tokens\.gw") as caught:
        Keyring.load(settings(tokens={"gw": {"token": token}}), "door")
    assert not token or token not in str(caught.value)


def test_one_token_has_one_name() -> None:
    with pytest.raises(SettingsError, match="another name"):
        Keyring.load(settings(tokens={"a": {"token": TOKEN}, "b": {"token": TOKEN}}), "door")


def test_a_token_may_come_from_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    variables = {"TIDEGATE_DOOR__TOKENS__GW__TOKEN_FILE": str(file), "TIDEGATE_DOOR__TOKENS__B__TOKEN": OTHER}
    loaded = load(None, variables)
    assert not loaded.ignored
    keyring = Keyring.load(loaded.settings.door, "door")
    assert (keyring.admit(f"Bearer {TOKEN}"), keyring.admit(f"Bearer {OTHER}")) == ("gw", "b")
    assert OTHER not in str(loaded.settings.masked()) + repr(loaded.settings)
    file.unlink()
    with pytest.raises(SettingsError, match="cannot read"):
        Keyring.load(loaded.settings.door, "door")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"allow_anonymous": True, "host": "0.0.0.0"}, "for loopback only"),
        ({"allow_anonymous": True, "host": "door.example"}, "for loopback only"),
        ({"allow_anonymous": True, "tokens": {"a": {"token": TOKEN}}}, "not both"),
        ({"tokens": {"a": {}}}, "give token or token_file"),
        ({"tokens": {"a": {"token": TOKEN, "token_file": "/x"}}}, "not both"),
        ({"tls_certfile": "/c"}, "go together"),
        ({"max_body_bytes": 10_000, "max_in_flight_bytes": 9_999}, "must not be below"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        Settings.model_validate({"door": given})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_anonymous_is_allowed_on_loopback(host: str) -> None:
    assert DoorSettings(allow_anonymous=True, host=host).configured
