"""docs/receivers.md stays true: its settings are read, its paths and numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from schemas.feedback import WORTH
from service.callbacks.post import PAGERDUTY, SLACK
from service.callbacks.signatures import WINDOW_S
from service.notify.alertmanager.render import LIVES
from service.rules.answers import MOST
from service.rules.feedback import WINDOW
from service.settings import AlertmanagerReceiver, CallbacksSettings, HealthSettings, ReceiverSettings
from service.settings_sources import load

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "receivers.md").read_text(encoding="utf-8")


def test_its_settings_are_read(tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        assert load(file, {}).ignored == []


def test_every_type_of_receiver_is_on_it_and_no_other() -> None:
    union = get_args(ReceiverSettings)[0]
    types = {model.model_fields["type"].default for model in get_args(union)}
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## Slack app")[0], re.M)) == types | {"type"}


def test_its_paths_and_numbers_are_those_of_the_code() -> None:
    assert set(re.findall(r"`POST (\S+)`", PAGE)) == {SLACK, PAGERDUTY}
    assert WINDOW_S == 5 * 60
    assert (
        f"Port {CallbacksSettings().port}, health and metrics on {HealthSettings().port_of('callbacks')}"
        in PAGE
    )
    assert f"`answer_within_s` ({CallbacksSettings().answer_within_s:g} s)" in PAGE
    assert f"`resend_s` ({AlertmanagerReceiver(urls=['http://x']).resend_s:g} s)" in PAGE
    assert LIVES == 4
    assert f"last {WINDOW.days} days" in PAGE
    assert 2**MOST == 8
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## Feedback")[2], re.M)) == set(WORTH)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (DOCS / link).exists(), link
