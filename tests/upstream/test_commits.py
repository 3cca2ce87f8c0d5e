"""What may be committed: stock Faust stalls, loses or repeats; ours does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from tests.upstream.consumers import SOURCE, bench

P0, P1 = TP(SOURCE, 0), TP(SOURCE, 1)

# Two records, a commit marker, two records, a marker: what a transactional producer leaves.
HOLES = [0, 1, 3, 4, 6, 7]


class TestHolesInOffsets:
    """Transaction markers: `_add_gap` counts the first record after the hole as a part of it, so that offset is
    noted twice and a commit ends there. One transaction is committed a round, however many were processed: the
    worker falls behind without bound (holes were the subject of faust-streaming/faust#312 and #378 as well).
    """

    async def test_stock_commits_one_transaction_a_round(self) -> None:
        with bench(ours=False) as stock:
            await stock.open(P0)
            await stock.drain({P0: HOLES})
            stock.ack()
            rounds = []
            for _ in range(3):
                await stock.consumer.commit()
                rounds.append(stock.committed[P0])
            assert rounds == [4, 7, 8]

    async def test_stock_falls_ever_further_behind(self) -> None:
        with bench(ours=False) as stock:
            await stock.open(P0)
            behind = []
            for first in range(0, 120, 6):  # two transactions of two records between one commit and the next
                await stock.drain({P0: [first, first + 1, first + 3, first + 4]})
                stock.ack()
                await stock.consumer.commit()
                behind.append(first + 5 - stock.committed[P0])
            assert behind == sorted(behind)
            assert behind[-1] > 50

    async def test_ours_commits_to_the_end(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0)
            await our.drain({P0: HOLES})
            our.ack()
            await our.consumer.commit()
            assert our.committed == {P0: 8}

    async def test_ours_passes_a_hole_at_the_start_and_one_after_a_seek(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0, committed=None, position=0)
            await our.drain({P0: [5, 6]})
            our.ack()
            await our.consumer.commit()
            assert our.committed == {P0: 7}
            await our.open(P0, committed=7)
            await our.drain({P0: [9]})
            our.ack(9)
            await our.consumer.commit()
            assert our.committed == {P0: 10}


class TestARecordInHand:
    """faust-streaming/faust#606: the head of the run is missing by one, and is taken for a hole."""

    async def test_stock_commits_past_it(self) -> None:
        with bench(ours=False) as stock:
            await stock.open(P0, committed=10)
            await stock.drain({P0: [10, 11, 12]})
            stock.ack(11, 12)
            await stock.consumer.commit()
            assert stock.committed == {P0: 13}, "record 10 is lost when the worker dies now"

    async def test_ours_waits_for_it(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0, committed=10)
            await our.drain({P0: [10, 11, 12]})
            our.ack(11, 12)
            await our.consumer.commit()
            assert our.committed == {}
            our.ack(10)
            await our.consumer.commit()
            assert our.committed == {P0: 13}


class TestAFailedCommit:
    """faust-streaming/faust#316: the bookkeeping advances though the commit failed."""

    @pytest.mark.parametrize(("ours", "attempts"), [(False, 1), (True, 2)])
    async def test_is_tried_again_by_ours_only(self, ours: bool, attempts: int) -> None:
        with bench(ours=ours) as side:
            await side.open(P0)
            await side.drain({P0: [0, 1]})
            side.ack()
            side.commit_succeeds = False
            await side.consumer.commit()
            side.commit_succeeds = True
            await side.consumer.commit()
            assert len(side.commits) == attempts
            assert (side.consumer._committed_offset[P0], side.commits[-1]) == (2, {P0: 2})


class TestRevocation:
    """faust-streaming/faust#502: acknowledgements are cleared, then the final commit finds none."""

    async def _revoke(self, side: Any) -> None:
        await side.open(P0)
        await side.drain({P0: [0, 1, 2]})
        side.ack()
        await side.consumer.on_partitions_revoked({P0})

    async def test_stock_processes_everything_since_the_last_commit_again(self) -> None:
        with bench(ours=False) as stock:
            await self._revoke(stock)
            assert stock.committed == {}

    async def test_ours_commits_before_it_clears(self) -> None:
        with bench(ours=True, commit_lag_s=60.0) as our:
            await self._revoke(our)
            assert our.committed == {P0: 3}
            assert not our.fatal

    async def test_ours_finishes_the_event_in_hand_first(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0)
            await our.drain({P0: [0, 1]})
            our.ack(0)
            our.consumer.unacked.add(our.messages[1])
            revoking = asyncio.create_task(our.consumer.on_partitions_revoked({P0}))
            await asyncio.sleep(0.05)
            assert not revoking.done()
            our.ack(1)
            await revoking
            assert our.committed == {P0: 2}

    async def test_ours_stops_without_a_commit_when_the_event_in_hand_never_ends(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.kafka.faust_transport.consumer.HAND_OVER_TIMEOUT_S", 0.0)
        with bench(ours=True) as our:
            await our.open(P0)
            await our.drain({P0: [0, 1]})
            our.ack(0)
            our.consumer.unacked.add(our.messages[1])
            await our.consumer.on_partitions_revoked({P0})
            assert (our.commits, len(our.fatal)) == ([], 1)

    async def test_a_late_acknowledgement_of_another_assignment_counts_for_nothing(self) -> None:
        with bench(ours=True) as our:
            await self._revoke(our)
            our.commits.clear()
            await our.open(P0, committed=3)
            our.consumer._acked[P0].append(5)
            await our.consumer.commit()
            assert our.commits == []


class TestTheLag:
    """A worker that dies must find its last seconds again: only older acknowledgements are committed."""

    async def test_a_fresh_acknowledgement_is_not_committed_and_an_old_one_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop, offset_s = asyncio.get_running_loop(), 0.0
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + offset_s)
        with bench(ours=True, commit_lag_s=300.0) as our:
            await our.open(P0)
            await our.drain({P0: [0, 1]})
            our.ack()
            assert not await our.consumer.commit()
            offset_s = 301.0
            await our.drain({P0: [2]})
            our.ack(2)
            assert await our.consumer.commit()
            assert our.committed == {P0: 2}

    async def test_partitions_do_not_hold_each_other_back(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0, P1)
            await our.drain({P0: [0, 1], P1: [0, 1]})
            our.ack(tp=P0)
            our.ack(0, tp=P1)
            await our.consumer.commit()
            assert our.committed == {P0: 2, P1: 1}


class TestAFailedAgent:
    """An exception acknowledges the event (`stream_ack_exceptions` is never read), and Faust commits at once."""

    async def test_stock_commits_the_event_that_failed(self) -> None:
        with bench(ours=False) as stock:
            await stock.open(P0)
            await stock.drain({P0: [0]})
            stock.ack()
            await stock.consumer.on_task_error(ValueError("a bug"))
            assert stock.committed == {P0: 1}

    async def test_ours_stops_and_commits_no_more(self) -> None:
        with bench(ours=True) as our:
            await our.open(P0)
            await our.drain({P0: [0]})
            our.ack()
            bug = ValueError("a bug")
            await our.consumer.on_task_error(bug)
            await our.consumer.commit_now()
            assert (our.commits, our.fatal, our.app.should_stop) == ([], [bug], True)
