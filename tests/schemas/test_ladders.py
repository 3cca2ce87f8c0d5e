"""Ladders, guards and approvals: what is refused, with the path of the field that was wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.catalog import EXAMPLES
from schemas.control import Approval, Control, Guard, Rule
from schemas.decode import decode
from schemas.reasons import Reason, Refused

SLOW = {"action": {"action": "slow", "max_rps": 2}}
CHEAPER = {"action": {"action": "downgrade", "fallback_model": "small"}}
SHORTER = {"action": {"action": "cap", "max_output_tokens": 100}}
BLOCK = {"action": {"action": "block", "message": "No."}}


def refused(model: type[Control], name: str, change: dict[str, Any]) -> tuple[Reason, str]:
    with pytest.raises(Refused) as caught:
        decode(model, orjson.dumps({**EXAMPLES[name], **change}))
    return caught.value.reason, caught.value.path


LADDERS: list[tuple[dict[str, Any], Reason, str]] = [
    ({"rungs": [CHEAPER, SLOW]}, Reason.INVALID_VALUE, "ladder.rungs"),
    ({"rungs": [SLOW, SHORTER, CHEAPER]}, Reason.INVALID_VALUE, "ladder.rungs"),
    ({"rungs": [SLOW, BLOCK]}, Reason.INVALID_VALUE, "ladder.rungs.1.action.action"),
    ({"rungs": [{**SLOW, "hold_s": 0}]}, Reason.OUT_OF_RANGE, "ladder.rungs.0.hold_s"),
    ({"rungs": [{**SLOW, "hold": 5}]}, Reason.UNKNOWN_FIELD, "ladder.rungs.0.hold"),
    ({"rungs": [SLOW] * 7}, Reason.TOO_LONG, "ladder.rungs"),
    ({"min_s": 900, "max_s": 600}, Reason.OUT_OF_RANGE, "ladder.max_s"),
    ({"max_scopes": 0}, Reason.OUT_OF_RANGE, "ladder.max_scopes"),
    ({"clear_s": 0}, Reason.OUT_OF_RANGE, "ladder.clear_s"),
    ({"approval": "yes"}, Reason.WRONG_TYPE, "ladder.approval"),
    ({"release_step": 4}, Reason.UNKNOWN_FIELD, "ladder.release_step"),
]


@pytest.mark.parametrize(("ladder", "reason", "path"), LADDERS)
def test_a_ladder_that_cannot_be_climbed_is_refused(
    ladder: dict[str, Any], reason: Reason, path: str
) -> None:
    assert refused(Rule, "config-rule", {"ladder": ladder}) == (reason, path)


def test_no_step_is_stronger_than_the_rules_own_action() -> None:
    weak = {"action": {"action": "slow", "max_rps": 1}, "ladder": {"rungs": [CHEAPER]}}
    assert refused(Rule, "config-rule", weak) == (Reason.INVALID_VALUE, "ladder")
    release = {"action": {"action": "release"}, "ladder": {}}
    assert refused(Rule, "config-rule", release) == (Reason.INVALID_VALUE, "ladder")


def test_two_steps_of_one_kind_and_the_action_of_the_same_kind_are_taken() -> None:
    slower = {"action": {"action": "slow", "max_rps": 1}}
    rule = decode(
        Rule,
        orjson.dumps(
            {
                **EXAMPLES["config-rule"],
                "ladder": {"rungs": [SLOW, slower]},
                "action": {"action": "slow", "max_rps": 0.1},
            }
        ),
    )
    assert rule.ladder is not None
    assert [rung.hold_s for rung in rule.ladder.rungs] == [60.0, 60.0]


def test_a_rule_of_old_has_no_ladder() -> None:
    old = {name: value for name, value in EXAMPLES["config-rule"].items() if name != "ladder"}
    assert decode(Rule, orjson.dumps(old)).ladder is None


@pytest.mark.parametrize(
    ("model", "name", "change", "reason", "path"),
    [
        (Guard, "config-guard", {"name": "mine"}, Reason.INVALID_VALUE, "name"),
        (Guard, "config-guard", {"max_scopes": 0}, Reason.OUT_OF_RANGE, "max_scopes"),
        (Guard, "config-guard", {"never": [{"kind": "all", "value": "x"}]}, Reason.INVALID_VALUE, "never.0.kind"),
        (Guard, "config-guard", {"never": [{"value": ""}]}, Reason.TOO_SHORT, "never.0.value"),
        (Approval, "config-approval", {"author": None}, Reason.WRONG_TYPE, "author"),
        (Approval, "config-approval", {"decision": True}, Reason.INVALID_VALUE, "decision"),
        (Approval, "config-approval", {"proposal": ""}, Reason.TOO_SHORT, "proposal"),
    ],
)  # fmt: skip
def test_guards_and_approvals_that_cannot_be_meant_are_refused(
    model: type[Control], name: str, change: dict[str, Any], reason: Reason, path: str
) -> None:
    assert refused(model, name, change) == (reason, path)


def test_an_approval_needs_its_author() -> None:
    anonymous = {k: v for k, v in EXAMPLES["config-approval"].items() if k != "author"}
    with pytest.raises(Refused) as caught:
        decode(Approval, orjson.dumps(anonymous))
    assert (caught.value.reason, caught.value.path) == (Reason.MISSING_FIELD, "author")
