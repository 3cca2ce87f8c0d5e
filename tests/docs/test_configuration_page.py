"""docs/configuration.md stays true: its records are taken, commands and settings exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from service.commands.config import app
from service.commands.control_files import read_files
from service.rules.config_signature import HEADER
from service.settings import Settings
from service.settings_sources import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_every_record_on_the_page_is_taken(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for number, text in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    found, problems = read_files([tmp_path])
    assert problems == []
    assert len(found) == len(blocks)


def test_every_command_is_on_the_page_and_no_other() -> None:
    commands = set(getattr(typer.main.get_command(app), "commands"))  # noqa: B009
    assert set(re.findall(r"^\| `(\w+)[ `]", PAGE, re.MULTILINE)) & commands == commands
    assert set(re.findall(r"tidegate config (\w+)", PAGE)) <= commands


def test_every_option_on_the_page_exists() -> None:
    known = {
        option
        for command in getattr(typer.main.get_command(app), "commands").values()  # noqa: B009
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"(--[a-z][a-z-]+)", PAGE)) <= known


def test_settings_on_the_page_are_settings(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "tidegate.toml"
    file.write_text(block, encoding="utf-8")
    assert list(load(file, {}).settings.kafka.config_keys) == ["ops-2026"]
    (variable,) = re.findall(r"export (TIDEGATE_\w+)=", PAGE)
    assert load(None, {variable: "/run/secrets/key"}).ignored == []
    assert "config_sign_with" in type(Settings().kafka).model_fields
    assert HEADER in PAGE


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)", PAGE, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert anchor in headings, anchor
