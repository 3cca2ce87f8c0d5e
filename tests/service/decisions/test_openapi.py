"""The OpenAPI document: it is what is served, and what it says is true of every request that it allows."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from jsonschema import Draft202012Validator
from schemathesis import Case

from service.decisions.openapi import FILE, document, text
from service.decisions.question import Questions, Settlements, read
from tests.gateway.records import command, snapshot
from tests.service.decisions.support import TOKEN, Here, open_api
from tests.support.patience import PATIENCE_S

schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def api() -> Iterator[Here]:
    """An API with limits in force, on a loop of its own: schemathesis waits for answers."""
    opened: list[Here] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with open_api() as here:
            here.gate.obey(command(1))
            here.gate.take(snapshot(1, reserve=10))
            opened.append(here)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    yield opened[0]
    done.set()
    thread.join()


@schema.parametrize()
@settings(max_examples=20, deadline=None)
def test_every_request_gets_an_answer_that_the_document_knows(api: Here, case: Case[Any]) -> None:
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{api.port}", headers={"Authorization": f"Bearer {TOKEN}"}
    )


def test_the_file_is_what_the_types_say() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run `make schemas`"


async def test_the_file_is_what_is_served() -> None:
    async with open_api() as here:
        answer = await here.client.get("/v1/openapi.json", headers={"authorization": ""})
        assert answer.content == FILE.read_bytes()


def test_its_examples_are_valid() -> None:
    found = document()
    for path, kind in (("/v1/decisions", Questions), ("/v1/settlements", Settlements)):
        operation = found["paths"][path]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        read(kind, json.dumps(content["example"]).encode())
    for operations in found["paths"].values():
        for operation in operations.values():
            content = operation["responses"]["200"]["content"]["application/json"]
            if "example" in content:
                whole = {**content["schema"], "components": found["components"]}
                Draft202012Validator(whole).validate(content["example"])
