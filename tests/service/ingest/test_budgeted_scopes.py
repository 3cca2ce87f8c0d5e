"""What has a budget is folded exactly: every nano-dollar of it, whoever is watched, and none of workflows twice."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.budgets import BudgetScopeKind
from schemas.control import Watch
from schemas.rollups import Rollup
from service.ingest.fold import Fold
from service.ingest.price import Pricer
from service.ingest.record import RawRecord
from service.ingest.scopes import Watching
from service.settings import IngestSettings
from tests.service.ingest.events import raw
from tests.service.rules.budgets import a_budget

PRICER = Pricer()
LABELS = tuple(kind for kind in get_args(BudgetScopeKind) if kind not in ("organisation", "workflow"))
CHARGE = {"kind": "seats", "quantity": 2.0, "unit": "seat"}

names = st.one_of(st.none(), st.sampled_from(["a", "b"]))
events = st.fixed_dictionaries(
    {
        **{kind: names for kind in LABELS if kind != "model"},
        "model": st.sampled_from(["a", "b", "gpt-4o"]),
        "workflow": names,
        "input_tokens": st.integers(0, 5_000),
        "cost_usd": st.sampled_from([None, "0.000000001", "0.02", "1.5"]),
    }
).map(lambda found: found if found["cost_usd"] != "1.5" else {**found, "charge": CHARGE})
batches = st.lists(st.lists(events, max_size=12), max_size=4)


def fold(watching: Watching) -> Fold:
    return Fold(0, 4, IngestSettings(), PRICER, watching=watching)


def budgets(*scopes: tuple[str, str]) -> list[Any]:
    return [a_budget(name=f"{kind}-{value}", scope={"kind": kind, "value": value}) for kind, value in scopes]


@given(
    batches,
    st.sets(st.tuples(st.sampled_from(LABELS), st.sampled_from(["a", "b"]))),
    st.booleans(),
)
@settings(max_examples=60)
def test_every_value_with_a_budget_is_exact_with_a_high_floor_or_without_any(
    parts: list[list[dict[str, Any]]], budgeted: set[tuple[str, str]], watched: bool
) -> None:
    watch = Watch(name="w", scope="customer", min_usd_per_hour=Decimal(1_000))
    some = fold(Watching([watch] if watched else [], budgets(*budgeted)))
    plain = fold(Watching())
    expected, found = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    tokens, found_tokens = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    offset = 0
    for part in parts:
        records: list[RawRecord] = []
        for fields in part:
            records.append(raw(offset, at=float(offset), **fields))
            offset += 1
        some.take(records)
        plain.take(records)
        batch, without = some.drain(), plain.drain()
        assert [d.to_json() for d in batch.deltas] == [d.to_json() for d in without.deltas]
        for delta in batch.scopes:
            rollup = Rollup.from_json(delta.to_json())
            assert rollup.type == "scope"
            assert rollup.scope is not None
            place = rollup.scope.kind, rollup.scope.value
            found[place] += rollup.cost_nanos
            found_tokens[place] += rollup.input_tokens + rollup.output_tokens
        for record, fields in zip(records, part, strict=True):
            alone = fold(Watching())
            alone.take([record])
            (delta,) = alone.drain().deltas
            for kind in LABELS:
                if (kind, fields[kind]) in budgeted:
                    expected[kind, fields[kind]] += delta.cost_nanos
                    tokens[kind, fields[kind]] += delta.input_tokens + delta.output_tokens
    assert found == expected
    assert found_tokens == tokens


@pytest.mark.parametrize("kind", LABELS)
def test_a_budget_is_for_one_value(kind: str) -> None:
    some = fold(Watching([], budgets((kind, "mine"))))
    mine: dict[str, Any] = {kind: "mine"}
    yours: dict[str, Any] = {kind: "yours"}
    some.take([raw(0, cost_usd="1", **mine), raw(1, cost_usd="1", **yours)])
    (rollup,) = [Rollup.from_json(delta.to_json()) for delta in some.drain().scopes]
    assert rollup.scope is not None
    assert (rollup.scope.kind, rollup.scope.value, rollup.cost_nanos) == (kind, "mine", 1_000_000_000)
    assert rollup.by_dimension == [], "sums, and no more, where nobody watches"


def test_where_the_kind_is_watched_too_there_is_one_delta_of_everything() -> None:
    some = fold(Watching([Watch(name="team", scope="team")], budgets(("team", "care"))))
    some.take([raw(0, team="care", cost_usd="1"), raw(1, team="care", cost_usd="2")])
    (rollup,) = [Rollup.from_json(delta.to_json()) for delta in some.drain().scopes]
    assert rollup.cost_nanos == 3_000_000_000
    assert [b.dimension for b in rollup.by_dimension] == ["model", "provider", "workflow"]


def test_a_budget_may_come_and_go_while_the_fold_runs() -> None:
    watching = Watching()
    some = fold(watching)
    watching.use([], budgets(("team", "care")))
    some.take([raw(0, team="care")])
    assert len(some.drain().scopes) == 1
    watching.use([])
    some.take([raw(1, team="care")])
    assert some.drain().scopes == []


def test_budgets_of_workflows_and_the_organisation_need_no_deltas_of_their_own() -> None:
    watching = Watching([], budgets(("workflow", "support"), ("organisation", "acme")))
    assert watching.budgeted == {}
