"""The decision API's manifests: an addition that not every installation has."""

from __future__ import annotations

from typing import Any

import yaml

from service.http.server import DRAIN_S
from service.runtime.process import GRACE_S
from service.settings import DecisionsSettings, HealthSettings
from service.settings_sources import load
from tests.deploy.files import DEPLOY, is_command, read

COMPONENT: dict[str, Any] = yaml.safe_load(read("deploy/kubernetes/decisions/kustomization.yaml"))
MANIFEST = list(yaml.safe_load_all(read("deploy/kubernetes/decisions/decisions.yaml")))
OBJECTS: dict[str, dict[str, Any]] = {each["kind"]: each for each in MANIFEST}
POD = OBJECTS["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]


def test_it_is_a_component_that_nothing_includes_by_itself() -> None:
    assert COMPONENT["kind"] == "Component"
    assert COMPONENT["resources"] == ["decisions.yaml"]
    assert "components" not in yaml.safe_load(read("deploy/kubernetes/kustomization.yaml"))
    assert set(OBJECTS) == {"Deployment", "PodDisruptionBudget", "Service"}


def test_it_runs_decisions_with_a_token_from_the_secret() -> None:
    assert is_command(CONTAINER["args"])
    assert CONTAINER["args"] == ["decisions"]
    variables = {item["name"]: item["value"] for item in CONTAINER["env"]}
    assert variables.pop("TIDEGATE_CONFIG_FILE") == "/etc/tidegate/tidegate.toml"
    loaded = load(DEPLOY / "kubernetes" / "tidegate.toml", variables)
    assert not loaded.ignored
    assert loaded.settings.decisions.configured
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert loaded.settings.decisions.processes == OBJECTS["Deployment"]["spec"]["replicas"]
    for token in loaded.settings.decisions.tokens.values():
        assert token.scopes == {"decide", "settle", "snapshot"}
        assert str(token.token_file).startswith(f"{mounts['secrets']}/")
    assert mounts.keys() == {volume["name"] for volume in POD["spec"]["volumes"]}


def test_it_listens_where_it_is_asked() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"health": HealthSettings().decisions_port, "http": DecisionsSettings().port}
    for probe, path in {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }.items():
        assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "health"}
    assert POD["metadata"]["annotations"]["prometheus.io/port"] == str(ports["health"])
    (port,) = OBJECTS["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_selectors_select_its_pods() -> None:
    labels = POD["metadata"]["labels"]
    budget = OBJECTS["PodDisruptionBudget"]["spec"]
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert budget["selector"]["matchLabels"] == OBJECTS["Service"]["spec"]["selector"] == labels
    assert budget["maxUnavailable"] < OBJECTS["Deployment"]["spec"]["replicas"]


def test_a_client_keeps_to_the_pod_that_has_its_tickets() -> None:
    assert OBJECTS["Service"]["spec"]["sessionAffinity"] == "ClientIP"


def test_it_has_time_to_answer_what_is_under_way() -> None:
    (command,) = CONTAINER["lifecycle"]["preStop"].values()
    asleep = int(command["command"][1])
    assert DRAIN_S < GRACE_S
    assert POD["spec"]["terminationGracePeriodSeconds"] >= asleep + 2 * GRACE_S


def test_it_passes_the_restricted_standard() -> None:
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["automountServiceAccountToken"] is False
    assert POD["spec"]["enableServiceLinks"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
