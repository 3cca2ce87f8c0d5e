"""The files that are deployed, read once, and what the code knows that they must agree with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
import yaml
from prometheus_client import REGISTRY
from typer.core import TyperGroup

from service.cli import app
from service.runtime import metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_SUFFIXES = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_count", "_sum"],
}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors and merges resolved."""
    found: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return found


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every Kubernetes object with the name of its file, Kustomize's own left out."""
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                yield path.name, document


def is_command(words: list[str]) -> bool:
    """Whether `tidegate WORDS` begins with a command of the command line."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not isinstance(command, TyperGroup):
            return word.startswith("-")
        command = command.commands.get(word)
        if command is None:
            return False
    return not isinstance(command, TyperGroup)


def declared_series() -> dict[str, set[str]]:
    """Name of every time series that `service.runtime.metrics` declares, with its labels."""
    assert metrics.INGEST_EVENTS is not None, "importing it declares them"
    found: dict[str, set[str]] = {}
    for collector in list(REGISTRY._collector_to_names):
        for metric in collector.describe() if hasattr(collector, "describe") else []:
            if metric.name.startswith("tidegate_"):
                labels = set(getattr(collector, "_labelnames", ()))
                for suffix in _SUFFIXES[metric.type]:
                    found[metric.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def series_in(expression: str) -> set[str]:
    """Names of the time series of ours that a PromQL expression reads."""
    return set(re.findall(r"\btidegate_[a-z0-9_]+", expression))


def labels_in(expression: str) -> set[str]:
    """Labels that a PromQL expression groups by or selects."""
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    chosen = re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)\s*\"", expression)
    return {label.strip() for group in grouped for label in group.split(",") if label.strip()} | set(chosen)
