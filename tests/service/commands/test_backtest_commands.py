"""`tidegate backtest` and `tune` as people call them, on a file and without a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.commands.control_files import read_files
from tests.service.backtest.traffic import LOOP_AT, written
from tests.service.commands.conftest import Tidegate

QUIET = """
kind: tuning
name: quiet
scope: {workflow: agent}
settings: {min_excess_usd: "1000"}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    candidate = tmp_path / "quiet.yaml"
    candidate.write_text(QUIET, encoding="utf-8")
    return str(written(tmp_path / "events.jsonl")), str(candidate)


def test_a_lost_page_is_in_the_table_the_json_and_a_picture(
    tidegate: Tidegate, files: tuple[str, str], tmp_path: Path
) -> None:
    events, candidate = files
    shown = tidegate("backtest", "--events", events, "--config", candidate, "--pictures", str(tmp_path / "p"))
    assert shown.exit_code == 0, shown.output
    assert "Lost: only the live configuration tells" in shown.stdout
    assert "pages per workflow-month" in shown.stdout
    (drawn,) = (tmp_path / "p").iterdir()
    assert drawn.name.startswith("001-agent-")
    assert "candidate: not told" in drawn.read_text(encoding="utf-8")
    told = json.loads(tidegate("backtest", "--events", events, "--config", candidate, "--json").stdout)
    assert [i["workflow"] for i in told["lost"]] == ["agent"]
    assert (told["live"]["pages"], told["candidate"]["pages"]) == (1, 0)


def test_a_file_has_its_own_days(tidegate: Tidegate, files: tuple[str, str]) -> None:
    events, candidate = files
    told = json.loads(
        tidegate("backtest", "--events", events, "--config", candidate, "--since", "60s", "--json").stdout
    )
    assert told["lost"] == []
    assert told["history"]["compared_since"] == LOOP_AT + 240


def test_the_candidate_lies_on_top_of_the_live_one_unless_it_is_all_there_is(
    tidegate: Tidegate, files: tuple[str, str], tmp_path: Path
) -> None:
    events, quiet = files
    other = tmp_path / "other.yaml"
    other.write_text("kind: tuning\nname: other\nscope: {workflow: helper}\nsettings: {page_budget: 1}\n")
    asked = ("backtest", "--events", events, "--live", quiet, "--config", str(other), "--json")
    assert json.loads(tidegate(*asked).stdout)["candidate"]["pages"] == 0
    assert json.loads(tidegate(*asked, "--whole").stdout)["candidate"]["pages"] == 1


def test_mistakes_are_one_line(tidegate: Tidegate, files: tuple[str, str], tmp_path: Path) -> None:
    events, candidate = files
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("kind: tuning\nname: x\nsettings: {page_budget: -1}\n")
    for arguments, why in (
        (("--events", events, "--config", str(wrong)), "page_budget"),
        (("--events", str(tmp_path / "none.jsonl"), "--config", candidate), "none.jsonl"),
        (("--events", str(tmp_path), "--config", candidate), "folder"),
        (("--events", events, "--config", candidate, "--since", "soon"), "soon"),
    ):
        result = tidegate("backtest", *arguments)
        assert result.exit_code == 1
        assert why in result.output


def test_tune_proposes_a_record_that_can_be_applied(
    tidegate: Tidegate, files: tuple[str, str], tmp_path: Path
) -> None:
    events, quiet = files
    asked = ("tune", "agent", "--events", events, "--live", quiet, "--real-above", "1", "--processes", "1")
    drawn = tmp_path / "curve.svg"
    shown = tidegate(*asked, "--picture", str(drawn))
    assert shown.exit_code == 0, shown.output
    assert "proposed" in shown.stdout
    assert "present" in drawn.read_text(encoding="utf-8")
    proposed = tmp_path / "proposed.yaml"
    proposed.write_text(shown.stdout[shown.stdout.index("kind: tuning") :], encoding="utf-8")
    ((found,), problems) = read_files([proposed])
    assert not problems
    assert found.key == "tuning/quiet"
    told = json.loads(tidegate(*asked, "--json").stdout)
    assert told["present"]["caught_nanos"] == 0
    assert told["present"]["missed_nanos"] > 0
    assert told["proposed"]["caught_nanos"] > 0
    assert told["proposed"]["needless_pages_per_month"] <= 0.25
    fingerprint_of_nothing = tmp_path / "feedback.jsonl"
    fingerprint_of_nothing.write_text('{"fingerprint": "x", "worth": "expected"}\n')
    assert tidegate(*asked, "--feedback", str(fingerprint_of_nothing)).exit_code == 0
    assert tidegate("tune", "nobody", *asked[2:]).exit_code == 1
