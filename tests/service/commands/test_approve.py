"""`tidegate approve`: an answer becomes a record that the throttles role follows."""

from __future__ import annotations

import pytest

from tests.service.commands.conftest import Tidegate

pytestmark = pytest.mark.broker


def test_a_yes_and_a_no_become_records_with_an_author_and_an_end(cluster: Tidegate) -> None:
    for arguments, decision in ((["--author", "ada"], "yes"), (["--author", "ada", "--no"], "no")):
        answered = cluster("approve", "4be1c9a07d5523f6", *arguments)
        assert answered.exit_code == 0, answered.output
        assert answered.output.startswith(f"{decision} to 4be1c9a07d5523f6 until 20")
        kept = cluster("config", "get", "approval/4be1c9a07d5523f6").output
        assert f"decision: '{decision}'" in kept
        assert "author: ada" in kept
        assert "expires_at" in kept


def test_nobody_answers_without_a_name(cluster: Tidegate) -> None:
    assert cluster("approve", "4be1c9a07d5523f6").exit_code == 2
    assert cluster("approve", "x" * 300, "--author", "ada").exit_code != 0
