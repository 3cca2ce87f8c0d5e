"""Dead letters on a real broker: mended and replayed through crashes, every event counts exactly once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from schemas.reasons import Reason
from schemas.topics import COST_EVENTS, DEAD_LETTER_REPLAYS, DEAD_LETTERS
from service.kafka import InvalidProducerEpoch, ProducerFenced
from service.kafka.replays import Write, marks, replaying
from tests.broker.ingest import Install, Installation, Outcome, Start, events, ingest_fixtures
from tests.support.broker import create_topics, read_all
from tests.support.patience import PATIENCE_S
from tests.support.roles import ROOT, RoleProcess, environment

pytestmark = pytest.mark.broker
install, start = ingest_fixtures()

PRICE = "0.0000005"
"""Of the events whose own cost is lost."""


@dataclass
class Spoiled:
    """Good events, some of which were spoiled on the way in four manners, and what was meant."""

    records: list[tuple[int, bytes]]
    calls: Counter[str]
    cost_nanos: Counter[str]
    whole: dict[str, bytes] = field(default_factory=dict)  # those cut off, by event_id
    resent: list[tuple[int, bytes]] = field(default_factory=list)


def spoiled(count: int) -> Spoiled:
    sent = events(count)
    made = Spoiled([], sent.calls, sent.cost_nanos)
    for number, (partition, value) in enumerate(sent.records):
        event = json.loads(value)
        match number % 10:
            case 1:
                event["attempt"] = 0
            case 2:
                event["service_tier"] = ""
            case 3:
                made.cost_nanos[event["workflow"]] += 500 - round(float(event["cost_usd"]) * 10**9)
                event["cost_usd"] = None
                value = orjson.dumps(event).replace(b'"cost_usd":null', b'"cost_usd":NaN')
            case 4 if number % 30 == 4:
                made.whole[event["event_id"]] = value
                value = value[:-20]
        if "attempt" in event or "service_tier" in event:
            if number % 50 < 5:  # the gateway sends these again, mended by itself
                made.resent.append((partition, value))
            value = orjson.dumps(event)
        made.records.append((partition, value))
    return made


class Replayer:
    """`tidegate dead-letters replay` as a process, to be killed and paused."""

    def __init__(self, here: Installation) -> None:
        self._env = environment(here.bootstrap, here.prefix)

    async def start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", "dead-letters", "replay", *arguments),
            cwd=ROOT,
            env=self._env,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str, status: int = 0) -> list[str]:
        """Its output, once it has ended."""
        process = await self.start(*arguments)
        out, err = await process.communicate()
        assert process.returncode == status, out + err
        return out.decode().splitlines()


async def lines(process: Process, count: int) -> None:
    """Wait until it has told `count` letters as published."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while count:
            line = await process.stdout.readline()
            assert line, "it ended before"
            count -= line.startswith(b"published ")


async def create(here: Installation, lanes: int = 4) -> None:
    await here.create(lanes)
    await create_topics(here.bootstrap, {here.topic(DEAD_LETTER_REPLAYS): 1}, {"cleanup.policy": "compact"})


async def drained(here: Installation, start: Start, sentinels: Counter[str], lanes: int = 4) -> Outcome:
    """What came of everything published so far. A sentinel on each partition tells when it is read up.

    Without one the last offset of a partition may be a transaction's marker, which nobody commits.
    """
    number = sentinels.total()
    event = {
        "occurred_at": 1_769_851_800,
        "provider": "p",
        "model": "m",
        "workflow": "sentinel",
        "cost_usd": 0,
    }
    await here.publish([(p, orjson.dumps({**event, "event_id": f"s{number}-{p}"})) for p in range(lanes)])
    sentinels["sentinel"] += lanes
    worker = start(here)
    await here.until_read_up(worker)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0, worker.log()
    return await here.outcome()


def nothing_but(counts: Counter[str], sentinels: Counter[str]) -> Counter[str]:
    assert counts["sentinel"] == sentinels["sentinel"]
    return Counter({workflow: count for workflow, count in counts.items() if workflow != "sentinel"})


async def sizes(here: Installation) -> list[int]:
    topics = (COST_EVENTS, DEAD_LETTERS, DEAD_LETTER_REPLAYS)
    return [len(await read_all(here.bootstrap, here.topic(topic))) for topic in topics]


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_mended_and_replayed_with_a_kill_in_the_middle_the_totals_are_what_was_meant(
    install: Install, start: Start, tmp_path: Path
) -> None:
    here = install()
    await create(here)
    sent, sentinels = spoiled(6_000), Counter[str]()
    await here.publish(sent.records)
    before = await drained(here, start, sentinels)
    reasons = Counter(letter.reason for letter in before.dead_letters)
    cut = len(sent.whole)
    assert reasons == {Reason.OUT_OF_RANGE: 600, Reason.TOO_SHORT: 600, Reason.INVALID_JSON: 600 + cut}
    assert before.calls() != sent.calls
    await here.publish(sent.resent)

    replay = Replayer(here)
    mend = (
        "--reason",
        "out_of_range",
        "--reason",
        "too_short",
        "--unset",
        "attempt",
        "--unset",
        "service_tier",
    )
    for told in (1, 250):  # killed after the first transaction, and once more while it goes on
        process = await replay.start(*mend)
        await lines(process, told)
        process.kill()
        await process.communicate()
    settled = len(await read_all(here.bootstrap, here.topic(DEAD_LETTER_REPLAYS)))
    assert 250 <= settled < 1_200, "killed in the middle"
    last = (await replay.run(*mend))[-1]
    assert last.endswith(" done")

    price = ("--reason", "invalid_json", "--set", f'cost_usd="{PRICE}"')
    counts = (await replay.run(*price, status=1))[-1]  # those that were cut off are refused
    assert counts == f"600 published, {cut} refused"

    file = tmp_path / "cut.jsonl"
    await replay.run("--reason", "invalid_json", "--export", str(file))
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    mended = [
        {"origin": line["origin"], "text": sent.whole[found].decode()}
        for line in exported
        for found in sent.whole
        if f'"{found}"' in line["text"]
    ]
    assert len(mended) == cut
    edited = tmp_path / "mended.jsonl"
    edited.write_bytes(b"\n".join(map(orjson.dumps, mended)))
    assert (await replay.run("--from", str(edited)))[-1] == f"{cut} published"

    after = await drained(here, start, sentinels)
    assert nothing_but(after.calls(), sentinels) == sent.calls
    assert after.cost_nanos()["sentinel"] == 0
    assert +after.cost_nanos() == sent.cost_nanos
    assert after.dead_letters == before.dead_letters
    duplicates = sum(rollup.duplicates for _, rollup in after.rollups)
    assert duplicates == 0, "what the gateway had sent again was not even published"

    # And once more: nothing changes.
    ends = await sizes(here)
    assert (await replay.run(*mend))[-1] == "1,200 done"
    assert (await replay.run(*price, status=1))[-1] == f"600 done, {cut} refused"
    assert (await replay.run("--from", str(edited)))[-1] == f"{cut} done"
    assert await sizes(here) == ends
    again = await drained(here, start, sentinels)
    assert nothing_but(again.calls(), sentinels) == sent.calls
    assert +again.cost_nanos() == sent.cost_nanos


async def test_of_two_replays_at_once_the_later_one_wins_and_each_event_counts_once(
    install: Install, start: Start
) -> None:
    here = install(dead_letter_max_streak=10_000, dead_letter_max_ratio=1.0)
    await create(here, lanes=1)
    good = [value for _, value in events(2_000, lanes=1).records]
    await here.publish([(0, value.replace(b'"input_tokens":100', b'"input_tokens":-1')) for value in good])
    sentinels = Counter[str]()
    assert len((await drained(here, start, sentinels, lanes=1)).dead_letters) == 2_000
    replay = Replayer(here)
    mend = ("--all", "--set", "input_tokens=100")
    first = await replay.start(*mend)
    await lines(first, 150)
    first.send_signal(signal.SIGSTOP)
    try:
        out = await replay.run(*mend)
        assert out[-1].endswith(" done")
    finally:
        first.send_signal(signal.SIGCONT)
    _, told = await first.communicate()
    assert (first.returncode, b"another replay has begun" in told) == (9, True), told
    after = await drained(here, start, sentinels, lanes=1)
    assert nothing_but(after.calls(), sentinels) == events(2_000, lanes=1).calls
    assert len(await read_all(here.bootstrap, here.topic(DEAD_LETTER_REPLAYS))) == 2_000


async def test_what_was_sent_and_not_committed_is_never_seen(install: Install) -> None:
    """A replay that dies between sending and committing, step 3 of service/kafka/replays.py."""
    here = install()
    await create(here, lanes=1)
    kafka = here.settings.kafka
    topics = [here.topic(COST_EVENTS), here.topic(DEAD_LETTER_REPLAYS)]
    write = Write(topics[0], b"k", b"{}", 0, [("h", b"v")])
    async with replaying(kafka, topics) as first:
        producer = first._producer
        await producer.begin_transaction()
        await (await producer.send(topics[0], b"lost", partition=0))
        async with replaying(kafka, topics) as second:
            assert [mark async for mark in marks(kafka)] == []
            await second.commit([write])
        with pytest.raises((ProducerFenced, InvalidProducerEpoch)):
            await producer.commit_transaction()
    (seen,) = await read_all(here.bootstrap, topics[0])
    assert (seen.value, seen.headers) == (b"{}", (("h", b"v"),))


async def test_poison_stops_the_role_which_says_why_and_goes_on_once_the_limit_is_raised(
    install: Install, tmp_path: Path
) -> None:
    here = install()
    await create(here, lanes=1)
    before, after = events(300, lanes=1), events(300, lanes=1, seed=2)
    poison = [(0, b'{"event_id": "p-%d", "model": 4}' % n) for n in range(60)]
    await here.publish(before.records + poison + after.records)
    env = environment(here.bootstrap, here.prefix, TIDEGATE_INGEST__DEAD_LETTER_MAX_STREAK="50")
    with RoleProcess("ingest", env, tmp_path / "ingest.log") as role:
        for _ in range(2):  # an orchestrator starts it again, in vain
            assert await asyncio.to_thread(role.wait, 60) == 4
            said = role.tail().splitlines()[-1]
            assert said.startswith("tidegate: ")
            assert "50 records in a row were refused on partition 0 up to offset 349" in said
            assert "nothing was committed past them" in said
            lag = (await here.lag())[0]
            assert lag >= 360, "committed past the poison"
            assert (await here.outcome()).dead_letters == []
            role.start()
        assert await asyncio.to_thread(role.wait, 60) == 4
    raised = {**env, "TIDEGATE_INGEST__DEAD_LETTER_MAX_STREAK": "100"}
    with RoleProcess("ingest", raised, tmp_path / "raised.log") as role:
        await here.until_read_up()
        assert await asyncio.to_thread(role.stop) == 0
    outcome = await here.outcome()
    assert outcome.calls() == before.calls + after.calls
    assert outcome.cost_nanos() == before.cost_nanos + after.cost_nanos
    assert [letter.origin.offset for letter in outcome.dead_letters] == list(range(300, 360))
