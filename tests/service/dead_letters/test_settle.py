"""No event is counted twice, whatever was replayed before, in whatever order, and however often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.decode import decode
from schemas.events import CostEvent
from service.dead_letters.mend import Check, Edit, Mended, parse_set
from service.dead_letters.settle import REPLAY_OF, Mending, Settler, Verdict, headers_of, mark_of
from tests.service.dead_letters.letters import AT_S, PREFIX, event, letter

NOW = datetime.fromtimestamp(AT_S, UTC)
BAD = letter(event(cost_usd=-1))
CHEAP, DEAR = parse_set('cost_usd="1"'), parse_set('cost_usd="2"')


def mending(*edits: Edit, **more: Any) -> Mending:
    return Mending(PREFIX, Check(NOW, 300.0), edits, **more)


def settled(
    letters: Sequence[DeadLetter],
    how: Mending,
    marks: Sequence[DeadLetterReplay] = (),
    counted: dict[tuple[str, str], str] | None = None,
    *,
    again: bool = False,
) -> tuple[list[Verdict], list[DeadLetterReplay], list[bytes]]:
    """Verdicts, new marks, and what is published."""
    settler = Settler(how, counted or {}, again=again)
    settler.learn(marks)
    verdicts: list[Verdict] = []
    made: list[DeadLetterReplay] = []
    published: list[bytes] = []
    for one in letters:
        decision = settler.decide(one)
        verdicts.append(decision.verdict)
        if decision.verdict in (Verdict.PUBLISH, Verdict.COUNTED):
            made.append(mark_of(decision, NOW, "ada"))
        assert bool(decision.publish) == (decision.verdict is Verdict.PUBLISH)
        published += decision.publish
    return verdicts, made, published


def test_what_is_not_mended_is_refused_and_what_is_is_published() -> None:
    assert settled([BAD], mending())[0] == [Verdict.REFUSED]
    verdicts, marks, published = settled([BAD], mending(CHEAP))
    assert verdicts == [Verdict.PUBLISH]
    assert decode(CostEvent, published[0]).cost_usd == 1
    assert (marks[0].outcome, marks[0].record_id, marks[0].by) == ("published", "e-1", "ada")
    assert DeadLetterReplay.from_json(marks[0].to_json()) == marks[0]


def test_the_same_replay_again_does_nothing() -> None:
    _, marks, _ = settled([BAD], mending(CHEAP))
    assert settled([BAD], mending(CHEAP), marks) == ([Verdict.DONE], [], [])
    assert settled([BAD], mending(CHEAP), marks, again=True) == ([Verdict.DONE], [], [])


def test_other_content_is_a_conflict_and_with_again_another_id_is_needed() -> None:
    _, marks, _ = settled([BAD], mending(CHEAP))
    assert settled([BAD], mending(DEAR), marks)[0] == [Verdict.CONFLICT]
    assert settled([BAD], mending(DEAR), marks, again=True)[0] == [Verdict.COUNTED]
    renamed = mending(DEAR, parse_set('event_id="e-2"'))
    assert settled([BAD], renamed, marks)[0] == [Verdict.CONFLICT]
    assert settled([BAD], renamed, marks, again=True)[0] == [Verdict.PUBLISH]


def test_one_event_refused_several_times_is_published_once() -> None:
    twice = [BAD, letter(event(cost_usd=-1), 9, partition=0)]
    verdicts, marks, published = settled(twice, mending(CHEAP))
    assert verdicts == [Verdict.PUBLISH, Verdict.COUNTED]
    assert len(published) == 1
    assert settled(twice, mending(CHEAP), marks)[0] == [Verdict.DONE] * 2
    # Also when the second one is replayed at another time.
    assert settled(twice[1:], mending(CHEAP), marks[:1])[0] == [Verdict.COUNTED]


def test_what_a_gateway_sent_again_is_not_published_but_settled() -> None:
    verdicts, marks, published = settled([BAD], mending(CHEAP), counted={("cost-events", "e-1"): "at 2@9"})
    assert (verdicts, published) == ([Verdict.COUNTED], [])
    assert settled([BAD], mending(CHEAP), marks)[0] == [Verdict.DONE]


def test_an_outcome_of_the_same_id_is_another_record() -> None:
    outcome = letter(
        b'{"outcome_id":"e-1","occurred_at":1,"trace_id":"t","kind":"k"}', topic="t.outcomes", partition=0
    )
    good = letter(event())
    assert settled([good, outcome], mending())[0] == [Verdict.PUBLISH] * 2


def test_marks_of_a_topic_that_was_made_anew_do_not_hold() -> None:
    _, marks, _ = settled([BAD], mending(CHEAP))
    other = letter(event(event_id="e-9", cost_usd=-1))  # at the same place
    assert settled([other], mending(CHEAP), marks)[0] == [Verdict.PUBLISH]


def test_letters_of_other_topics_are_foreign() -> None:
    for topic in ("t.rollups", "cost-events", "elsewhere.cost-events", "t.config"):
        assert settled([letter(event(), topic=topic)], mending())[0] == [Verdict.FOREIGN]


def test_a_value_that_was_not_kept_can_only_be_replaced() -> None:
    lost = letter(None)
    assert settled([lost], mending(CHEAP))[0] == [Verdict.REFUSED]
    replaced = mending(replacements={"t.cost-events/2/7": event(event_id="new")})
    assert settled([lost], replaced)[0] == [Verdict.PUBLISH]


def test_headers_are_kept_and_the_last_origin_is_added() -> None:
    came = letter(b"{", headers=[("a", b"\xff"), ("a", None), (REPLAY_OF, b"t.cost-events/0/1")])
    (decision,) = [Settler(mending(), {}).decide(came)]
    assert headers_of(decision) == [("a", b"\xff"), ("a", None), (REPLAY_OF, b"t.cost-events/2/7")]


ids = st.sampled_from(["a", "b", "c"])
some_letters = st.lists(
    st.tuples(ids, st.sampled_from([-1, 1])).map(lambda t: event(event_id=t[0], cost_usd=t[1])), max_size=8
).map(lambda values: [letter(value, offset) for offset, value in enumerate(values)])


@given(
    some_letters,
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from([CHEAP, DEAR]), st.booleans()), max_size=6),
)
def test_replays_that_die_anywhere_and_are_repeated_publish_each_id_once(
    letters: list[DeadLetter], replays: list[tuple[int, Edit, bool]]
) -> None:
    marks: list[DeadLetterReplay] = []
    published: list[bytes] = []
    for upto, edit, again in replays:  # each gets as far as `upto` letters, and what it published is marked
        _, made, sent = settled(letters[:upto], mending(edit), marks, again=again)
        marks += made
        published += sent
    counts = Counter(decode(CostEvent, value).event_id for value in published)
    assert all(count == 1 for count in counts.values())
    upto = max((n for n, _, _ in replays), default=0)
    assert set(counts) == {decode(CostEvent, edited_value(one)).event_id for one in letters[:upto]}


def edited_value(one: DeadLetter) -> bytes:
    mended = mending(CHEAP).mend(one)
    assert isinstance(mended, Mended)
    return mended.records[0][1]
