"""What a client is answered, over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.schemas.events import padded
from tests.service.door.support import OTHER, TOKEN, at_the_door, event, ndjson

EVENT = event()
JSON = "application/json"
BAD = event("bad", input_tokens=-1)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(
    ("content", "content_type", "published"),
    [
        (EVENT, JSON, [EVENT]),
        (b" " + EVENT + b"\n", "application/json; charset=UTF-8", [EVENT]),
        (b"[" + event("a") + b", " + event("b") + b"]", JSON, [event("a"), event("b")]),
        (ndjson(event("a"), event("b")), "application/x-ndjson", [event("a"), event("b")]),
        (EVENT + b"\r\n\r\n" + EVENT, "Application/NDJSON", [EVENT, EVENT]),
    ],
)
async def test_202_says_how_many_events_are_on_the_topic_as_they_came(
    content: bytes, content_type: str, published: list[bytes]
) -> None:
    async with at_the_door() as site:
        answer = await site.post(content, content_type)
        assert (answer.status_code, answer.json()) == (202, {"accepted": len(published)})
        assert answer.headers["content-type"] == JSON
        assert site.topic.values == published


async def test_nothing_is_accepted_before_it_is_acknowledged() -> None:
    async with at_the_door() as site:
        site.topic.open.clear()
        asking = asyncio.create_task(site.post(EVENT, JSON))
        await site.topic.until_waiting(1)
        await asyncio.sleep(0.2)
        assert not asking.done()
        site.topic.open.set()
        assert (await asking).status_code == 202


async def test_the_token_says_who_published() -> None:
    before = count("tidegate_door_events_total", token="old")
    async with at_the_door() as site:
        await site.post(EVENT, token=TOKEN)
        await site.post(ndjson(EVENT, EVENT), token=OTHER)
        assert [token for _, token in site.topic.events] == ["new", "old", "old"]
    assert count("tidegate_door_events_total", token="old") == before + 2


@pytest.mark.parametrize(
    ("content", "how", "status", "problem"),
    [
        (EVENT, {"token": None}, 401, "unauthorized"),
        (EVENT, {"token": "guessed"}, 401, "unauthorized"),
        (BAD, {"token": None, "content_type": None}, 401, "unauthorized"),
        (EVENT, {"content_type": None}, 415, "unsupported"),
        (EVENT, {"content_type": "text/plain"}, 415, "unsupported"),
        (EVENT, {"content_type": "application/json; charset=latin-1"}, 415, "unsupported"),
        (EVENT, {"content_encoding": "zstd"}, 415, "unsupported"),
        (EVENT, {"content_encoding": "gzip, gzip"}, 415, "unsupported"),
        (EVENT, {"query": "?partial=yes"}, 400, "bad-request"),
        (EVENT, {"query": "?partal=true"}, 400, "bad-request"),
        (EVENT, {"query": "?partial=true&partial=false"}, 400, "bad-request"),
        (b"", {}, 400, "bad-request"),
        (b"\n\n", {}, 400, "bad-request"),
        (b"[]", {"content_type": JSON}, 400, "bad-request"),
        (EVENT, {"content_encoding": "gzip"}, 400, "bad-request"),
        (gzip.compress(EVENT, mtime=0)[:-4], {"content_encoding": "gzip"}, 400, "bad-request"),
        (b"x" * 3_000, {}, 413, "too-large"),
        (gzip.compress(b" " * 3_000, mtime=0), {"content_encoding": "gzip"}, 413, "too-large"),
        (b"1\n" * 6, {}, 413, "too-large"),
        (BAD, {}, 422, "invalid-events"),
        (b'{"a":', {"content_type": JSON}, 422, "invalid-events"),
    ],
)
async def test_a_request_that_is_not_done_says_why_and_publishes_nothing(
    content: bytes, how: dict[str, Any], status: int, problem: str
) -> None:
    before = count("tidegate_door_requests_total", status=str(status))
    async with at_the_door(max_body_bytes=2_000, max_batch_events=5) as site:
        answer = await site.post(content, **how)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told.items() >= {"type": f"urn:tidegate:door:{problem}", "status": status}.items()
        assert {"title", "detail"} <= told.keys()
        assert site.topic.events == []
        wanted = {
            401: "www-authenticate",
            415: "accept-post" if "content_encoding" not in how else "accept-encoding",
        }
        assert status not in wanted or wanted[status] in answer.headers
        # … and the connection or the next one goes on as if nothing had been.
        assert (await site.post(EVENT)).status_code == 202
    assert count("tidegate_door_requests_total", status=str(status)) == before + 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/events", 405), ("PUT", "/v1/events", 405), ("OPTIONS", "/v1/events", 405), ("POST", "/", 404),
     ("POST", "/v1/events/", 404), ("GET", "/metrics", 404)],
)  # fmt: skip
async def test_there_is_one_door(method: str, path: str, status: int) -> None:
    async with at_the_door() as site:
        answer = await site.client.request(method, path, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers.get("allow") == ("POST" if status == 405 else None)


async def test_one_bad_event_keeps_the_batch_out_and_each_bad_one_is_told() -> None:
    body = ndjson(event("good"), b"", BAD, event("x" * 201), b"\xff")
    async with at_the_door() as site:
        answer = await site.post(body)
        assert answer.status_code == 422
        told = answer.json()
        assert told["accepted"] == 0
        assert [(r["line"], r["event_id"], r["reason"], r["path"]) for r in told["rejected"]] == [
            (3, "bad", "negative", "input_tokens"),
            (4, None, "too_long", "event_id"),
            (5, None, "invalid_utf8", ""),
        ]
        assert site.topic.events == []
        assert (await site.post(body, query="?partial=false")).status_code == 422


async def test_with_partial_the_good_ones_come_in_and_the_others_are_told() -> None:
    before = count("tidegate_door_refused_total", reason="negative")
    async with at_the_door() as site:
        answer = await site.post(ndjson(event("a"), BAD, event("b")), query="?partial=true")
        assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
        assert [(r["line"], r["event_id"], r["reason"]) for r in answer.json()["rejected"]] == [
            (2, "bad", "negative")
        ]
        assert site.topic.values == [event("a"), event("b")]
        answer = await site.post(EVENT, query="?partial=true")
        assert answer.json() == {"accepted": 1, "rejected": []}
        assert (await site.post(BAD, query="?partial=true")).status_code == 422
    assert count("tidegate_door_refused_total", reason="negative") == before + 2


async def test_gzip_is_unpacked_and_what_is_published_is_what_was_packed() -> None:
    events = [event(f"e-{i}") for i in range(500)]
    async with at_the_door() as site:
        answer = await site.post(gzip.compress(ndjson(*events)), content_encoding="GZIP")
        assert answer.json() == {"accepted": 500}
        assert site.topic.values == events


async def test_a_body_without_a_length_is_read_and_bounded_all_the_same() -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for i in range(count):
            yield event(f"e-{i}") + b"\n"

    async with at_the_door(max_body_bytes=2_000) as site:
        assert (await site.post(pieces(10))).json() == {"accepted": 10}
        assert (await site.post(pieces(1_000))).status_code == 413
        assert len(site.topic.events) == 10


async def test_an_event_beyond_its_own_bound_is_one_bad_line() -> None:
    async with at_the_door() as site:
        answer = await site.post(ndjson(EVENT, padded(65_537), padded(65_536)), query="?partial=true")
        assert answer.json()["accepted"] == 2
        assert [(r["line"], r["reason"]) for r in answer.json()["rejected"]] == [(2, "too_large")]


async def test_a_broker_that_is_away_is_503_and_the_client_is_told_to_come_again() -> None:
    async with at_the_door() as site:
        site.topic.away = True
        answer = await site.post(EVENT)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["type"] == "urn:tidegate:door:unavailable"
        site.topic.away = False
        assert (await site.post(EVENT)).status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_does_not_fit_into_memory_is_429_until_there_is_room(chunked: bool) -> None:
    body = b" " * 9_000 + EVENT

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    def content() -> Any:
        return pieces() if chunked else body

    async with at_the_door(max_body_bytes=10_000, max_in_flight_bytes=20_000) as site:
        site.topic.open.clear()
        first = [asyncio.create_task(site.post(content())) for _ in range(2)]
        await site.topic.until_waiting(2)
        assert count("tidegate_door_in_flight_bytes") == 2 * len(body)
        answer = await site.post(content())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        site.topic.open.set()
        assert {(await task).status_code for task in first} == {202}
        assert count("tidegate_door_in_flight_bytes") == 0
        assert (await site.post(content())).status_code == 202


async def test_a_bug_is_500_without_its_innards(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_the_door() as site:

        async def broken(*_: Any) -> None:
            raise ValueError("innards")

        monkeypatch.setattr(site.topic, "publish", broken)
        with caplog.at_level(logging.ERROR):
            answer = await site.post(EVENT)
        assert answer.status_code == 500
        assert "innards" not in answer.text
        assert "innards" in caplog.text


async def test_an_anonymous_door_asks_for_nothing() -> None:
    async with at_the_door(tokens={}, allow_anonymous=True) as site:
        assert (await site.post(EVENT, token=None)).status_code == 202
        assert [token for _, token in site.topic.events] == ["anonymous"]


async def test_answers_say_neither_which_python_nor_which_server() -> None:
    async with at_the_door() as site:
        for answer in (await site.post(EVENT), await site.post(b"x"), await site.client.get("/")):
            assert answer.headers["server"] == "tidegate"
            assert json.loads(answer.content)
