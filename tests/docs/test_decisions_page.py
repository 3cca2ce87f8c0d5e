"""docs/decisions.md stays true: its examples are read, its numbers and metrics are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

from prometheus_client import REGISTRY

from service.decisions import desk, openapi
from service.decisions.question import MAX_BATCH, Questions, Settlements, Verdicts, read
from service.http.problem import Kind
from service.runtime import metrics
from service.settings import DecisionsSettings, HealthSettings, Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "decisions.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_what_it_sends_with_curl_is_read() -> None:
    bodies = []
    for text in blocks("sh"):
        words = shlex.split(text, comments=True)
        bodies += [words[at + 1].encode() for at, word in enumerate(words) if word == "-d"]
        assert f":{DecisionsSettings().port}/v1/" in text
    assert read(Questions, bodies[0]).calls
    assert read(Settlements, bodies[1]).settlements


def test_the_answer_it_shows_has_the_fields_of_an_answer() -> None:
    (shown,) = blocks("json")
    schema = openapi.document()["components"]["schemas"]["Verdict"]
    assert list(json.loads(shown)["decisions"][0]) == list(schema["properties"])
    assert Verdicts.__struct_fields__ == ("decisions",)


def test_every_request_is_on_it_and_no_other() -> None:
    told = set(re.findall(r"^\| `((?:GET|POST) /v1/\S+)`", PAGE, re.MULTILINE))
    known = {
        f"{method.upper()} {path}" for path, ways in openapi.document()["paths"].items() for method in ways
    }
    assert told == known


def test_its_numbers_and_settings_are_those_of_the_code() -> None:
    assert f"up to {MAX_BATCH} calls" in PAGE
    assert f"({desk.MAX_WAIT_S} at most)" in PAGE
    assert f"port {HealthSettings().decisions_port}" in PAGE
    assert DecisionsSettings().reservation_s == 15 * 60
    (text,) = blocks("toml")
    token = Settings.model_validate(tomllib.loads(f'{text}\n[kafka]\ntopic_prefix = "t."')).decisions.tokens[
        "edge"
    ]
    assert (
        token.scopes
        == DecisionsSettings.model_validate({"tokens": {"a": {"token": "x" * 16}}}).tokens["a"].scopes
    )
    for name in re.findall(r"`(max_\w+|on_stale|stale_after_s|body_timeout_s|processes)`", PAGE):
        assert name in DecisionsSettings.model_fields or name in ("max_output_tokens",)


def test_its_metrics_and_problems_exist() -> None:
    assert metrics.DECISIONS_CALLS
    named = set(re.findall(r"`(tidegate_decisions_\w+)`", PAGE))
    assert len(named) >= 9
    assert named <= REGISTRY._names_to_collectors.keys()
    slugs = {kind.slug for kind in Kind} - {
        Kind.INVALID_EVENTS.slug,
        Kind.EXPECTATION_FAILED.slug,
        Kind.UNSIGNED.slug,
    }
    errors = PAGE.partition("## Errors")[2].partition("## Settings")[0]
    assert slugs <= set(re.findall(r"`([a-z-]+)`", errors))


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / link).exists(), link
