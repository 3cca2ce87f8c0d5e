"""Over randomised loads a throttle never flaps, and is gone by the ladder when the incident is."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Ladder, Rule, RuleBlock, RuleCap, RuleDowngrade, RuleSlow, Rung
from schemas.throttles import Block, Cap, Downgrade, Release, Scope, Slow, ThrottleCommand
from service.rules.ladder import MOST_DOUBLINGS, Climb
from service.rules.throttling import Throttling, advance, dump, load
from service.rules.trouble import Target, Terms, Told, Trouble

T0 = 1_770_000_000
TICK = 10
USUAL = 10.0
TOO_MUCH = 2 * USUAL
AGENT = Scope(kind="workflow", value="agent")


@dataclass(frozen=True)
class Load:
    """Stretches of (seconds, demand as a multiple of the usual), then as usual; seen after `delay` seconds.

    `refused_is_seen`: the detector hears of calls that were not let through too, as in a dry run. `usual_rps` is
    what it takes for the usual rate: right, far too high, or not known.
    """

    stretches: list[tuple[int, float]]
    delay: int
    seed: int
    refused_is_seen: bool = False
    usual_rps: float | None = USUAL

    @property
    def end(self) -> int:
        return sum(seconds for seconds, _ in self.stretches)

    def demand(self, second: int) -> float:
        for seconds, multiple in self.stretches:
            if second < seconds:
                return USUAL * multiple
            second -= seconds
        return USUAL


loads = st.builds(
    Load,
    st.lists(
        st.tuples(st.integers(10, 600), st.sampled_from([1.0, 1.0, 3.0, 8.0, 40.0])), min_size=1, max_size=12
    ),
    st.sampled_from([0, 10, 30]),
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([USUAL, 3.5 * USUAL, None]),
)
ladders = st.builds(
    Ladder,
    rungs=st.lists(
        st.sampled_from(
            [
                Rung(action=RuleSlow(max_rps=15.0), hold_s=30.0),
                Rung(action=RuleSlow(max_rps=2.0), hold_s=60.0),
                Rung(action=RuleDowngrade(fallback_model="small"), hold_s=20.0),
                Rung(action=RuleCap(max_output_tokens=50), hold_s=60.0),
            ]
        ),
        max_size=3,
    ).map(lambda rungs: sorted(rungs, key=lambda r: ["slow", "downgrade", "cap"].index(r.action.action))),
    min_s=st.sampled_from([0.0, 60.0, 300.0]),
    max_s=st.sampled_from([600.0, 3_600.0, 100_000.0]),
    clear_s=st.sampled_from([30.0, 60.0, 120.0]),
    release_steps=st.integers(0, 6),
    release_every_s=st.sampled_from([10.0, 30.0]),
)


@dataclass
class Run:
    """A gateway that obeys, and a detector that sees what it lets through."""

    rule: Rule
    load: Load
    told: list[Told] = field(default_factory=list)
    commands: list[ThrottleCommand] = field(default_factory=list)
    relapses: list[int] = field(default_factory=list)
    """How often the throttle had come back, at each thing told."""
    seen: list[int] = field(default_factory=list)
    """Seconds at which the incident was seen."""
    state: Throttling = field(default_factory=Throttling)
    ended: int = 0

    def live(self) -> Run:
        dice, terms = random.Random(self.load.seed), Terms({"stop": self.rule})
        cost: list[float] = []
        way = self.rule.ladder or Ladder()
        # The longest quiet that can be asked for, twice: for the release and to forget it.
        self.ended = self.load.end + int(2.2 * way.clear_s * 2**MOST_DOUBLINGS) + 1_200
        target, second = Target(AGENT, self.load.usual_rps), 0
        while second < self.load.end or (self.state.climbs and second < self.ended):
            demand = self.load.demand(second) * dice.uniform(0.7, 1.3)
            let_through = self._let_through(demand)
            cost.append(demand if self.load.refused_is_seen else let_through)
            known = cost[: len(cost) - self.load.delay // TICK]
            over = bool(known) and known[-1] > TOO_MUCH
            trouble = [Trouble("f", "stop", "a loop", ((target,),))] if over else []
            if over:
                self.seen.append(second)
            if dice.random() < 0.02:
                self.state = load(dump(self.state))
            moves = advance(self.state, trouble, T0 + second, terms)
            again = advance(self.state, trouble, T0 + second, terms)
            assert not again.commands
            assert not again.told
            self.told += moves.told
            if moves.told:
                self.relapses += [self._climb.relapses] * len(moves.told)
            self.commands += moves.commands
            second += TICK
        return self

    @property
    def _climb(self) -> Climb:
        return next(iter(self.state.climbs.values()))

    def _let_through(self, demand: float) -> float:
        """Cost per second, in usual calls."""
        if self.state.climbs and self._climb.active:
            assert self._climb.expires > self.state.now, "what is in force has not expired"
        match self.commands[-1].action if self.commands else Release():
            case Slow(max_rps=most):
                return min(demand, most)
            case Block():
                return 0.0
            case Downgrade() | Cap():
                return demand * 0.3
            case _:
                return demand


def rules(ladder: Ladder) -> Rule:
    return Rule(name="stop", action=RuleBlock(message="No."), mode="enforce", ladder=ladder)


@settings(max_examples=200, deadline=None)
@given(ladders.map(rules), loads)
def test_a_throttle_does_not_flap_and_ends_by_the_ladder(rule: Rule, load_: Load) -> None:
    run, way = Run(rule, load_).live(), rule.ladder
    assert way is not None
    if not run.commands:
        return
    _ends_at_the_full_rate(run, way)
    _is_in_order(run)
    _loosens_only_after_quiet(run, way)
    _tightens_again_less_and_less_often(run, way)
    _never_lasts_too_long(run, way)


def _ends_at_the_full_rate(run: Run, way: Ladder) -> None:
    assert not run.state.climbs, "everything is over"
    assert run.commands[-1].action.action == "release"
    # By even steps, if the rung it was released from limits the rate at all.
    tightened = max(i for i, told in enumerate(run.told) if told.kind in ("started", "stronger", "back"))
    began = [told.at for told in run.told[tightened:] if told.kind == "releasing"]
    if not began:
        return
    way_up = [c.action for c in run.commands if c.issued_at.timestamp() >= began[0]]
    rates = [action.max_rps for action in way_up if isinstance(action, Slow)]
    climb = sorted(set(rates))
    assert rates == sorted(rates)
    assert run.load.usual_rps is None or all(rate < run.load.usual_rps for rate in rates)
    assert len({round(b - a, 9) for a, b in pairwise(climb)}) <= 1
    assert len(climb) == way.release_steps


def _is_in_order(run: Run) -> None:
    sequences = [c.sequence for c in run.commands]
    assert sequences == sorted(set(sequences))
    assert len({c.command_id for c in run.commands}) == len(sequences)
    assert all(c.expires_at > c.issued_at for c in run.commands)


def _loosens_only_after_quiet(run: Run, way: Ladder) -> None:
    for told, relapses in zip(run.told, run.relapses, strict=True):
        if told.why == "longest" or told.kind not in ("releasing", "released"):
            continue
        since = told.at - T0
        before = [second for second in run.seen if second <= since]
        quiet = way.clear_s * 2 ** min(relapses, MOST_DOUBLINGS)
        assert since - before[-1] >= quiet


def _tightens_again_less_and_less_often(run: Run, way: Ladder) -> None:
    """Between two returns there was a release, and before that a quiet that doubles with each of them."""
    returns = [
        (told.at, relapses)
        for told, relapses in zip(run.told, run.relapses, strict=True)
        if told.kind == "back" or (told.kind == "started" and relapses)
    ]
    for (earlier, relapses), (later, _) in pairwise(returns):
        assert later - earlier >= way.clear_s * 2 ** min(relapses, MOST_DOUBLINGS)
    lived = run.load.end + run.load.delay + TICK
    assert len(returns) <= 1 + lived / way.clear_s, "once per quiet at the very most"


def _never_lasts_too_long(run: Run, way: Ladder) -> None:
    started = None
    for told in run.told:
        if told.kind == "started":
            started = told.at
        elif told.kind in ("released", "rested"):
            assert started is not None
            release = (way.release_steps + 1) * (way.release_every_s + TICK)
            again = sum(t.kind == "back" for t in run.told if started <= t.at <= told.at)
            assert told.at - started <= way.max_s + TICK + release * (again + 1) + 64 * way.clear_s


def test_the_patterns_do_bring_throttles_back_and_to_their_limits() -> None:
    """The property above is about something: over seeds there are returns, longest ones and quiet nights."""
    kinds: set[str] = set()
    dice = random.Random(1)
    for seed in range(40):
        stretches = [(dice.randrange(10, 600), dice.choice([1.0, 8.0])) for _ in range(8)]
        way = Ladder(
            rungs=[Rung(action=RuleSlow(max_rps=15.0), hold_s=30.0)], max_s=dice.choice([600.0, 1e5])
        )
        run = Run(rules(way), Load(stretches, dice.choice([0, 30]), seed, seed % 2 == 0, 3.5 * USUAL)).live()
        kinds |= {f"{told.kind} {told.why}".strip() for told in run.told}
    assert kinds >= {"started", "stronger", "releasing", "faster", "back", "released", "rested longest"}
