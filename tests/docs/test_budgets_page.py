"""docs/budgets.md and docs/throttling.md stay true: records are taken, defaults are those of the models."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.control import Budget, Guard, Ladder, Rule
from service.commands.control_files import read_files
from service.rules.ladder import MOST_DOUBLINGS
from service.rules.ledger import KEPT
from service.settings import ThrottlesSettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "budgets.md").read_text(encoding="utf-8")
THROTTLING = (DOCS / "throttling.md").read_text(encoding="utf-8")
RECORDS = re.findall(r"```yaml\n(.*?)```", PAGE + THROTTLING, re.DOTALL)


def test_every_record_on_the_page_is_taken(tmp_path: Path) -> None:
    files = []
    for number, text in enumerate(RECORDS):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text, encoding="utf-8")
    found, problems = read_files(files)
    assert problems == []
    assert {type(one.record) for one in found} == {Budget, Rule, Guard}


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    assert "`pace_at` (0.7 and 0.8)" in PAGE
    assert "`alert_at` (1.0)" in PAGE
    assert Budget.model_fields["pace_at"].default == [0.7, 0.8]
    assert Budget.model_fields["alert_at"].default == [1.0]
    assert "48 hours, 35 days,\n6 weeks or 4 months" in PAGE
    assert KEPT == {"hour": 48, "day": 35, "week": 6, "month": 4}


def test_what_the_throttling_page_says_of_defaults_holds() -> None:
    assert "at most 64 times `clear_s`" in THROTTLING
    assert 2**MOST_DOUBLINGS == 64
    ladder = Ladder()
    told = re.findall(
        r"^  (min_s|max_s|clear_s|release_steps|release_every_s|max_scopes|approval): (\S+)", THROTTLING, re.M
    )
    assert {name: str(getattr(ladder, name)).removesuffix(".0").lower() for name, _ in told} == dict(told)
    assert "`throttles.ack_wait_s` (15 s)" in THROTTLING
    assert ThrottlesSettings().ack_wait_s == 15.0


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE + THROTTLING):
        assert (DOCS / link).exists(), link
    for name in re.findall(r"`(\w+\.py)`", PAGE):
        assert (DOCS.parent / "service" / "rules" / name).exists(), name
