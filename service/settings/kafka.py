"""The broker, how it is reached, and who may change the configuration."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from schemas.topics import Topic
from service.errors import SettingsError
from service.settings.section import MIN_SECRET, Name, Section


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
            if len(secret) < MIN_SECRET:
                raise SettingsError(f"kafka.config_keys.{key_id}: a secret has at least {MIN_SECRET} bytes")
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
