"""docs/tuning.md stays true: its record is taken, its options and defaults are those of the commands."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from schemas.feedback import WORTH
from service.backtest.tuning import Setting, grid
from service.cli import app
from service.commands.backtest import _WARM_DAYS
from service.commands.control_files import read_files
from service.rules.config import WorkflowConfig

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tuning.md").read_text(encoding="utf-8")
COMMANDS = ("backtest", "shadow", "tune")


def test_the_records_on_the_page_are_taken(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for number, text in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    assert read_files([tmp_path])[1] == []


def test_every_option_on_the_page_exists_and_every_other_explains_itself() -> None:
    commands = getattr(typer.main.get_command(app), "commands")  # noqa: B009
    parameters = [parameter for name in COMMANDS for parameter in commands[name].params]
    known = {option for parameter in parameters for option in parameter.opts}
    assert set(re.findall(r"`?(--[a-z][a-z-]+)", PAGE)) <= known
    assert all(parameter.help for parameter in parameters)


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    assert f"`--warm-days` ({_WARM_DAYS:g})" in PAGE
    config = WorkflowConfig()
    odd = Setting(7.0, config.min_excess_usd, 3.0)
    assert [len(grid(odd, minutes=minutes)) for minutes in (False, True)] == [13, 25], "a dozen, two dozen"
    assert all(f"`{worth}`" in PAGE for worth in WORTH)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / link).exists(), link
