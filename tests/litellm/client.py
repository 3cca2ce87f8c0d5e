"""The real `openai` client, as a program for an interpreter that has it: asks what it reads, tells what it got.

`python -m tests.litellm.client BASE_URL`. Reads one JSON object a line, makes each call at once, and writes a
line for each, in the order in which they end::

    {"call": "plain-1", "kind": "chat" | "stream" | "embedding", "model": "gpt-4o", "words": 100, "metadata": {…},
     "include_usage": false, "leave_after_chunks": null, "leave_after_s": null}

    {"call": "plain-1", "outcome": "ok" | "left" | "<status>" | "<error>", "error": body or null,
     "model": what answered, "requests": how many the client sent}

The client is as it comes: it repeats by itself what it takes for worth it. Ends at the end of its input.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
from typing import Any

import httpx
import openai

_requests: contextvars.ContextVar[list[str]] = contextvars.ContextVar("_requests")


async def _count(request: httpx.Request) -> None:
    _requests.get().append(str(request.url))


async def _ask(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> str | None:
    """Returns the model that answered. Raises what the client raises, and TimeoutError when it was left."""
    common = {"model": asked["model"], "extra_body": {"metadata": asked["metadata"]}}
    prompt = asked["call"] + " word" * asked["words"]
    if asked["kind"] == "embedding":
        return str((await client.embeddings.create(input=[prompt], **common)).model)
    common["messages"] = [{"role": "user", "content": prompt}]
    if asked["kind"] == "chat":
        return str((await client.chat.completions.create(**common)).model)
    if asked.get("include_usage"):
        common["stream_options"] = {"include_usage": True}
    stream = await client.chat.completions.create(stream=True, **common)
    model, chunks = None, 0
    async for chunk in stream:
        model, chunks = chunk.model, chunks + 1
        if chunks == asked.get("leave_after_chunks"):
            await stream.close()
            raise TimeoutError
    return model


async def _one(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> None:
    _requests.set([])
    told: dict[str, Any] = {"call": asked["call"], "error": None, "model": None}
    try:
        async with asyncio.timeout(asked.get("leave_after_s")):
            told["model"] = await _ask(client, asked)
        told["outcome"] = "ok"
    except TimeoutError:
        told["outcome"] = "left"
    except openai.APIStatusError as error:
        told |= {"outcome": str(error.status_code), "error": error.body}
    except (openai.OpenAIError, httpx.HTTPError) as error:
        told |= {"outcome": type(error).__name__, "error": str(error)}
    told["requests"] = len(_requests.get())
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def main(base_url: str) -> None:
    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [_count]})
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with (
        openai.AsyncOpenAI(base_url=base_url, api_key="sk-master", http_client=http, timeout=120) as client,
        asyncio.TaskGroup() as calls,
    ):
        while line := await reader.readline():
            calls.create_task(_one(client, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
