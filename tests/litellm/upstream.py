"""A provider on loopback that speaks OpenAI's API, behaves as each call asks it to, and keeps a bill.

What it does is told by the first word of the last message, `<behaviour>-<anything>`, which names the call in the
bill as well:

==============  ======================================================================================
`plain`         answers, in a stream when one is asked for
`slow`          thinks for half a second first: time enough to be left
`long`          a stream of 400 chunks: time enough to leave it
`fails`         500 to the first try
`limits`        429 to the first try
`hangs`         does not answer the first try
`breaks`        500 to `gpt-4o`, always; other models answer
`down`          500, always
`bad`           400, always
`cut`           a stream whose connection ends after three chunks, without usage
==============  ======================================================================================

Any other behaves as `plain`. A token is a word, more or less: what is billed is what was said. Every try that is
begun to be answered is billed as a whole, whether anybody hears the answer or not, as providers may. Usage is
reported at the end of a stream only when `stream_options` ask for it.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

NANOS_PER_TOKEN: Final[Mapping[str, tuple[int, int, int]]] = {
    "gpt-4o": (2_500, 1_250, 10_000),
    "gpt-4o-2024-08-06": (2_500, 1_250, 10_000),
    "gpt-4o-mini": (150, 75, 600),
    "text-embedding-3-small": (20, 20, 0),
}
"""Input, cached input, output: list prices of November 2026, the same in LiteLLM's price list."""
_CHUNK_S: Final = 0.02
_TOKENS_PER_CHUNK: Final = 3
_ERRORS: Final = {
    400: {"error": {"message": "no such thing", "type": "invalid_request_error", "code": None}},
    429: {
        "error": {"message": "too many requests", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
    },
    500: {"error": {"message": "an accident", "type": "server_error", "code": None}},
}


def _chunk(number: int) -> str:
    return f"word {number} "


def _said(chunks: int) -> str:
    return "".join(map(_chunk, range(chunks)))


def _words(said: Any) -> list[str]:
    """Of the input of a response: a text, or messages whose content is a text or parts."""
    if isinstance(said, str):
        return said.split()
    content = said[-1]["content"]
    return content.split() if isinstance(content, str) else content[-1]["text"].split()


@dataclass(slots=True)
class Bill:
    """One try that was answered."""

    call: str
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reported: bool = False
    """Whether the usage was sent. Whoever had left by then did not read it."""

    @property
    def nanos(self) -> int:
        fresh, cached, output = NANOS_PER_TOKEN[self.model]
        uncached = self.input_tokens - self.cached_tokens
        return uncached * fresh + self.cached_tokens * cached + self.output_tokens * output

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.output_tokens // 2},
        }


def _response(bill: Bill, chunks: int) -> dict[str, Any]:
    text = {"type": "output_text", "text": _said(chunks), "annotations": []}
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return {
        "id": "resp_always_the_same",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": bill.model,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": bill.input_tokens,
            "input_tokens_details": {"cached_tokens": bill.cached_tokens},
            "output_tokens": bill.output_tokens,
            "output_tokens_details": {"reasoning_tokens": bill.output_tokens // 2},
            "total_tokens": bill.input_tokens + bill.output_tokens,
        },
    }


class Upstream:
    """In a thread and an event loop of its own, so that what tests do does not hold up an answer."""

    def __init__(self) -> None:
        self.bills: list[Bill] = []
        self.tries: Counter[str] = Counter()
        """Requests, by call: all that came, whatever became of them."""
        self.models: dict[str, list[str]] = {}
        """The models that were asked for, by call."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream")
        self._runner: web.AppRunner | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _serve(self) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/embeddings", self._embeddings)
        # An answer that nobody waits for is given up when its connection closes.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/v1"

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        words = str(asked["messages"][-1]["content"]).split()
        call, model = words[0], str(asked["model"])
        behaviour = call.partition("-")[0]
        status = await self._failure(behaviour, call, model)
        if status:
            return web.json_response(_ERRORS[status], status=status)
        chunks = 400 if behaviour == "long" else random.Random(call).randint(5, 15)
        bill = self._bill(call, model, len(words) + 7, chunks * _TOKENS_PER_CHUNK)
        if behaviour == "slow":
            await asyncio.sleep(0.5)
        if asked.get("stream"):
            wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            return await self._stream(request, bill, chunks, wants_usage, cut=behaviour == "cut")
        answer = {
            "id": "chatcmpl-always-the-same",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _said(chunks)},
                    "finish_reason": "stop",
                }
            ],
            "usage": bill.usage,
        }
        bill.reported = True
        return web.json_response(answer)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's newer interface: usage is always reported, by a stream with its last event."""
        asked = await request.json()
        words = _words(asked["input"])
        call, model = words[0], str(asked["model"])
        behaviour = call.partition("-")[0]
        status = await self._failure(behaviour, call, model)
        if status:
            return web.json_response(_ERRORS[status], status=status)
        chunks = 400 if behaviour == "long" else 10
        bill = self._bill(call, model, len(words) + 7, chunks * _TOKENS_PER_CHUNK)
        if not asked.get("stream"):
            bill.reported = True
            return web.json_response(_response(bill, chunks))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(kind: str, **more: Any) -> None:
            event = json.dumps({"type": kind, "sequence_number": 0, **more})
            await response.write(f"event: {kind}\ndata: {event}\n\n".encode())

        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        await send("response.created", response=_response(bill, 0) | {"status": "in_progress", "usage": None})
        for number in range(chunks):
            await send("response.output_text.delta", **place, delta=_chunk(number))
            await asyncio.sleep(_CHUNK_S)
        await send("response.completed", response=_response(bill, chunks))
        bill.reported = True
        await response.write_eof()
        return response

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        words = str(asked["input"][0]).split()
        call, model = words[0], str(asked["model"])
        self.tries[call] += 1
        self.models.setdefault(call, []).append(model)
        bill = Bill(call, model, len(words), 0, 0, reported=True)
        self.bills.append(bill)
        return web.json_response(
            {
                "object": "list",
                "model": model,
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
                "usage": {"prompt_tokens": bill.input_tokens, "total_tokens": bill.input_tokens},
            }
        )

    async def _failure(self, behaviour: str, call: str, model: str) -> int:
        """The status of an error, or 0."""
        self.tries[call] += 1
        self.models.setdefault(call, []).append(model)
        first = self.tries[call] == 1
        if behaviour == "hangs" and first:
            await asyncio.sleep(3_600)  # until whoever asked goes away
        if behaviour == "down" or (behaviour == "fails" and first):
            return 500
        if behaviour == "breaks" and model != "gpt-4o-mini":
            return 500
        if behaviour == "limits" and first:
            return 429
        return 400 if behaviour == "bad" else 0

    def _bill(self, call: str, model: str, input_tokens: int, output_tokens: int) -> Bill:
        cached = random.Random(f"{call}/{self.tries[call]}").randint(0, input_tokens)
        bill = Bill(call, model, input_tokens, cached, output_tokens)
        self.bills.append(bill)
        return bill

    async def _stream(
        self, request: web.Request, bill: Bill, chunks: int, wants_usage: bool, *, cut: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(choices: list[dict[str, Any]], **more: Any) -> None:
            chunk = {
                "id": "chatcmpl-always-the-same",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": bill.model,
                "choices": choices,
                **more,
            }
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        for number in range(chunks):
            if cut and number == 3:
                assert request.transport is not None
                request.transport.close()
                return response
            # Each its own words: LiteLLM takes a hundred equal chunks for a model gone mad, and ends the stream.
            delta = {"role": "assistant", "content": _chunk(number)}
            await send([{"index": 0, "delta": delta, "finish_reason": None}])
            await asyncio.sleep(_CHUNK_S)
        await send([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if wants_usage:
            await send([], usage=bill.usage)
            bill.reported = True
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response
