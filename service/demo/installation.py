"""The demo's installation: settings file, topics, config records, roles as processes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.demo.children import Child
from service.demo.control import control_records
from service.demo.receivers import LocalReceivers
from service.errors import RoleDied
from service.kafka.admin import create_topics
from service.kafka.config_topic import publish
from service.kafka.embedded.broker import free_port
from service.kafka.embedded.topics import create_state_topic
from service.rules.config import control_key
from service.settings import ROLES, Role, Settings

_READY_S: Final = 60.0
_GRACE_S: Final = 15.0
_IDLE_S: Final = 1.0
"""A partition that none of the demo's workflows falls into must be known to be idle before the past is published.

Until then time stands still for detect, which gives up judging and learning from what is twenty minutes ahead of
it. With the default of ten seconds a fast machine has published hours by then, and nothing of them is learnt.
"""


def settings_document(bootstrap: str, receivers: LocalReceivers) -> dict[str, Any]:
    """What the demo sets; everything else is Tidegate's default."""
    return {
        "kafka": {"bootstrap_servers": bootstrap},
        "ingest": {"idle_timeout_s": _IDLE_S},
        "notify": {
            "receivers": {
                "slack": {"type": "slack", "webhook_url": receivers.slack_url},
                "pagerduty": {
                    "type": "pagerduty",
                    "routing_key": receivers.routing_key,
                    "base_url": receivers.base_url,
                },
                "webhook": {
                    "type": "webhook",
                    "url": receivers.webhook_url,
                    "hmac_secret": receivers.hmac_secret,
                },
            }
        },
        "health": {f"{role}_port": free_port() for role in ROLES},
    }


def as_toml(document: Mapping[str, Any], table: str = "") -> str:
    """Nested tables of strings and numbers as TOML."""
    plain = {k: v for k, v in document.items() if not isinstance(v, Mapping)}
    # A JSON string without control characters is a TOML basic string.
    lines = [f"[{table}]"] if table and plain else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in document.items():
        if isinstance(value, Mapping):
            text += as_toml(value, f"{table}.{key}" if table else key)
    return text


class Installation:
    """Tidegate as processes on one embedded broker.

    Parameters
    ----------
    folder : Path
        For the settings file and the logs; whoever made it removes it.
    """

    def __init__(self, folder: Path, bootstrap: str, receivers: LocalReceivers) -> None:
        document = settings_document(bootstrap, receivers)
        self._folder = folder
        file = folder / "tidegate.toml"
        file.touch(mode=0o600)
        file.write_text(as_toml(document), encoding="utf-8")
        # The settings of the user's own installation must not leak into the demo's.
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")} | {
            "TIDEGATE_CONFIG_FILE": str(file),
            "PYTHONUNBUFFERED": "1",
        }
        self.settings = Settings.load(file, {})
        self.roles: dict[Role, Child] = {}

    async def prepare(self) -> int:
        """Topics and config records. Returns the number of topics. Raises BrokerUnavailable."""
        await create_state_topic(self.settings)
        topics = await create_topics(self.settings)
        records = {control_key(record): record.to_json() for record in control_records()}
        await publish(self.settings.kafka, records)
        return len(topics)

    async def start_roles(self, ready: Callable[[Role], None]) -> None:
        """Start every role and wait until each says it is ready; `ready` is told of each.

        Raises
        ------
        RoleDied
            One ended, or did not become ready in time.
        """
        for role in ROLES:
            self.roles[role] = self.child(role, ["-m", "service.demo.role", role])
            await self.roles[role].start()
        async with httpx.AsyncClient(timeout=5.0) as client, asyncio.TaskGroup() as group:
            for role in ROLES:
                group.create_task(self._until_ready(client, role, ready))

    async def detect_lag(self) -> int:
        """Records of the rollups topic that detect has not judged, as it says itself. Raises RoleDied."""
        url = f"http://127.0.0.1:{self.settings.health.port_of('detect')}/metrics"
        try:
            async with httpx.AsyncClient(timeout=_READY_S) as client:
                answer = await client.get(url)
        except httpx.TransportError as error:
            self.roles["detect"].check()
            raise RoleDied(f"detect does not say how far it is: {error!r}") from error
        families = text_string_to_metric_families(answer.text)
        lags = (family for family in families if family.name == "tidegate_detect_lag_records")
        return sum(int(sample.value) for family in lags for sample in family.samples)

    def child(self, name: str, command: list[str], *, talks: bool = False) -> Child:
        """A process with this installation's settings."""
        return Child(name, command, self._environ, self._folder / f"{name}.log", talks=talks)

    async def stop(self) -> None:
        """Stop the roles that run, all at once."""
        for child in self.roles.values():
            child.terminate()
        ends: list[Awaitable[int | None]] = [child.ended(_GRACE_S) for child in self.roles.values()]
        await asyncio.gather(*ends)

    async def _until_ready(
        self, client: httpx.AsyncClient, role: Role, ready: Callable[[Role], None]
    ) -> None:
        child, port = self.roles[role], self.settings.health.port_of(role)
        said = "nothing"
        try:
            async with asyncio.timeout(_READY_S):
                while True:
                    child.check()
                    try:
                        answer = await client.get(f"http://127.0.0.1:{port}/readyz")
                        if answer.status_code == httpx.codes.OK:
                            break
                        said = answer.text.strip()
                    except httpx.TransportError as error:
                        said = repr(error)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise RoleDied(
                f"{role} is not ready after {_READY_S:g} s: {said}; its last lines:\n{child.tail()}"
            ) from None
        ready(role)
