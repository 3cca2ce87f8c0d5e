"""docs/budgets.md stays true: its records are taken, and its defaults are those of the models."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.control import Approval, Budget, Guard, Rule
from service.commands.control_files import read_files
from service.rules.ladder import MOST_DOUBLINGS
from service.rules.ledger import KEPT

PAGE = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text(encoding="utf-8")
RECORDS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_record_on_the_page_is_taken(tmp_path: Path) -> None:
    files = []
    for number, text in enumerate(RECORDS):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text, encoding="utf-8")
    found, problems = read_files(files)
    assert problems == []
    assert {type(one.record) for one in found} == {Budget, Rule, Guard, Approval}


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    assert "`pace_at` (0.7 and 0.8)" in PAGE
    assert "`alert_at` (1.0)" in PAGE
    assert Budget.model_fields["pace_at"].default == [0.7, 0.8]
    assert Budget.model_fields["alert_at"].default == [1.0]
    assert "48 hours, 35 days,\n6 weeks or 4 months" in PAGE
    assert KEPT == {"hour": 48, "day": 35, "week": 6, "month": 4}
    assert "at most 64 times `clear_s`" in PAGE
    assert 2**MOST_DOUBLINGS == 64


def test_links_lead_somewhere() -> None:
    folder = Path(__file__).parents[2] / "docs"
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (folder / link).exists(), link
    for name in re.findall(r"`(\w+\.py)`", PAGE):
        assert (folder.parent / "service" / "rules" / name).exists(), name
