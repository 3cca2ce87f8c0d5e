"""Prometheus rules and the Grafana dashboard read what the roles really tell."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from service.settings import ROLES, HealthSettings
from tests.deploy.files import ROOT, compose, declared_series, labels_in, read, series_in
from tests.support.debian import program

SERIES = declared_series()
CONFIG: dict[str, Any] = yaml.safe_load(read("deploy/prometheus/prometheus.yml"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(read("deploy/prometheus/rules.yml"))["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads(read("deploy/grafana/dashboards/tidegate.json"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Labels that Prometheus adds to what it scrapes.
ADDED = {"job", "instance"}
EXPRESSIONS = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES] + [
    pytest.param(target["expr"], id=f"{panel['id']} {panel['title']}")
    for panel in PANELS
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_and_label_is_declared(expression: str) -> None:
    series = series_in(expression)
    assert series or "up{" in expression
    unknown = series - SERIES.keys()
    assert not unknown
    labels = set[str]().union(*(SERIES[name] for name in series))
    assert labels_in(expression) <= labels | ADDED


def test_a_series_that_does_not_exist_would_be_found() -> None:
    assert "tidegate_ingest_events_total" in SERIES
    assert "tidegate_ingest_events" not in SERIES
    assert "tidegate_detect_state_bytes_bucket" in SERIES
    assert labels_in('sum by (a, b) (x{c="d", e=~"f"})') == {"a", "b", "c", "e"}
    assert "partition" in SERIES["tidegate_ingest_events_total"]


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
def test_every_rule_says_how_bad_it_is_and_what_it_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["alert"].startswith("Tidegate")
    told = [label for label in ("reason", "role", "receiver", "model", "partition", "instance", "job")
            if f"$labels.{label}" in rule["annotations"]["summary"]]  # fmt: skip
    for label in told:
        assert label in labels_in(rule["expr"]) | ADDED


def test_what_can_go_wrong_has_a_rule() -> None:
    read_by_rules = set[str]().union(*(series_in(rule["expr"]) for rule in RULES))
    for name in (
        "tidegate_ingest_lag_records",
        "tidegate_ingest_dead_letters_total",
        "tidegate_ingest_rollups_total",
        "tidegate_detect_watermark_age_seconds",
        "tidegate_detect_state_bytes_bucket",
        "tidegate_notify_parked_total",
        "tidegate_notify_sends_total",
        "tidegate_config_refused_total",
    ):
        assert name in read_by_rules
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_scrapes_every_role_where_it_listens() -> None:
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in CONFIG["scrape_configs"]
        if "static_configs" in job
    }
    health = HealthSettings()
    assert jobs == {f"tidegate-{role}": [f"{role}:{health.port_of(role)}"] for role in ROLES}
    assert all(role in compose()["services"] for role in ROLES)
    for name in CONFIG["rule_files"]:
        assert read(f"deploy/prometheus/{name}")
    assert all(f'"tidegate-{role}"' in read("deploy/prometheus/rules.yml") for role in ROLES)


def test_what_not_everybody_runs_is_scraped_where_it_has_a_name() -> None:
    found = {
        job["job_name"]: (each["names"], each["type"], each["port"])
        for job in CONFIG["scrape_configs"]
        for each in job.get("dns_sd_configs", [])
    }
    optional = [name for name, service in compose()["services"].items() if "profiles" in service]
    health = HealthSettings()
    assert found == {f"tidegate-{role}": ([role], "A", health.port_of(role)) for role in optional}


def test_the_dashboard_finds_its_data() -> None:
    source = yaml.safe_load(read("deploy/grafana/datasources/prometheus.yml"))["datasources"][0]
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["current"]["value"] == source["uid"]
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    services = compose()["services"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_dashboard_is_where_grafana_looks() -> None:
    grafana = compose()["services"]["grafana"]
    assert "./deploy/grafana:/etc/grafana/provisioning:ro" in grafana["volumes"]
    provider = yaml.safe_load(read("deploy/grafana/dashboards/tidegate.yml"))["providers"][0]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/tidegate.json"


def test_panels_neither_overlap_nor_share_an_id() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_shows_spend_events_lag_alerts_and_throttles() -> None:
    shown = set[str]().union(*(series_in(t["expr"]) for panel in PANELS for t in panel["targets"]))
    for name in ("ingest_cost_usd_total", "ingest_events_total", "ingest_lag_records", "detect_alerts_total",
                 "throttles_commands_total", "notify_sends_total"):  # fmt: skip
        assert f"tidegate_{name}" in shown


def test_prometheus_itself_takes_them() -> None:
    command = program("prometheus", "promtool")
    if command is None:
        pytest.skip("no promtool on the path, and Debian's package is not to be had")
    for arguments in ("check rules rules.yml", "test rules rules.test.yml", "check config prometheus.yml"):
        said = subprocess.run(
            [*command, *arguments.split()], cwd=ROOT / "deploy" / "prometheus", capture_output=True, text=True
        )
        assert said.returncode == 0, said.stdout + said.stderr
