"""The manifests of the roles that answer over HTTP: additions that not every installation has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from service.http.server import DRAIN_S
from service.runtime.process import GRACE_S
from service.settings import CallbacksSettings, DecisionsSettings, DoorSettings, HealthSettings, Settings
from service.settings_sources import load
from tests.deploy.files import DEPLOY, is_command, read

Role = Literal["door", "decisions", "callbacks"]
PORTS: dict[Role, int] = {
    "door": DoorSettings().port,
    "decisions": DecisionsSettings().port,
    "callbacks": CallbacksSettings().port,
}


@dataclass(frozen=True)
class Manifest:
    """What is deployed for one role."""

    role: Role
    component: dict[str, Any]
    objects: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, role: Role) -> Manifest:
        folder = f"deploy/kubernetes/{role}"
        objects = yaml.safe_load_all(read(f"{folder}/{role}.yaml"))
        component = yaml.safe_load(read(f"{folder}/kustomization.yaml"))
        return cls(role, component, {each["kind"]: each for each in objects})

    @property
    def pod(self) -> dict[str, Any]:
        found: dict[str, Any] = self.objects["Deployment"]["spec"]["template"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.pod["spec"]["containers"]
        return dict(found)

    def settings(self) -> Settings:
        """As the container has them."""
        variables = {item["name"]: item["value"] for item in self.container["env"]}
        assert variables.pop("TIDEGATE_CONFIG_FILE") == "/etc/tidegate/tidegate.toml"
        loaded = load(DEPLOY / "kubernetes" / "tidegate.toml", variables)
        assert not loaded.ignored
        return loaded.settings


@pytest.fixture(params=PORTS)
def manifest(request: pytest.FixtureRequest) -> Manifest:
    return Manifest.of(request.param)


def test_it_is_a_component_that_nothing_includes_by_itself(manifest: Manifest) -> None:
    assert manifest.component["kind"] == "Component"
    assert manifest.component["resources"] == [f"{manifest.role}.yaml"]
    assert "components" not in yaml.safe_load(read("deploy/kubernetes/kustomization.yaml"))
    assert set(manifest.objects) == {"Deployment", "PodDisruptionBudget", "Service"}


def test_it_runs_its_role_with_what_is_in_the_secret(manifest: Manifest) -> None:
    assert is_command(manifest.container["args"])
    assert manifest.container["args"] == [manifest.role]
    role = getattr(manifest.settings(), manifest.role)
    assert role.configured
    mounts = {mount["name"]: mount["mountPath"] for mount in manifest.container["volumeMounts"]}
    secrets = [token.token_file for token in role.tokens.values()]
    if manifest.role == "callbacks":
        secrets = [each.signing_secret_file for each in (*role.slack.values(), *role.pagerduty.values())]
    assert secrets
    for secret in secrets:
        assert Path(mounts["secrets"]) in secret.parents
    assert mounts.keys() == {volume["name"] for volume in manifest.pod["spec"]["volumes"]}


def test_it_listens_where_it_is_asked(manifest: Manifest) -> None:
    container = manifest.container
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": HealthSettings().port_of(manifest.role), "http": PORTS[manifest.role]}
    for probe, path in {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    assert manifest.pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["health"])
    (port,) = manifest.objects["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_selectors_select_its_pods(manifest: Manifest) -> None:
    labels = manifest.pod["metadata"]["labels"]
    budget = manifest.objects["PodDisruptionBudget"]["spec"]
    deployment = manifest.objects["Deployment"]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    assert budget["selector"]["matchLabels"] == manifest.objects["Service"]["spec"]["selector"] == labels
    assert budget["maxUnavailable"] < deployment["replicas"]


def test_it_has_time_to_answer_what_is_under_way(manifest: Manifest) -> None:
    (command,) = manifest.container["lifecycle"]["preStop"].values()
    asleep = int(command["command"][1])
    assert DRAIN_S < GRACE_S
    assert manifest.pod["spec"]["terminationGracePeriodSeconds"] >= asleep + 2 * GRACE_S


def test_it_passes_the_restricted_standard(manifest: Manifest) -> None:
    assert manifest.pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert manifest.pod["spec"]["automountServiceAccountToken"] is False
    assert manifest.pod["spec"]["enableServiceLinks"] is False
    assert manifest.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_client_of_decisions_keeps_to_the_pod_that_has_its_tickets() -> None:
    assert Manifest.of("decisions").objects["Service"]["spec"]["sessionAffinity"] == "ClientIP"


def test_processes_of_decisions_share_the_limits_and_its_token_may_do_all() -> None:
    manifest = Manifest.of("decisions")
    asked = manifest.settings().decisions
    assert asked.processes == manifest.objects["Deployment"]["spec"]["replicas"]
    for token in asked.tokens.values():
        assert token.scopes == {"decide", "settle", "snapshot"}
