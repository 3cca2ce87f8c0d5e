"""docs/outcomes.md stays true: its record is taken, its code runs, and its bounds are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway import aside
from schemas.control import Outcomes
from schemas.decode import decode
from schemas.events import Outcome
from service.commands.control_files import read_files
from service.outcomes.trace import MAX_OUTCOMES, MAX_WORKFLOWS
from service.settings import OutcomesSettings

PAGE = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return [
        re.sub(r"(?m)^   ", "", text) for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    ]


def test_the_record_on_the_page_is_taken(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "outcomes.yaml").write_text(text, encoding="utf-8")
    found, problems = read_files([tmp_path / "outcomes.yaml"])
    assert problems == []
    assert [type(one.record) for one in found] == [Outcomes]


def test_the_example_publishes_an_outcome() -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)  # it is ours, from the page
    published: list[Outcome] = []
    names["solved"](SimpleNamespace(publish_outcome=published.append), "ticket-1", "run-1")
    (outcome,) = published
    assert decode(Outcome, outcome.to_json()) == outcome


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    settings = OutcomesSettings()
    assert settings.keep_s == 86_400
    assert f"{settings.max_traces:,}: 250 bytes" in PAGE
    assert f"| outcomes of one trace | {MAX_OUTCOMES:,};" in PAGE
    assert f"| workflows told apart in one trace | {MAX_WORKFLOWS};" in PAGE
    assert aside._MAX_BYTES == 4 * 1_048_576
