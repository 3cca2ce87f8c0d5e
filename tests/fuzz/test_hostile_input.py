"""Every message becomes a call, a charge, a duplicate or a dead letter with a reason, and the sums are exact."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from schemas.reasons import Reason
from tests.fuzz import foreign
from tests.fuzz.alone import account_for
from tests.fuzz.corpus import mutated
from tests.fuzz.guided import SEEDS
from tests.fuzz.harness import Harness
from tests.support.roles import ROOT

MESSAGES = 10_000
CONFIG_ONLY = {Reason.UNKNOWN_FIELD, Reason.UNSIGNED, Reason.BAD_SIGNATURE}
"""Events may carry anything, and nobody signs them."""


@pytest.mark.parametrize("seed", [1, 2])
def test_hostile_messages_are_accounted_for_to_the_last_one_and_the_last_nano_dollar(seed: int) -> None:
    totals = Harness(seed).run(mutated(MESSAGES, seed))
    assert (
        totals.messages
        == MESSAGES
        == (totals.rollup_calls + totals.rollup_charges + totals.duplicates + totals.dead_letters)
    )
    # The messages are neither all good nor all bad, and bad for every reason there is.
    assert totals.rollup_calls > MESSAGES // 5
    assert min(totals.rollup_charges, totals.duplicates, totals.cost_nanos, totals.rebuilt) > 0
    assert {Reason(reason) for reason in totals.by_reason} == set(Reason) - CONFIG_ONLY


def test_the_same_seed_gives_the_same_messages() -> None:
    assert list(mutated(2_000, 7)) == list(mutated(2_000, 7))
    assert list(mutated(2_000, 7)) != list(mutated(2_000, 8))


def test_what_guided_fuzzing_found_worth_keeping_is_accounted_for() -> None:
    found = sorted(SEEDS.iterdir())
    assert found
    for seed in found:
        try:
            account_for(seed.read_bytes())
        except Exception as error:
            raise AssertionError(f"{seed.name}: {error!r}") from error


def test_hostile_foreign_records_are_accounted_for() -> None:
    outcomes = foreign.run(4_000, 1)
    assert (
        min(outcomes["events"], outcomes["duplicates"], outcomes["wrong_type"], outcomes["invalid_json"])
        > 100
    )
    assert len(outcomes) > 15


@pytest.mark.skipif(find_spec("atheris") is None, reason="Atheris is not installed; `make fuzz` does that")
def test_guided_fuzzing_finds_nothing_within_seconds(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", "5", str(tmp_path / "found" / "corpus")],
        cwd=ROOT,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:].decode(errors="replace")
    assert b"stat::new_units_added" in ended.stderr
