"""The Kubernetes manifests agree with the code, with each other, and with the restricted Pod Security Standard."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
import yaml

from service.runtime.process import GRACE_S
from service.settings import ROLES, HealthSettings, Settings
from service.settings_sources import load
from tests.deploy.files import DEPLOY, is_command, manifests, read

OBJECTS = list(manifests())
KUSTOMIZATION: dict[str, Any] = yaml.safe_load(read("deploy/kubernetes/kustomization.yaml"))
DEPLOYMENTS = {o["metadata"]["name"]: o for _, o in OBJECTS if o["kind"] == "Deployment"}
PODS = {
    o["metadata"]["name"]: o["spec"]["template"] for _, o in OBJECTS if o["kind"] in ("Deployment", "Job")
}


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def environment(name: str) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(name).get("env", [])}


def test_every_role_is_deployed_and_every_file_applied() -> None:
    assert set(DEPLOYMENTS) == {f"tidegate-{role}" for role in ROLES}
    assert set(KUSTOMIZATION["resources"]) == {name for name, _ in OBJECTS}
    assert KUSTOMIZATION["namespace"] in {
        o["metadata"]["name"] for _, o in OBJECTS if o["kind"] == "Namespace"
    }


@pytest.mark.parametrize("name", PODS)
def test_every_command_exists(name: str) -> None:
    assert is_command(container(name)["args"])


@pytest.mark.parametrize("name", PODS)
def test_every_variable_is_a_setting(name: str) -> None:
    variables = environment(name)
    assert variables.pop("TIDEGATE_CONFIG_FILE") == "/etc/tidegate/tidegate.toml"
    assert not load(DEPLOY / "kubernetes" / "tidegate.toml", variables).ignored
    # A service that is called tidegate would add variables of its own.
    assert PODS[name]["spec"]["enableServiceLinks"] is False


def test_the_settings_file_is_a_config_map_of_valid_settings() -> None:
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert generated == {"name": "tidegate", "files": ["tidegate.toml"]}
    text = read("deploy/kubernetes/tidegate.toml")
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.kafka.replication_factor == 3
    with_comments = tomllib.loads("\n".join(_uncommented(text.split("\n\n", 1)[1])))
    full = Settings.model_validate(with_comments)
    assert set(full.notify.receivers) == {"chat", "oncall"}
    assert full.kafka.security_protocol == "SASL_SSL"


def _uncommented(text: str) -> list[str]:
    return [line.removeprefix("#").strip() for line in text.splitlines()]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes_ask_where_the_role_answers(name: str) -> None:
    role = name.removeprefix("tidegate-")
    port = HealthSettings().port_of(role)
    pod = container(name)
    assert pod["ports"] == [{"name": "health", "containerPort": port}]
    assert environment(name)["TIDEGATE_HEALTH__PORT"] == str(port)
    assert environment(name)["TIDEGATE_HEALTH__HOST"] == "0.0.0.0"
    wanted = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in wanted.items():
        assert pod[probe]["httpGet"] == {"path": path, "port": "health"}
    annotations = PODS[name]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)
    assert annotations["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_has_time_to_stop(name: str) -> None:
    # Once to finish what it began, and once more after it was told again.
    assert PODS[name]["spec"]["terminationGracePeriodSeconds"] >= 2 * GRACE_S


@pytest.mark.parametrize("name", PODS)
def test_pods_pass_the_restricted_standard(name: str) -> None:
    spec, pod = PODS[name]["spec"], container(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"USER {spec['securityContext']['runAsUser']}:" in read("deploy/Dockerfile")
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in pod["resources"]["limits"]
    assert set(pod["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_what_is_mounted_exists(name: str) -> None:
    spec = PODS[name]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == set(volumes)
    assert volumes["settings"]["configMap"]["name"] == KUSTOMIZATION["configMapGenerator"][0]["name"]
    assert volumes["secrets"]["secret"]["optional"] is True
    accounts = {o["metadata"]["name"] for _, o in OBJECTS if o["kind"] == "ServiceAccount"}
    assert spec["serviceAccountName"] in accounts


def test_selectors_select_their_pods_and_no_others() -> None:
    for name, deployment in DEPLOYMENTS.items():
        chosen = deployment["spec"]["selector"]["matchLabels"]
        matching = [n for n, pod in PODS.items() if chosen.items() <= pod["metadata"]["labels"].items()]
        assert matching == [name]


def test_every_role_has_a_disruption_budget_that_lets_nodes_be_drained() -> None:
    budgets = {o["metadata"]["name"]: o["spec"] for _, o in OBJECTS if o["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == set(DEPLOYMENTS)
    for name, budget in budgets.items():
        assert budget["maxUnavailable"] == 1 < DEPLOYMENTS[name]["spec"]["replicas"]
        assert budget["selector"]["matchLabels"] == DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"]


def test_the_image_is_this_version() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert image == {"name": "tidegate", "newTag": version("tidegate")}
    assert {container(name)["image"] for name in PODS} == {image["name"]}
