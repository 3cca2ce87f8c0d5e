"""What an installation sets and a restart changes: addresses, groups, limits, receivers.

Read by `Settings.load` from the environment (`TIDEGATE_KAFKA__BOOTSTRAP_SERVERS=…`, which wins) and from a
TOML file (`[kafka] bootstrap_servers = …`); `deploy/tidegate.example.toml` is a commented tour.
`Settings(...)` itself reads nothing, so that tests get what they ask for. Every secret has a
`…_file` twin, read at use.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.alerts import Severity
from schemas.topics import Topic
from service.errors import SettingsError
from service.runtime.logs import hide

Role = Literal[
    "ingest", "detect", "notify", "budgets", "throttles", "outcomes", "door", "decisions", "callbacks"
]
ROLES: Final[tuple[Role, ...]] = ("ingest", "detect", "notify", "budgets", "throttles", "outcomes")
"""What every installation runs. The door and decisions are for those whose gateways have no Kafka, callbacks for
those who answer alerts in Slack or PagerDuty."""

_MIN_SECRET: Final = 32
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=-1, le=65_535)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def secret(self, name: str) -> str | None:
        """The secret `name`, or the stripped content of the file that `name_file` points to.

        Raises
        ------
        SettingsError
            The file cannot be read, or is empty.
        """
        value: SecretStr | None = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        if path is None:
            return None if value is None else hide(value.get_secret_value())
        try:
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError(f"{name}_file: cannot read {path}: {why}") from None
        if not content:
            raise SettingsError(f"{name}_file: {path} is empty")
        return hide(content)

    @model_validator(mode="after")
    def _secret_given_once(self) -> Self:
        for name in type(self).model_fields:
            twin = f"{name}_file"
            if twin in type(self).model_fields and getattr(self, name) is not None and getattr(self, twin):
                raise ValueError(f"give {name} or {twin}, not both")
        return self


class ConfigKey(Section):
    """A key that records of the config topic are signed with. Several may be valid, so that they can be rotated."""

    hmac_secret: SecretStr | None = None
    hmac_secret_file: Path | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        if self.hmac_secret is None and self.hmac_secret_file is None:
            raise ValueError("give hmac_secret or hmac_secret_file")
        return self


class KafkaSettings(Section):
    bootstrap_servers: Annotated[str, Field(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")] = "localhost:9092"
    topic_prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{0,100}$")] = "tidegate."
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Of the topics that carry volume. Raising it later moves workflows to other partitions."""
    replication_factor: Annotated[int, Field(ge=1, le=32)] = 1
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    """A worker that sent no heartbeat for so long is dead, and others take its partitions. Brokers commonly
    allow 6 to 300."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    config_keys: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")], ConfigKey] = {}
    """By id. With any, records of the config topic that none of them has signed are refused."""
    config_sign_with: Name | None = None
    """The id that `tidegate config` signs with; None: the only one there is."""

    @model_validator(mode="after")
    def _signs_with_one_of_its_keys(self) -> Self:
        if self.config_sign_with is not None and self.config_sign_with not in self.config_keys:
            raise ValueError("config_sign_with is none of config_keys")
        return self

    def config_secrets(self) -> dict[str, bytes]:
        """The secrets of `config_keys` by id. Raises SettingsError: one cannot be read, or is short."""
        found = {}
        for key_id, key in self.config_keys.items():
            secret = (key.secret("hmac_secret") or "").encode()
            if len(secret) < _MIN_SECRET:
                raise SettingsError(f"kafka.config_keys.{key_id}: a secret has at least {_MIN_SECRET} bytes")
            found[key_id] = secret
        return found

    def config_signer(self) -> tuple[str, bytes] | None:
        """Id and secret to sign with; None: records are not signed here. Raises SettingsError."""
        secrets = self.config_secrets()
        if not secrets:
            return None
        if self.config_sign_with is None and len(secrets) > 1:
            raise SettingsError("kafka.config_sign_with: which of config_keys signs must be said")
        key_id = self.config_sign_with or next(iter(secrets))
        return key_id, secrets[key_id]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL_"):
            if not self.sasl_username:
                raise ValueError(f"{self.security_protocol} needs sasl_username")
            if self.sasl_password is None and self.sasl_password_file is None:
                raise ValueError(f"{self.security_protocol} needs sasl_password or sasl_password_file")
        elif self.sasl_username or self.sasl_password or self.sasl_password_file:
            raise ValueError(f"SASL credentials are given but security_protocol is {self.security_protocol}")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        if not self.security_protocol.endswith("SSL") and (self.ssl_cafile or self.ssl_certfile):
            raise ValueError(f"ssl_* files are given but security_protocol is {self.security_protocol}")
        return self

    def topic(self, topic: Topic) -> str:
        """The topic's name on the broker."""
        return f"{self.topic_prefix}{topic.name}"

    def security(self) -> dict[str, Any]:
        """Keyword arguments of any Kafka client: protocol, credentials, TLS. Raises SettingsError."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL_"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.secret("sasl_password")
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password=_refuse_to_prompt)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"kafka.ssl_*: {error.strerror or error}") from None
        return context


def _refuse_to_prompt() -> str:
    raise SettingsError("kafka.ssl_keyfile: an encrypted key is not supported, decrypt it at deploy time")


class IngestSettings(Section):
    group_id: Name = "tidegate-ingest"
    adapter: Literal["tidegate", "litellm", "otlp", "cloudevents", "focus"] = "tidegate"
    """Format of records that name none in their headers: our own, or the adapter that turns them into it."""
    allowed_lateness_s: Annotated[float, Field(ge=0, le=3_600)] = 5.0
    idle_timeout_s: Seconds = 10.0
    """A partition silent for so long stops holding the others' watermark back."""
    future_allowance_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """An event later than the broker's time by more is refused: one bad clock must not move all time."""
    commit_interval_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    max_batch_records: Annotated[int, Field(ge=1, le=100_000)] = 50_000
    """Of one partition in one transaction. Reached only when there is a backlog."""
    dedup_offsets: Annotated[int, Field(ge=0, le=100_000_000)] = 500_000
    """How far back, in offsets of a partition, a second event with the same id is recognised. Costs 15 bytes each,
    and so many are read again, 5 µs each, when a partition changes hands."""
    dead_letter_max_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    dead_letter_ratio_window: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    dead_letter_max_streak: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    transaction_max_age_s: Annotated[float, Field(ge=1, le=50)] = 30.0


class DetectSettings(Section):
    app_id: Name = "tidegate-detect"
    commit_lag_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    state_soft_bytes: Annotated[int, Field(ge=1_024, le=1_000_000)] = 16_384
    state_hard_bytes: Annotated[int, Field(ge=1_024, le=1_000_000)] = 65_536

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.state_soft_bytes > self.state_hard_bytes:
            raise ValueError("state_soft_bytes must not exceed state_hard_bytes")
        return self


class Receiver(Section):
    """What every receiver has: the least severity it wants, and how long one attempt may take."""

    min_severity: Severity = "info"
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0

    @model_validator(mode="after")
    def _has_its_secret(self) -> Self:
        for name in ("webhook_url", "routing_key", "bot_token"):
            has_it = name in type(self).model_fields
            if has_it and getattr(self, name) is None and getattr(self, f"{name}_file") is None:
                raise ValueError(f"give {name} or {name}_file")
        return self


class SlackReceiver(Receiver):
    type: Literal["slack"] = "slack"
    webhook_url: SecretStr | None = None
    webhook_url_file: Path | None = None


class PagerDutyReceiver(Receiver):
    type: Literal["pagerduty"] = "pagerduty"
    routing_key: SecretStr | None = None
    routing_key_file: Path | None = None
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://events.pagerduty.com"


class WebhookReceiver(Receiver):
    type: Literal["webhook"] = "webhook"
    url: Annotated[str, Field(pattern=r"^https?://")]
    hmac_secret: SecretStr | None = None
    hmac_secret_file: Path | None = None


class SlackBotReceiver(Receiver):
    """An app of Slack with a bot token: one message for each incident, kept up to date, with a thread."""

    type: Literal["slack_bot"] = "slack_bot"
    bot_token: SecretStr | None = None
    bot_token_file: Path | None = None
    channel: Annotated[str, Field(pattern=r"^[#A-Za-z0-9._-]{1,80}$")]
    """A channel's id, such as `C024BE91L`: a name works until somebody changes it."""
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://slack.com/api"
    buttons: bool = True
    """False where no `tidegate callbacks` runs: a button that nobody answers is worse than none."""


Address = Annotated[str, Field(pattern=r"^[^\s@<>,;:\"\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]{1,190}$")]


class EmailReceiver(Receiver):
    type: Literal["email"] = "email"
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """tls: from the first byte, as on port 465; none: only for a server on this machine or in its network."""
    ca_file: Path | None = None
    """Who signed the server's certificate, where the system's own authorities did not."""
    username: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    sender: Address
    to: Annotated[list[Address], Field(min_length=1, max_length=50)]
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 30.0

    @model_validator(mode="after")
    def _log_in_safely(self) -> Self:
        has_password = self.password is not None or self.password_file is not None
        if has_password != (self.username is not None):
            raise ValueError("username and password go together")
        if has_password and self.security == "none":
            raise ValueError("a password is not sent in the clear: security must be starttls or tls")
        return self


class AlertmanagerReceiver(Receiver):
    type: Literal["alertmanager"] = "alertmanager"
    urls: Annotated[list[Annotated[str, Field(pattern=r"^https?://")]], Field(min_length=1, max_length=10)]
    """Of every Alertmanager of one cluster, without `/api/v2`: each is told, as Prometheus does."""
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    resend_s: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """What still fires is said again after so long, and ends by itself when that has not been for four times as
    long: an Alertmanager that is restarted has forgotten its alerts."""


ReceiverSettings = Annotated[
    SlackReceiver
    | SlackBotReceiver
    | PagerDutyReceiver
    | WebhookReceiver
    | EmailReceiver
    | AlertmanagerReceiver,
    Field(discriminator="type"),
]


class NotifySettings(Section):
    group_id: Name = "tidegate-notify"
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Of one notification to one receiver, about 45 minutes at the defaults; then it is parked on a topic, never
    dropped. A resolved alert is said once, so an outage of the vendor must fit in here."""
    backoff_initial_s: Seconds = 1.0
    backoff_max_s: Seconds = 60.0
    group_wait_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """A new incident waits so long for what belongs to it. Route records may say otherwise, as of all five."""
    page_wait_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """… if it is critical: at once."""
    group_interval_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """What changes within an incident is told no sooner after the last time."""
    page_interval_s: Annotated[float, Field(ge=0, le=86_400)] = 15.0
    """… if it is critical, or the incident is over."""
    repeat_interval_s: Annotated[float, Field(ge=1, le=604_800)] = 14_400.0
    """How often a receiver is reminded of an incident that still fires and that nobody took."""
    link: Annotated[str, Field(pattern=r"^https?://", max_length=500)] | None = None
    """Where people read more about an incident; `{fingerprint}` and `{workflow}` are filled in."""
    receivers: dict[Name, ReceiverSettings] = {}
    """By the name that routes use. An alert that no route matches goes to all of them."""


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


class BudgetsSettings(Section):
    group_id: Name = "tidegate-budgets"
    reread_records: Annotated[int, Field(ge=0, le=1_000_000_000)] = 500_000
    """A budget that is new is counted from its window's start if that is no more records of `rollups` ago, else
    from now on. Reading so many takes some 30 s, in which no budget is up to date."""


class ThrottlesSettings(Section):
    group_id: Name = "tidegate-throttles"
    ack_wait_s: Seconds = 15.0
    """An enforced command that no gateway has acknowledged for so long is told to people."""


class OutcomesSettings(Section):
    group_id: Name = "tidegate-outcomes"
    keep_s: Annotated[float, Field(ge=60, le=2_592_000)] = 86_400.0
    """A trace of which nothing was heard for so long is forgotten: what comes later is of another."""
    max_traces: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """With more at a time those go that were silent for longest. Some 250 bytes each, twice that with outcomes."""


class HealthSettings(Section):
    host: str = "127.0.0.1"
    port: Port = 0
    """Port of the role this process runs; 0: the role's own below, -1: any free one."""
    ingest_port: Port = 9101
    detect_port: Port = 9102
    notify_port: Port = 9103
    door_port: Port = 9104
    budgets_port: Port = 9105
    decisions_port: Port = 9106
    throttles_port: Port = 9107
    outcomes_port: Port = 9108
    callbacks_port: Port = 9109
    stall_after_s: Seconds = 30.0
    """A loop that has made no progress for so long is reported unhealthy."""

    def port_of(self, role: str) -> int:
        """The port to bind for a role; 0 asks the kernel for a free one."""
        port: int = self.port or getattr(self, f"{role}_port")
        return max(port, 0)


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    detect: DetectSettings = DetectSettings()
    notify: NotifySettings = NotifySettings()
    budgets: BudgetsSettings = BudgetsSettings()
    throttles: ThrottlesSettings = ThrottlesSettings()
    outcomes: OutcomesSettings = OutcomesSettings()
    door: DoorSettings = DoorSettings()
    decisions: DecisionsSettings = DecisionsSettings()
    callbacks: CallbacksSettings = CallbacksSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @classmethod
    def load(cls, file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Environment over TOML file over defaults.

        `file`, else `TIDEGATE_CONFIG_FILE`, else `./tidegate.toml` if there is one.

        Raises
        ------
        SettingsError
            Every bad path with its source.
        """
        from service.settings_sources import load

        return load(file, environ).settings

    def masked(self) -> dict[str, Any]:
        """Everything as plain JSON values, secrets as `**********`."""
        return self.model_dump(mode="json")
