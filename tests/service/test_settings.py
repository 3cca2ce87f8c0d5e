"""Settings: who wins, what is refused and how it is told, and that secrets stay secret."""

from __future__ import annotations

import re
import ssl
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.topics import COST_EVENTS
from service.errors import SettingsError
from service.settings import HealthSettings, KafkaSettings, PagerDutyReceiver, Settings, SlackReceiver
from service.settings_sources import load

EXAMPLE = Path(__file__).parents[2] / "deploy" / "tidegate.example.toml"


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "tidegate.toml"
    file.write_text(text)
    return file


def test_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = toml(tmp_path, '[kafka]\npartitions = 8\nbootstrap_servers = "file:9092"\n')
    loaded = load(file, {"TIDEGATE_KAFKA__BOOTSTRAP_SERVERS": "env:9092"})
    assert loaded.settings.kafka.bootstrap_servers == "env:9092"
    assert loaded.settings.kafka.partitions == 8
    assert loaded.settings.kafka.replication_factor == 1
    assert loaded.origins == {
        "kafka.partitions": str(file),
        "kafka.bootstrap_servers": "TIDEGATE_KAFKA__BOOTSTRAP_SERVERS",
    }


def test_the_file_is_named_by_argument_then_environment_then_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"
    for file, partitions in ((toml(tmp_path, ""), 2), (named, 3), (other, 4)):
        file.write_text(f"[kafka]\npartitions = {partitions}\n")
    environment = {"TIDEGATE_CONFIG_FILE": str(named)}
    assert Settings.load(other, environment).kafka.partitions == 4
    assert Settings.load(None, environment).kafka.partitions == 3
    assert Settings.load(None, {}).kafka.partitions == 2


def test_building_settings_by_hand_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_KAFKA__PARTITIONS", "9")
    monkeypatch.setenv("KAFKA", "{}")
    assert Settings().kafka.partitions == 4


def test_receivers_come_from_the_environment_too() -> None:
    prefix = "TIDEGATE_NOTIFY__RECEIVERS__ONCALL__"
    by_variable = load(None, {f"{prefix}TYPE": "pagerduty", f"{prefix}ROUTING_KEY": "0" * 32}).settings
    assert isinstance(by_variable.notify.receivers["oncall"], PagerDutyReceiver)
    as_json = '{"chat": {"type": "slack", "webhook_url": "https://hooks/x"}}'
    whole = load(None, {"TIDEGATE_NOTIFY__RECEIVERS": as_json}).settings
    assert isinstance(whole.notify.receivers["chat"], SlackReceiver)


def test_every_bad_path_is_told_with_its_source(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        '[kafka]\npartitons = 3\nreplication_factor = 0\n[notify.receivers.a]\ntype = "slack"\n'
        '[notify.receivers.b]\ntype = "slak"\n[notify.receivers.c]\ntype = "webhook"\nurl = "x"\n[ingst]\n',
    )
    with pytest.raises(SettingsError) as caught:
        load(file, {"TIDEGATE_INGEST__COMMIT_INTERVAL_MS": "soon"})
    told = {problem.split(": ", 2)[1]: problem for problem in caught.value.problems}
    assert set(told) == {
        "kafka.partitons",
        "kafka.replication_factor",
        "notify.receivers.a",
        "notify.receivers.b",
        "notify.receivers.c.url",
        "ingst",
        "ingest.commit_interval_ms",
    }
    assert told["kafka.partitons"] == f"{file}: kafka.partitons: no such setting"
    assert told["ingest.commit_interval_ms"].startswith("TIDEGATE_INGEST__COMMIT_INTERVAL_MS: ")


def test_a_variable_with_a_typo_warns_and_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(
        None, {"TIDEGATE_KAFKA__PARTITONS": "3", "TIDEGATE_SERVICE_PORT": "80", "TIDEGATE_CACHE": "/x"}
    )
    assert loaded.settings == Settings()
    assert loaded.ignored == ["TIDEGATE_KAFKA__PARTITONS", "TIDEGATE_SERVICE_PORT"]
    assert "TIDEGATE_KAFKA__PARTITONS is not a setting" in caplog.text


@pytest.mark.parametrize("text", ["[kafka\n", "kafka = 1\n", "[kafka]\na = 1\na = 2\n"])
def test_a_file_that_cannot_be_read_is_a_settings_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"tidegate\.toml: "):
        load(toml(tmp_path, text), {})


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "broken",
    [
        {"kafka": {"sasl_password": SECRET}},
        {"kafka": {"sasl_password": [SECRET]}},
        {"notify": {"receivers": {"a": {"type": "slack", "webhook_url": SECRET, "extra": SECRET}}}},
        {"notify": {"receivers": {"a": {"type": "pagerduty", "routing_key": {"x": SECRET}}}}},
    ],
)
def test_no_error_shows_a_secret(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**broken)
    assert SECRET not in str(caught.value)


def test_secrets_are_masked_and_read_at_use(tmp_path: Path) -> None:
    file = tmp_path / "key"
    receiver = PagerDutyReceiver(routing_key_file=file)
    with pytest.raises(SettingsError, match="cannot read"):
        receiver.secret("routing_key")
    file.write_text(" k-2\n")
    assert receiver.secret("routing_key") == "k-2"
    file.write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        receiver.secret("routing_key")
    name = "TIDEGATE_NOTIFY__RECEIVERS__A__"
    settings = Settings.load(None, {f"{name}TYPE": "slack", f"{name}WEBHOOK_URL": SECRET})
    assert SECRET not in repr(settings)
    assert settings.masked()["notify"]["receivers"]["a"]["webhook_url"] == "**********"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs sasl_username"),
        ({"security_protocol": "SASL_SSL", "sasl_username": "u"}, "needs sasl_password"),
        ({"sasl_username": "u"}, "SASL credentials are given but"),
        ({"ssl_cafile": "/ca.pem"}, "ssl_\\* files are given but"),
        ({"security_protocol": "SSL", "ssl_keyfile": "/k"}, "needs ssl_certfile"),
        ({"sasl_password": "x", "sasl_password_file": "/x"}, "not both"),
        ({"bootstrap_servers": "localhost"}, "bootstrap_servers"),
        ({"topic_prefix": "a b"}, "topic_prefix"),
    ],
)
def test_half_a_security_configuration_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        KafkaSettings(**given)


def test_security_becomes_client_options(tmp_path: Path) -> None:
    secured = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password=SECRET
    ).security()
    assert secured["sasl_plain_password"] == SECRET
    assert secured["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert secured["ssl_context"].check_hostname
    with pytest.raises(SettingsError, match="ssl"):
        KafkaSettings(security_protocol="SSL", ssl_cafile=tmp_path / "none.pem").security()


def test_topics_have_the_prefix_and_roles_their_ports() -> None:
    assert KafkaSettings(topic_prefix="x.").topic(COST_EVENTS) == "x.cost-events"
    assert [HealthSettings().port_of(role) for role in ("ingest", "detect", "notify")] == [9101, 9102, 9103]
    assert HealthSettings(port=7).port_of("detect") == 7
    assert HealthSettings(port=-1).port_of("detect") == 0


def test_the_example_file_says_the_defaults_and_names_every_setting() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    written = tomllib.loads(text)
    example = load(EXAMPLE, {}).settings
    assert example.model_copy(update={"notify": Settings().notify}) == Settings()
    assert set(written) == set(Settings.model_fields)
    for section, model in ((name, field.default) for name, field in Settings.model_fields.items()):
        for setting in type(model).model_fields:
            shown = rf"(?m)(^|\s){setting} = |^\[{section}\.{setting}\."
            assert re.search(shown, text), f"{section}.{setting}"
