"""The roles with an HTTP port: who may ask them, and how much at a time."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from service.settings.section import Name, Seconds, Section


class BearerToken(Section):
    """One bearer token. Several may be valid at once, so that they can be rotated and told apart."""

    token: SecretStr | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        if self.token is None and self.token_file is None:
            raise ValueError("give token or token_file")
        return self


class HttpSettings(Section):
    """What every role with an HTTP port of its own has."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """0 asks the kernel for a free one."""
    tokens: Mapping[Name, BearerToken] = {}
    allow_anonymous: bool = False
    """No token is asked for; only on loopback."""
    tls_certfile: Path | None = None
    tls_keyfile: Path | None = None
    max_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 4_194_304
    """Of one request, as sent and unpacked."""
    max_in_flight_bytes: Annotated[int, Field(ge=1_024, le=4_294_967_296)] = 16_777_216
    """Of all requests that are not answered yet, unpacked; beyond, the answer is 429. Memory grows by three to
    four times as much."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 500
    idle_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """A connection that has not sent a whole head for so long is closed."""
    body_timeout_s: Annotated[float, Field(gt=0, le=600)] = 15.0

    @property
    def configured(self) -> bool:
        """Whether somebody may come in; else the role refuses to start, and `tidegate up` leaves it out."""
        return bool(self.tokens) or self.allow_anonymous

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.allow_anonymous and self.tokens:
            raise ValueError("give tokens or allow_anonymous, not both")
        if self.allow_anonymous and not self.on_loopback:
            raise ValueError(f"allow_anonymous is for loopback only, and host is {self.host}")
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile go together")
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise ValueError("max_in_flight_bytes must not be below max_body_bytes")
        return self


class DoorSettings(HttpSettings):
    port: Annotated[int, Field(ge=0, le=65_535)] = 8484
    tokens: dict[Name, BearerToken] = {}
    """By the name that metrics and the records' header `tidegate-door` use."""
    max_batch_events: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    ack_timeout_s: Annotated[float, Field(gt=0, le=25)] = 10.0
    """The broker has not gone on for so long: 503, and the client tries again."""


DecisionScope = Literal["decide", "settle", "snapshot"]


def _words(value: object) -> object:
    """As OAuth writes scopes, so that a variable can hold them: words with spaces between."""
    return value.split() if isinstance(value, str) else value


class DecisionToken(BearerToken):
    scopes: Annotated[frozenset[DecisionScope], BeforeValidator(_words), Field(min_length=1)] = frozenset(
        {"decide", "settle"}
    )
    """What it allows. `snapshot` shows every limit and budget there is, so it has to be asked for."""


class DecisionsSettings(HttpSettings):
    port: Annotated[int, Field(ge=0, le=65_535)] = 8485
    tokens: dict[Name, DecisionToken] = {}
    """By the name that metrics use."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 1_048_576
    idle_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 120.0
    """A pool's connection should be closed by the client: a call must not meet the server's closing."""
    max_waiting: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Requests that wait for a change of the snapshot; one more is answered 429. Each has a connection."""
    max_tickets: Annotated[int, Field(ge=1, le=10_000_000)] = 200_000
    """Calls under way that budgets count; with one more the oldest is forgotten. Some 500 bytes each."""
    remember_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    """How long an answer is remembered for a question with a `call_id` that comes again."""
    max_remembered: Annotated[int, Field(ge=1, le=10_000_000)] = 120_000
    """Such answers; with one more the oldest is forgotten. Some 600 bytes each: 60 s at 2,000 calls a second."""
    gateway: Name | None = None
    """What acknowledgements of commands name as the gateway; None: `decisions-` and the host's name."""
    enforce: bool = True
    """False lets every call pass, and goes on counting."""
    on_stale: Literal["open", "closed"] = "open"
    """What happens to calls when the broker has not been heard of for stale_after_s."""
    stale_after_s: Seconds = 30.0
    processes: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How many processes share the traffic of the same limits, the gateways that embed the library included."""
    max_delay_s: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    """A slowed call that would have to wait longer is rejected."""
    reservation_s: Seconds = 900.0
    """What is held for a call that nobody settles is given up after so long."""
    exempt_workflows: frozenset[Name] = frozenset()
    """Never throttled; their spend counts."""

    @model_validator(mode="after")
    def _room_for_decisions(self) -> Self:
        if self.max_waiting >= self.max_connections:
            raise ValueError("max_waiting must be below max_connections")
        return self


class SigningSecret(Section):
    """A secret that a vendor signs its requests with. Several may be valid, so that they can be rotated."""

    signing_secret: SecretStr | None = None
    signing_secret_file: Path | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        if self.signing_secret is None and self.signing_secret_file is None:
            raise ValueError("give signing_secret or signing_secret_file")
        return self


class CallbacksSettings(HttpSettings):
    port: Annotated[int, Field(ge=0, le=65_535)] = 8486
    slack: dict[Name, SigningSecret] = {}
    """Signing secrets of Slack apps, by a name that metrics use."""
    slack_users: frozenset[Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,30}$")]] = frozenset()
    """Ids of those whose buttons do something; empty: everybody's who sees the message."""
    slack_hooks: Annotated[str, Field(pattern=r"^https?://[^/]+/$")] = "https://hooks.slack.com/"
    """Where answers to a press may be sent to: what a request's `response_url` must begin with."""
    pagerduty: dict[Name, SigningSecret] = {}
    """Secrets of PagerDuty webhook subscriptions, by a name that metrics use."""
    max_body_bytes: Annotated[int, Field(ge=1_024, le=67_108_864)] = 1_048_576
    answer_within_s: Annotated[float, Field(gt=0, le=2.9)] = 2.0
    """Slack shows an error after three seconds: by then it is answered, and what is not written yet goes on."""

    @property
    def configured(self) -> bool:
        return bool(self.slack or self.pagerduty)

    @model_validator(mode="after")
    def _signed_only(self) -> Self:
        if self.tokens or self.allow_anonymous:
            raise ValueError(
                "requests are signed by who sends them: there are no tokens, and nobody is anonymous"
            )
        return self
