"""What the dashboard and the alerts ask of Prometheus."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.docker.conftest import DOCKER, read_yaml

DASHBOARD = DOCKER / "grafana" / "dashboards" / "relata.json"
ALERTS = DOCKER / "prometheus" / "alerts.yml"

# What Grafana puts in their place: a time as long as a test may take, and every replica.
_VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}
_SUFFIXES = ("_bucket", "_sum", "_count")
# What prometheus_client and HAProxy export of themselves, and Prometheus of its targets.
_OTHERS = ("haproxy_", "process_", "python_")


@cache
def dashboard() -> dict[str, Any]:
    """The dashboard."""
    content = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def panels() -> list[dict[str, Any]]:
    """All panels but the rows' titles."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[tuple[str, str]]:
    """Each query with its panel's title, ready for Prometheus."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in _VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def alert_queries() -> Iterator[tuple[str, str]]:
    """Each rule's query with its name."""
    for group in read_yaml(ALERTS)["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def metrics_of(query: str) -> set[str]:
    """The service's own metrics in a query, as the code names them."""
    found = set(re.findall(r"\brelata_\w+", query))
    return {name.removesuffix(suffix) for name in found for suffix in _ending(name)}


def foreign_metrics_of(query: str) -> set[str]:
    """Metrics that others export, in a query."""
    return {name for name in re.findall(r"\b[a-z]\w+_\w+", query) if name.startswith(_OTHERS)}


def _ending(name: str) -> tuple[str, ...]:
    return tuple(suffix for suffix in _SUFFIXES if name.endswith(suffix)) or ("",)
