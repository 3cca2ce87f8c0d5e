"""Connections: slow ones, silent ones, too many of them, and how they end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from service.door.post import Post
from service.errors import SettingsError
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import SystemClock
from tests.service.door.support import TOKEN, Topic, at_the_door, event, settings
from tests.support.patience import PATIENCE_S

EVENT = event()
HEAD = (
    b"POST /v1/events HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
)


def whole(body: bytes = EVENT) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ev", HEAD])
async def test_a_connection_without_a_whole_head_is_closed(sent: bytes) -> None:
    async with at_the_door(idle_timeout_s=0.3) as site:
        began = time.monotonic()
        assert await site.raw(sent) == b""
        assert time.monotonic() - began < PATIENCE_S


async def test_a_head_that_drips_is_closed_too() -> None:
    async with at_the_door(idle_timeout_s=0.5) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        began = time.monotonic()
        while not reader.at_eof():
            assert time.monotonic() - began < PATIENCE_S
            writer.write(b"P")
            try:
                async with asyncio.timeout(0.1):
                    await reader.read(1)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        writer.close()


async def test_a_body_that_does_not_come_is_408_and_gives_its_room_back() -> None:
    async with at_the_door(body_timeout_s=0.3, max_body_bytes=2_000, max_in_flight_bytes=2_000) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(HEAD + b"Content-Length: 2000\r\n\r\n" + EVENT)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in answer
        writer.close()
        assert (await site.post(EVENT)).status_code == 202


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with at_the_door(max_body_bytes=2_000, max_in_flight_bytes=2_000) as site:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(HEAD + b"Content-Length: 2000\r\n\r\n" + EVENT)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        await asyncio.sleep(0.1)
        assert (await site.post(b" " * 1_900 + EVENT)).status_code == 202
        assert site.topic.values == [EVENT]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_garbage_is_400_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with at_the_door() as site:
        for garbage in (b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"POST / HTTP/1.1\r\nA B\r\n\r\n",
                        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                        HEAD + b"A: " + b"x" * 20_000 + b"\r\n\r\n"):  # fmt: skip
            answer = await site.raw(garbage)
            assert answer.split(b" ", 2)[1] == b"400", garbage
        assert (await site.post(EVENT)).status_code == 202
    assert "Traceback" not in caplog.text
    assert not caplog.records


async def test_a_chunked_body_that_is_broken_is_400() -> None:
    async with at_the_door() as site:
        answer = await site.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n")
        assert answer.split(b" ", 2)[1] == b"400"
        assert site.topic.events == []


@pytest.mark.parametrize(
    ("head", "first"),
    [
        (HEAD, b"HTTP/1.1 100 Continue"),
        (HEAD.replace(TOKEN.encode(), b"guessed"), b"HTTP/1.1 401 Unauthorized"),
        (HEAD.replace(b"json", b"yaml"), b"HTTP/1.1 415 Unsupported Media Type"),
    ],
)
async def test_who_asks_before_sending_is_told_before_sending(head: bytes, first: bytes) -> None:
    async with at_the_door() as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(EVENT))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readline() == first + b"\r\n"
            if first.endswith(b"Continue"):
                assert await reader.readline() == b"\r\n"
                writer.write(EVENT)
                assert await reader.readline() == b"HTTP/1.1 202 Accepted\r\n"
        writer.close()


async def test_one_connection_too_many_is_turned_away_and_the_others_stay() -> None:
    async with at_the_door(max_connections=2) as site:
        others = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(2)]
        await asyncio.sleep(0.1)
        answer = await site.raw(b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
        reader, writer = others[0]
        writer.write(whole())
        assert await reader.readline() == b"HTTP/1.1 202 Accepted\r\n"
        for _, writer in others:
            writer.close()
        await asyncio.sleep(0.1)
        assert (await site.post(EVENT)).status_code == 202


async def test_closing_answers_what_is_under_way_and_takes_nothing_new() -> None:
    door, topic = settings(), Topic()
    topic.open.clear()
    serving = serve(door, Post(door, Keyring.load(door, "door"), topic).site(), SystemClock())
    port = await serving.__aenter__()
    published = await asyncio.open_connection("127.0.0.1", port)
    published[1].write(whole())
    await topic.until_waiting(1)
    uploading = await asyncio.open_connection("127.0.0.1", port)
    uploading[1].write(whole()[:-10])
    idle = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.1)

    closing = asyncio.create_task(serving.__aexit__(None, None, None))
    await asyncio.sleep(0.1)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    idle[1].write(whole())
    refused = await idle[0].read()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Connection: close" in refused
    assert not closing.done()
    uploading[1].write(whole()[-10:])
    await topic.until_waiting(2)
    topic.open.set()
    for reader, writer in (published, uploading):
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"Connection: close" in answer
        writer.close()
    idle[1].close()
    async with asyncio.timeout(PATIENCE_S):
        await closing
    assert topic.values == [EVENT, EVENT]


async def test_an_address_that_is_taken_is_a_settings_error() -> None:
    async with at_the_door() as site:
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{site.port}"):
            async with at_the_door(port=site.port):
                pass


async def test_it_does_tls_by_itself(tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]  # fmt: skip
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with at_the_door(tls_certfile=str(certificate), tls_keyfile=str(key)) as site:
        trusted = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=trusted) as client:
            answer = await client.post(
                f"https://127.0.0.1:{site.port}/v1/events",
                content=EVENT,
                headers={"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
            )
        assert answer.status_code == 202
        assert await site.raw(whole()) == b"", "plain HTTP is not answered"


async def test_a_certificate_that_cannot_be_read_is_a_settings_error(tmp_path: Path) -> None:
    nothing = str(tmp_path / "none.pem")
    with pytest.raises(SettingsError, match=r"door\.tls_\*: No such file"):
        async with at_the_door(tls_certfile=nothing, tls_keyfile=nothing):
            pass
