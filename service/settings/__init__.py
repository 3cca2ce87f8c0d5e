"""What an installation sets and a restart changes: addresses, groups, limits, receivers.

Read by `Settings.load` from the environment (`TIDEGATE_KAFKA__BOOTSTRAP_SERVERS=…`, which wins) and from a
TOML file (`[kafka] bootstrap_servers = …`); `deploy/tidegate.example.toml` is a commented tour.
`Settings(...)` itself reads nothing, so that tests get what they ask for. Every secret has a
`…_file` twin, read at use.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.settings.http import (
    BearerToken,
    CallbacksSettings,
    DecisionScope,
    DecisionsSettings,
    DecisionToken,
    DoorSettings,
    HttpSettings,
    SigningSecret,
)
from service.settings.kafka import ConfigKey, KafkaSettings
from service.settings.receivers import (
    AlertmanagerReceiver,
    EmailReceiver,
    NotifySettings,
    PagerDutyReceiver,
    Receiver,
    ReceiverSettings,
    SlackBotReceiver,
    SlackReceiver,
    WebhookReceiver,
)
from service.settings.section import Name, Port, Seconds, Section
from service.settings.stages import (
    BudgetsSettings,
    DetectSettings,
    HealthSettings,
    IngestSettings,
    LogSettings,
    OutcomesSettings,
    ThrottlesSettings,
)

__all__ = [
    "ROLES",
    "AlertmanagerReceiver",
    "BearerToken",
    "BudgetsSettings",
    "CallbacksSettings",
    "ConfigKey",
    "DecisionScope",
    "DecisionToken",
    "DecisionsSettings",
    "DetectSettings",
    "DoorSettings",
    "EmailReceiver",
    "HealthSettings",
    "HttpSettings",
    "IngestSettings",
    "KafkaSettings",
    "LogSettings",
    "Name",
    "NotifySettings",
    "OutcomesSettings",
    "PagerDutyReceiver",
    "Port",
    "Receiver",
    "ReceiverSettings",
    "Role",
    "Seconds",
    "Section",
    "Settings",
    "SigningSecret",
    "SlackBotReceiver",
    "SlackReceiver",
    "ThrottlesSettings",
    "WebhookReceiver",
]

Role = Literal[
    "ingest", "detect", "notify", "budgets", "throttles", "outcomes", "door", "decisions", "callbacks"
]
ROLES: Final[tuple[Role, ...]] = ("ingest", "detect", "notify", "budgets", "throttles", "outcomes")
"""What every installation runs. The door and decisions are for those whose gateways have no Kafka, callbacks for
those who answer alerts in Slack or PagerDuty."""


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
