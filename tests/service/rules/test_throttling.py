"""Throttles climb a ladder, ask first where they must, never touch what is protected, and end by even steps."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.control import Approval, Guard, Protected, Rule, Switch
from schemas.decode import decode
from schemas.throttles import Scope, Slow, ThrottleCommand
from service.rules.config import ConfigBook
from service.rules.throttling import NEVER, Throttling, UnreadableThrottling, advance, due, dump, load
from service.rules.trouble import Moves, Target, Terms, Traffic, Trouble

T0 = 1_770_000_000.0
SLOW = {"action": {"action": "slow", "max_rps": 2}, "hold_s": 30}
CHEAPER = {"action": {"action": "downgrade", "fallback_model": "small"}, "hold_s": 60}
SHORTER = {"action": {"action": "cap", "max_output_tokens": 100}, "hold_s": 60}


def a_rule(name: str = "stop", rungs: Any = (SLOW, CHEAPER, SHORTER), **changes: Any) -> Rule:
    ladder = {"rungs": list(rungs), "release_steps": 3, "release_every_s": 30, **changes.pop("ladder", {})}
    document = {
        "kind": "rule",
        "name": name,
        "action": {"action": "block", "message": "No."},
        "mode": "enforce",
        "ladder": ladder,
        **changes,
    }
    return decode(Rule, orjson.dumps(document))


def target(value: str = "agent", rps: float | None = 8.0, **scope: Any) -> Target:
    return Target(Scope(kind=scope.pop("kind", "workflow"), value=value, **scope), rps)


def trouble(*levels: tuple[Target, ...], rule: str = "stop", fingerprint: str = "f1") -> Trouble:
    return Trouble(fingerprint, rule, "a loop", levels or ((target(),),))


class Night:
    """What happens to the throttles of some rules."""

    def __init__(self, *rules: Rule, **terms: Any) -> None:
        self.state = Throttling()
        self.terms = Terms({rule.name: rule for rule in rules or (a_rule(),)}, **terms)
        self.commands: list[ThrottleCommand] = []

    def moves(self, second: float, *troubles: Trouble, traffic: dict[str, Traffic] | None = None) -> Moves:
        moves = advance(self.state, troubles, T0 + second, self.terms, traffic)
        self.commands += moves.commands
        return moves

    def at(self, second: float, *troubles: Trouble) -> list[str]:
        """Actions sent."""
        return [command.action.action for command in self.moves(second, *troubles).commands]

    def told(self, second: float, *troubles: Trouble) -> list[str]:
        return [f"{told.kind} {told.why}".strip() for told in self.moves(second, *troubles).told]


def test_the_gentlest_rung_comes_first_and_the_next_when_it_did_not_help() -> None:
    night = Night()
    assert night.at(0, trouble()) == ["slow"]
    assert night.at(29, trouble()) == []
    assert night.at(30, trouble()) == ["downgrade"]
    assert night.at(60, trouble()) == []
    assert night.at(90, trouble()) == ["cap"]
    assert night.at(150, trouble()) == ["block"]
    assert night.at(600, trouble()) == []


def test_what_is_quiet_is_released_by_even_steps_up_to_the_usual_rate() -> None:
    night = Night(a_rule(rungs=(), ladder={"release_steps": 3}))
    assert night.at(0, trouble()) == ["block"]
    assert night.at(119) == []
    assert night.at(120) == ["slow"]
    for second in range(121, 300):
        night.at(second)
    rates = [c.action.max_rps for c in night.commands if isinstance(c.action, Slow)]
    assert rates == [2.0, 4.0, 6.0]
    assert [c.action.action for c in night.commands] == ["block", "slow", "slow", "slow", "release"]
    assert night.commands[-1].issued_at.timestamp() == T0 + 210


def test_a_slow_is_released_from_its_own_rate_and_a_downgrade_at_once() -> None:
    night = Night()
    night.at(0, trouble())
    for second in range(1, 400):
        night.at(second)
    assert [c.action.max_rps for c in night.commands if isinstance(c.action, Slow)] == [2.0, 3.5, 5.0, 6.5]
    other = Night()
    other.at(0, trouble())
    assert other.at(30, trouble()) == ["downgrade"]
    assert other.at(149) == []
    assert other.at(150) == ["release"]


def test_of_an_unknown_usual_rate_the_rules_own_is_the_step() -> None:
    night = Night(a_rule(rungs=(SLOW,)))
    loop = trouble((target(rps=None),))
    night.at(0, loop)
    night.at(30, loop)
    for second in range(31, 400):
        night.at(second)
    assert [c.action.max_rps for c in night.commands if isinstance(c.action, Slow)] == [2.0, 2.0, 4.0, 6.0]


def test_a_throttle_lasts_at_least_its_minimum() -> None:
    night = Night(a_rule(ladder={"min_s": 300, "clear_s": 10}))
    night.at(0, trouble())
    assert night.at(299) == []
    assert night.at(300) == ["slow"]


def test_what_comes_back_during_release_goes_back_to_its_rung_and_must_be_quiet_for_twice_as_long() -> None:
    night = Night(a_rule(rungs=()))
    night.at(0, trouble())
    night.at(120)
    assert night.told(125, trouble()) == ["back"]
    assert night.commands[-1].action.action == "block"
    assert night.at(125 + 239) == []
    assert night.at(125 + 240) == ["slow"]


def test_what_comes_back_soon_after_a_release_starts_where_it_was_stopped() -> None:
    night = Night(a_rule(rungs=(SLOW, CHEAPER)))
    night.at(0, trouble())
    night.at(30, trouble())
    assert night.at(150) == ["release"]
    assert night.at(200, trouble(fingerprint="f2")) == ["downgrade"]
    assert night.at(200 + 239) == []
    assert night.at(200 + 240) == ["release"]


def test_after_a_long_quiet_it_begins_at_the_gentlest_again() -> None:
    night = Night(a_rule(rungs=(SLOW, CHEAPER)))
    night.at(0, trouble())
    night.at(30, trouble())
    night.at(150)
    night.at(275)
    assert night.state.climbs == {}
    assert night.at(280, trouble(fingerprint="f2")) == ["slow"]


def test_no_throttle_lasts_longer_than_its_maximum_nor_is_taken_again_before_it_was_quiet() -> None:
    night = Night(a_rule(rungs=(), ladder={"max_s": 600}))
    told: list[str] = []
    for second in range(0, 3_000, 10):
        told += night.told(second, trouble())
    assert told == ["started", "releasing longest", "faster longest", "faster longest", "rested longest"]
    assert night.commands[-1].action.action == "release"
    night.at(3_000)
    night.at(3_120)
    assert night.at(3_130, trouble(fingerprint="f2")) == ["block"]


def test_a_command_is_renewed_before_it_expires_and_always_expires() -> None:
    night = Night(a_rule(duration_s=100))
    for second in range(0, 400, 5):
        night.moves(second, trouble())
        (climb,) = night.state.climbs.values()
        assert climb.expires > T0 + second
    sequences = [command.sequence for command in night.commands]
    assert sequences == sorted(set(sequences))
    assert len({command.command_id for command in night.commands}) == len(sequences)
    assert all(c.expires_at.timestamp() == c.issued_at.timestamp() + 100 for c in night.commands)


def test_the_same_call_again_sends_nothing_and_a_repeat_after_a_crash_sends_the_same() -> None:
    night = Night()
    for second in (0, 30, 90, 150):
        before = dump(night.state)
        sent = night.moves(second, trouble())
        assert night.moves(second, trouble()) == Moves()
        crashed = load(before)
        assert advance(crashed, [trouble()], T0 + second, night.terms) == sent
        assert dump(crashed) == dump(night.state)


def test_the_narrowest_scope_comes_first_and_a_wider_one_when_that_does_not_help() -> None:
    night = Night(a_rule(rungs=(), ladder={"widen_s": 60}))
    trace, workflow = target("t1", kind="trace", workflow="agent"), target("agent")
    loop = trouble((trace,), (workflow,))
    night.at(0, loop)
    night.at(59, loop)
    assert [c.scope.kind for c in night.commands] == ["trace"]
    night.at(60, loop)
    assert [c.scope.kind for c in night.commands] == ["trace", "workflow"]
    for second in range(61, 1_000):
        night.at(second)
    assert [c.scope.kind for c in night.commands if c.action.action == "release"] == ["trace", "workflow"]


def test_nothing_is_widened_without_being_asked_for_nor_for_a_dry_run() -> None:
    loop = trouble((target("t1", kind="trace", workflow="agent"),), (target("agent"),))
    for rule in (a_rule(rungs=()), a_rule(rungs=(), ladder={"widen_s": 60}, mode="dry_run")):
        night = Night(rule)
        for second in range(0, 1_000, 10):
            night.at(second, loop)
        assert {c.scope.kind for c in night.commands} == {"trace"}


def test_what_is_protected_is_never_throttled_nor_anything_within_a_protected_workflow() -> None:
    guard = Guard(never=[Protected(value="checkout-*"), Protected(kind="customer", value="acme")])
    night = Night(guard=guard)
    inside = target("t1", kind="trace", workflow="checkout-eu")
    loop = trouble((inside, target("checkout-us"), target("acme", kind="customer"), target("agent")))
    assert night.told(0, loop) == ["barred protected"] * 3 + ["started"]
    assert [c.scope.value for c in night.commands] == ["agent"]
    assert night.told(5, loop) == [], "told once"


def test_what_becomes_protected_is_released_at_once() -> None:
    night = Night()
    night.at(0, trouble())
    night.terms = Terms(night.terms.rules, guard=Guard(never=[Protected(value="agent")]))
    assert night.at(5, trouble()) == ["release"]
    assert night.at(6, trouble()) == []


def test_no_more_scopes_are_throttled_at_once_than_a_rule_or_the_guard_allows() -> None:
    many = trouble(tuple(target(f"w{n}") for n in range(9)))
    night = Night(a_rule(ladder={"max_scopes": 3}))
    assert sorted(night.told(0, many)) == ["barred limit"] * 6 + ["started"] * 3
    assert night.told(10, many) == []
    both = Night(a_rule("a"), a_rule("b"), guard=Guard(max_scopes=4))
    loops = [trouble(tuple(target(f"{r}{n}") for n in range(3)), rule=r) for r in "ab"]
    assert both.told(0, *loops).count("started") == 4


def test_a_scope_that_ends_makes_room_for_the_next() -> None:
    night = Night(a_rule(rungs=(CHEAPER,), ladder={"max_scopes": 1, "clear_s": 60}))
    first, second = trouble((target("a"),)), trouble((target("b"),), fingerprint="f2")
    night.at(0, first, second)
    night.at(30, second)
    assert [c.scope.value for c in night.commands] == ["a"]
    night.at(60, second)
    assert [(c.scope.value, c.action.action) for c in night.commands[1:]] == [
        ("a", "release"),
        ("b", "downgrade"),
    ]


def test_dry_runs_leave_the_room_of_those_that_are_meant() -> None:
    night = Night(a_rule("dry", mode="dry_run"), a_rule("real"), guard=Guard(max_scopes=1))
    told = night.told(0, trouble((target("a"),), rule="dry"), trouble((target("b"),), rule="real"))
    assert told == ["started", "started"]


ASKS = {"approval": True, "approval_wait_s": 300}


def answers(night: Night, decision: str, second: float = 1e6) -> None:
    (climb,) = night.state.climbs.values()
    document = {"name": "x", "proposal": climb.proposal, "decision": decision, "author": "me"}
    answer = decode(Approval, orjson.dumps({**document, "expires_at": T0 + second}))
    night.terms = Terms(night.terms.rules, approvals={answer.proposal: answer})


def test_a_command_waits_for_a_persons_yes() -> None:
    night = Night(a_rule(ladder=ASKS))
    moves = night.moves(0, trouble())
    assert (moves.commands, [t.kind for t in moves.told]) == ([], ["proposed"])
    assert night.at(60, trouble()) == []
    answers(night, "yes")
    assert night.at(61, trouble()) == ["slow"]
    assert moves.told[0].proposal == next(iter(night.state.climbs.values())).proposal


def test_a_no_holds_for_that_incident_and_the_next_one_asks_again() -> None:
    night = Night(a_rule(ladder=ASKS))
    night.at(0, trouble())
    answers(night, "no")
    assert night.told(10, trouble()) == ["barred refused"]
    assert night.told(20, trouble()) == []
    assert night.told(30, trouble(fingerprint="f2")) == ["proposed"]


def test_nobody_answers_in_time() -> None:
    night = Night(a_rule(ladder=ASKS))
    night.at(0, trouble())
    assert due(night.state, night.terms, [trouble()]) == T0 + 300
    assert night.told(300, trouble()) == ["barred lapsed"]
    assert night.told(400, trouble()) == []
    answers(night, "yes")
    assert night.at(500, trouble()) == ["slow"], "late, but a yes"


def test_an_incident_that_ends_before_the_answer_withdraws_the_proposal() -> None:
    night = Night(a_rule(ladder=ASKS))
    night.at(0, trouble())
    assert night.told(119) == []
    assert night.told(120) == ["withdrawn"]


def test_a_yes_that_has_expired_is_none() -> None:
    night = Night(a_rule(ladder=ASKS))
    night.at(0, trouble())
    answers(night, "yes", second=50)
    assert night.at(50, trouble()) == []
    assert night.at(49.9, trouble()) == [], "time never goes back"


def test_a_dry_run_says_what_it_would_have_done_and_spared() -> None:
    night = Night(a_rule(rungs=(SLOW,), mode="dry_run"))
    night.moves(0, trouble())
    night.moves(30, trouble(), traffic={"workflow:agent": Traffic(calls=120, spent=1_200)})
    night.moves(60, trouble(), traffic={"workflow:agent": Traffic(calls=100, spent=1_000)})
    (climb,) = night.state.climbs.values()
    assert climb.spared == 600 + 1_000, "half of what came at 4 calls a second, then all of it"
    for second in range(61, 400):
        moves = night.moves(second)
    assert {c.mode for c in night.commands} == {"dry_run"}
    assert moves.commands == []


def test_the_record_of_a_dry_run_ends_with_what_it_would_have_spared() -> None:
    night = Night(a_rule(rungs=(), mode="dry_run", ladder={"release_steps": 0}))
    night.moves(0, trouble())
    night.moves(100, trouble(), traffic={"workflow:agent": Traffic(7, 700)})
    (told,) = night.moves(220, traffic={"workflow:agent": Traffic(1, 50)}).told
    assert (told.kind, told.mode, told.spared, told.since) == ("released", "dry_run", 750, T0)


def test_a_rule_that_becomes_meant_is_sent_again_at_once() -> None:
    night = Night(a_rule(mode="dry_run"))
    night.at(0, trouble())
    night.terms = Terms({"stop": a_rule()})
    (command,) = night.moves(5, trouble()).commands
    assert (command.mode, command.action.action) == ("enforce", "slow")


def test_a_rule_that_is_gone_takes_its_throttles_with_it() -> None:
    night = Night()
    night.at(0, trouble())
    night.terms = Terms({})
    assert night.at(5, trouble()) == ["release"]
    assert night.state.climbs == {}


def test_one_switch_releases_everything_and_nothing_is_taken_while_it_is_off() -> None:
    night = Night(a_rule("a"), a_rule("b", ladder=ASKS))
    loops = [trouble((target("x"), target("y")), rule="a"), trouble((target("z"),), rule="b")]
    night.moves(0, *loops)
    night.terms = Terms(night.terms.rules, on=False)
    assert due(night.state, night.terms, loops) <= T0
    assert night.at(1, *loops) == ["release", "release"]
    assert night.at(2, *loops) == []
    assert due(night.state, night.terms, loops) == NEVER
    night.terms = Terms(night.terms.rules)
    assert night.at(3, *loops) == ["slow", "slow"]
    sequences = [command.sequence for command in night.commands]
    assert sequences == sorted(set(sequences))


def test_a_flood_of_scopes_fills_no_memory_and_is_told_once() -> None:
    night = Night()
    flood = trouble(tuple(target(f"w{n}") for n in range(2_500)))
    assert len(night.told(0, flood)) == 2_000
    assert night.told(1, flood) == []
    assert sum(climb.active for climb in night.state.climbs.values()) == 5


def test_the_terms_come_from_the_config_topic() -> None:
    book = ConfigBook.empty()
    records: list[Rule | Guard | Approval | Switch] = [
        a_rule(),
        Guard(max_scopes=7),
        Approval(name="a", proposal="p", decision="no", author="me"),
        Switch(state="off"),
    ]
    for offset, record in enumerate(records):
        book = book.apply(f"{record.kind}/{record.name}", record.to_json(), offset)
    terms = Terms.of(book)
    assert (set(terms.rules), terms.guard.max_scopes, terms.on) == ({"stop"}, 7, False)
    assert terms.approvals["p"].decision == "no"
    assert terms.config_version == book.version


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01", b"\x01\x93", b"\x02x"])
def test_bytes_that_no_version_wrote_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableThrottling):
        load(data)
