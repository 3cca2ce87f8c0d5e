"""The demo's books and its verdict: it must be able to fail."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console

from schemas.catalog import EXAMPLES
from schemas.topics import ALERTS, DEAD_LETTERS, THROTTLE_COMMANDS, WORKFLOW_STATE
from service.demo.board import Board
from service.demo.ledger import Sum, differences
from service.demo.receivers import Received
from service.demo.report import Outcome, as_json, judge
from service.demo.screen import live, plain, summary
from service.detect.state import WorkflowState, encode

T0 = 1_790_000_000.0
INJECTED: dict[str, Any] = {
    "what": "injected",
    "name": "loop-1",
    "workflow": "support-agent",
    "kind": "retry_loop",
    "benign": False,
    "trace_id": "run-4711",
    "at": T0,
    "ends": T0 + 60,
}
LAUNCH = INJECTED | {"name": "launch-1", "workflow": "chat", "kind": "launch", "benign": True}


def page(workflow: str, at: float, severity: str = "critical", action: str = "trigger") -> Received:
    body = {"event_action": action, "payload": {"source": workflow, "severity": severity, "summary": "s"}}
    return Received("pagerduty", datetime.fromtimestamp(at, UTC), "/v2/enqueue", body, "accepted", 202)


def a_state(workflow: str, calls: int, cost: int) -> bytes:
    state = WorkflowState.fresh(workflow)
    state.totals.calls, state.totals.cost = calls, cost
    return encode(state)


def good_board() -> Board:
    """A demo in which everything went as it must."""
    board = Board()
    board.hear(INJECTED)
    board.hear(LAUNCH)
    command = EXAMPLES["throttle-command"]
    board.hear({"what": "throttled", "at": T0 + 3, "command": command})
    board.hear(totals("ended", {"support-agent": [10, 1_000], "chat": [5, 7]}))
    board.read(WORKFLOW_STATE.name, 0, b"support-agent", a_state("support-agent", 10, 1_000))
    board.read(WORKFLOW_STATE.name, 1, b"chat", a_state("chat", 5, 7))
    board.read(ALERTS.name, 0, b"f", orjson.dumps(EXAMPLES["alert"]))
    board.read(THROTTLE_COMMANDS.name, 0, b"s", orjson.dumps(command))
    board.read(DEAD_LETTERS.name, 0, b"d", b"{}")
    return board


def totals(what: str, workflows: dict[str, list[int]]) -> dict[str, Any]:
    line = {"what": what, "workflows": workflows, "event_time": T0, "progress": 1.0}
    return line | {"rejected": 4, "duplicate": 2, "malformed": 1}


def verdict(board: Board, received: list[Received], stopped_at: float = T0 + 60) -> Outcome:
    return judge(board, received, [], stopped_at, 1.0)


def test_a_demo_that_went_well_has_no_failures_and_its_report_says_all() -> None:
    board = good_board()
    outcome = verdict(board, [page("support-agent", T0 + 4)])
    assert outcome.failures == []
    report = as_json(outcome, board)
    assert report["incidents"] == [
        {
            "workflow": "support-agent",
            "kind": "retry_loop",
            "injected_at": "2026-09-21T14:13:20Z",
            "alerted_at": "2026-09-21T14:13:24Z",
            "throttled_at": "2026-09-21T14:13:23Z",
            "delay_s": 4.0,
        }
    ]
    assert report["launches"] == [{"workflow": "chat", "paged": False, "noticed": False}]
    assert report["events_published"] == report["events_accounted"] == 15
    assert report["cost_nanos_published"] == report["cost_nanos_accounted"] == 1_007
    assert (report["alerts"], report["throttles"], report["dead_letters"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda b: b.read(WORKFLOW_STATE.name, 0, b"support-agent", a_state("support-agent", 10, 999)),
            "999",
        ),
        (
            lambda b: b.read(WORKFLOW_STATE.name, 0, b"support-agent", a_state("support-agent", 11, 1_000)),
            "11",
        ),
        (lambda b: b.read(WORKFLOW_STATE.name, 0, b"chat-x", a_state("chat-x", 1, 0)), "chat-x"),
        (lambda b: setattr(b.injected[0], "throttled_at", None), "was not throttled"),
        (lambda b: setattr(b, "ended", False), "did not say"),
    ],
)
def test_what_went_wrong_is_said(spoil: Any, complaint: str) -> None:
    board = good_board()
    spoil(board)
    failures = verdict(board, [page("support-agent", T0 + 4)]).failures
    assert len(failures) == 1
    assert complaint in failures[0]


@pytest.mark.parametrize(
    ("received", "complaint"),
    [
        ([], "was not alerted"),
        ([page("support-agent", T0 - 1)], "was not alerted"),
        ([page("support-agent", T0 + 4, action="resolve")], "was not alerted"),
        ([page("support-agent", T0 + 4), page("chat", T0 + 9)], "the launch of chat paged"),
        ([page("support-agent", T0 + 4), page("code-review", T0 + 9)], "nothing had gone wrong"),
    ],
)
def test_a_missing_or_a_wrong_page_is_a_failure(received: list[Received], complaint: str) -> None:
    assert any(complaint in failure for failure in verdict(good_board(), received).failures)


def test_a_breach_of_a_vendors_rules_is_a_failure() -> None:
    received = [page("support-agent", T0 + 4)]
    assert judge(good_board(), received, ["slack: too long"], T0 + 60, 1.0).failures == ["slack: too long"]


def test_an_incident_that_the_user_cut_short_is_nobodys_fault() -> None:
    board = good_board()
    board.injected[0].throttled_at = None
    assert verdict(board, [], stopped_at=T0 + 5).failures == []


def test_the_newest_record_of_a_key_is_what_counts() -> None:
    board = good_board()
    for cost in (1, 500, 1_000):
        board.read(WORKFLOW_STATE.name, 0, b"support-agent", a_state("support-agent", 10, cost))
    assert board.accounts.sums()["support-agent"] == Sum(10, 1_000)
    board.read(WORKFLOW_STATE.name, 0, b"support-agent", None)
    assert "support-agent" not in board.accounts.sums()


def test_differences_name_the_workflow_and_both_numbers() -> None:
    (line,) = differences({"a": Sum(1, 2), "b": Sum(3, 4)}, {"a": Sum(1, 2), "b": Sum(3, 5)})
    assert line == "b: 3 events published, 3 accounted; 4 nano-dollars published, 5 accounted"


def test_a_throttle_of_one_workflow_is_not_noted_with_another() -> None:
    board = Board()
    board.hear(INJECTED)
    scope = {"kind": "workflow", "value": "doc-summaries"}
    board.hear({"what": "throttled", "at": T0, "command": EXAMPLES["throttle-command"] | {"scope": scope}})
    assert board.injected[0].throttled_at is None


def test_the_screen_shows_spend_incidents_throttles_and_receipts() -> None:
    board = good_board()
    board.event_time = datetime(2026, 1, 31, 14, 9, tzinfo=UTC).timestamp()
    console = Console(width=160, record=True, file=StringIO())
    console.print(live(board, [page("support-agent", T0 + 4)], ["slack: too long"], "9 s left"))
    console.print(summary(verdict(board, [page("support-agent", T0 + 4)]), board))
    text = console.export_text()
    for expected in (
        "support-agent",
        "retry_loop",
        "block trace:run-4711",
        "rule broken: slack",
        "9 s left",
        "exact",
    ):
        assert expected in text
    assert "1 firing" in plain(board)
