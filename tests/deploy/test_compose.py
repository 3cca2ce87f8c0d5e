"""docker-compose.yml, held against the Compose Specification and the code: there may be no Docker to run it."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service.kafka.embedded.apache import KAFKA_VERSION
from service.settings import (
    ROLES,
    CallbacksSettings,
    DecisionsSettings,
    DoorSettings,
    HealthSettings,
    Settings,
)
from service.settings_sources import load
from tests.deploy.files import DEPLOY, ROOT, compose, is_command, read

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OPTIONAL = {
    "door": DoorSettings().port,
    "decisions": DecisionsSettings().port,
    "callbacks": CallbacksSettings().port,
}
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("tidegate:")]


def test_it_fits_the_compose_specification() -> None:
    schema = json.loads(read("tests/deploy/compose-spec.json"))
    Draft202012Validator.check_schema(schema)
    problems = [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert problems == []


def test_the_specification_would_find_a_typo() -> None:
    schema = Draft202012Validator(json.loads(read("tests/deploy/compose-spec.json")))
    assert not schema.is_valid({"services": {"a": {"image": "b", "comand": ["c"]}}})
    assert not schema.is_valid({"services": {"a": {"depends_on": {"b": {"condition": "service_fine"}}}}})


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), "a full version, not a moving tag"


def test_our_image_is_this_version_built_from_here() -> None:
    assert set(OURS) == {"topics-init", *ROLES, *OPTIONAL}
    for name in OURS:
        service = SERVICES[name]
        assert service["image"] == f"tidegate:{version('tidegate')}"
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_kafka_is_the_version_that_the_tests_run() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_kafka_listens_where_the_roles_look() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert set(environment["KAFKA_PROCESS_ROLES"].split(",")) == {"broker", "controller"}
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    advertised = dict(item.split("://") for item in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listeners = dict(item.split("://") for item in environment["KAFKA_LISTENERS"].split(","))
    protocols = dict(i.split(":") for i in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert (
        set(listeners) == set(protocols) == set(advertised) | {environment["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    )
    assert environment["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised
    for listener, address in advertised.items():
        assert listeners[listener] == f":{address.rpartition(':')[2]}"
    for name in OURS:
        assert SERVICES[name]["environment"]["TIDEGATE_KAFKA__BOOTSTRAP_SERVERS"] == advertised["INTERNAL"]
    assert advertised["EXTERNAL"] == "localhost:9092"
    assert "127.0.0.1:9092:9092" in SERVICES["kafka"]["ports"]
    quorum = environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]
    assert quorum == f"{environment['KAFKA_NODE_ID']}@kafka{listeners['CONTROLLER']}"
    # One node: whatever is replicated thrice by default would never come up.
    replicated = [name for name in environment if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))]
    assert len(replicated) == 6
    assert {environment[name] for name in replicated} == {"1"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    assert is_command(SERVICES[name]["command"])


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert not is_command(["ingets"])
    assert not is_command(["topics"])
    assert not is_command(["topics", "destroy"])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    assert all(key.startswith("TIDEGATE_") for key in environment)
    environment["TIDEGATE_CONFIG_FILE"] = str(DEPLOY / "compose" / "tidegate.toml")
    loaded = load(environ=environment)
    assert not loaded.ignored
    assert loaded.settings.kafka.bootstrap_servers == "kafka:29092"


def test_the_settings_file_is_mounted_where_it_is_looked_for() -> None:
    for name in OURS:
        service = SERVICES[name]
        mounted = {target: source for source, target, *_ in (v.split(":") for v in service["volumes"])}
        assert service["environment"]["TIDEGATE_CONFIG_FILE"] in mounted
        for source in mounted.values():
            assert (ROOT / source).exists(), source
        assert all(v.endswith(":ro") for v in service["volumes"])


def test_the_receivers_in_its_comments_are_settings_and_read_their_secrets_from_files() -> None:
    text = (DEPLOY / "compose" / "tidegate.toml").read_text(encoding="utf-8")
    lines = text.partition("take the #s away.")[2].splitlines()
    example = tomllib.loads("\n".join(line.removeprefix("#").strip() for line in lines))
    settings = Settings.model_validate(example)
    assert set(settings.notify.receivers) == {"chat", "oncall", "automation"}
    for receiver in settings.notify.receivers.values():
        files = [str(value) for name, value in receiver if name.endswith("_file")]
        assert files
        assert all(path.startswith("/run/secrets/") for path in files)


def test_no_secret_is_in_the_file_and_none_is_tracked() -> None:
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            assert not re.search("PASSWORD|SECRET|TOKEN|WEBHOOK|ROUTING", variable) or variable.endswith(
                "_FILE"
            )
    assert sorted(p.name for p in (DEPLOY / "compose" / "secrets").iterdir()) == [".gitignore"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_bound_to_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_roles_publish_their_own_health_ports() -> None:
    health = HealthSettings()
    for role in ROLES:
        port = health.port_of(role)
        assert SERVICES[role]["ports"] == [f"127.0.0.1:{port}:{port}"]
    for optional, http in OPTIONAL.items():
        ports = {f"127.0.0.1:{port}:{port}" for port in (health.port_of(optional), http)}
        assert ports == set(SERVICES[optional]["ports"])
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)


def test_everything_waits_for_what_it_needs() -> None:
    conditions = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert conditions["topics-init"] == {"kafka": "service_healthy"}
    for role in (*ROLES, *OPTIONAL):
        assert conditions[role] == {"topics-init": "service_completed_successfully"}
    for waited in conditions.values():
        for other, condition in waited.items():
            if condition == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"] or other in OURS


def test_what_should_run_is_started_again_and_watched() -> None:
    for name, service in SERVICES.items():
        once = name == "topics-init"
        assert service["restart"] == ("on-failure:5" if once else "unless-stopped")
        # Our roles have the image's own check; topics-init ends before one could be made.
        watched = "test" in service.get("healthcheck", {}) or name in (*ROLES, *OPTIONAL)
        assert watched != once


def test_what_not_everybody_needs_is_started_only_when_it_is_asked_for() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {role: [role] for role in OPTIONAL}
    for role in OPTIONAL:
        environment = {key: str(value) for key, value in SERVICES[role]["environment"].items()}
        environment["TIDEGATE_CONFIG_FILE"] = str(DEPLOY / "compose" / "tidegate.toml")
        assert getattr(load(environ=environment).settings, role).configured


def test_state_is_in_named_volumes() -> None:
    named = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }
    assert named == set(COMPOSE["volumes"]) == {"kafka-data", "prometheus-data", "grafana-data"}


def test_our_containers_can_do_little() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
