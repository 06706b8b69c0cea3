"""The dashboard's form: what Grafana needs to show it, and that Prometheus can read its queries."""

import json
import re
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.docker.conftest import DOCKER, ROOT, program, read_yaml
from tests.docker.dashboard import (
    ALERTS,
    DASHBOARD,
    alert_queries,
    dashboard,
    metrics_of,
    panel_queries,
    panels,
)
from tests.docker.test_compose import service

PROVISIONING = DOCKER / "grafana" / "provisioning"


def datasource() -> dict[str, Any]:
    (source,) = read_yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    assert isinstance(source, dict)
    return source


def test_panels_are_told_apart() -> None:
    identities = Counter(panel["id"] for panel in dashboard()["panels"])
    assert max(identities.values()) == 1
    titles = Counter(panel["title"] for panel in dashboard()["panels"])
    assert max(titles.values()) == 1


def test_panels_lie_side_by_side() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard()["panels"]]
    for title, place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, title
    for (first, a), (second, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{first} and {second} overlap"


def test_everything_asks_the_provisioned_source() -> None:
    wanted = {"type": "prometheus", "uid": datasource()["uid"]}
    asked = [panel["datasource"] for panel in panels()]
    asked += [target["datasource"] for panel in panels() for target in panel["targets"]]
    asked += [variable["datasource"] for variable in dashboard()["templating"]["list"]]
    asked += [note["datasource"] for note in dashboard()["annotations"]["list"]]
    assert all(source == wanted for source in asked)


def test_the_source_is_the_prometheus_of_compose() -> None:
    address = datasource()["url"]
    assert address == "http://prometheus:9090"
    assert service("prometheus")["ports"][0].endswith(":9090")
    interval = read_yaml(DOCKER / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert datasource()["jsonData"]["timeInterval"] == interval


def test_grafana_finds_the_dashboard() -> None:
    (provider,) = read_yaml(PROVISIONING / "dashboards" / "relata.yml")["providers"]
    mounted = dict(volume.split(":")[:2] for volume in service("grafana")["volumes"])
    folder = provider["options"]["path"]
    assert mounted["./docker/grafana/dashboards"] == folder
    assert mounted["./docker/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = service("grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/{DASHBOARD.name}"


def test_targets_of_a_panel_have_names_of_their_own() -> None:
    for panel in panels():
        names = Counter(target["refId"] for target in panel["targets"])
        assert max(names.values()) == 1, panel["title"]


def test_every_series_of_several_has_a_name() -> None:
    for panel in panels():
        if panel["type"] == "timeseries":
            for target in panel["targets"]:
                assert target["legendFormat"] not in {"", "__auto"}, panel["title"]


def test_what_is_asked_for_is_in_the_code() -> None:
    sources = (ROOT / "app" / "metrics").glob("*.py")
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    named = set(re.findall(r'"(relata_?\w*)"', text))
    # The client library adds these endings to some kinds of metrics.
    named |= {f"{name}{ending}" for name in named for ending in ("_total", "_info")}
    for title, query in (*panel_queries(), *alert_queries()):
        missing = metrics_of(query) - named
        assert not missing, f"{title} asks for {missing}"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


@pytest.fixture
def promtool() -> str:
    return program("promtool", package="Debian: prometheus")


def test_prometheus_takes_its_configuration(promtool: str) -> None:
    done = run(promtool, "check", "config", DOCKER / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_alerts_fire_when_they_should(promtool: str) -> None:
    assert run(promtool, "check", "rules", "--lint=all", "--lint-fatal", ALERTS).returncode == 0
    done = run(promtool, "test", "rules", Path(__file__).with_name("alerts_test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tested = Path(__file__).with_name("alerts_test.yml").read_text(encoding="utf-8")
    for alert, _ in alert_queries():
        assert f"alertname: {alert}\n" in tested, f"{alert} is never expected to fire"


def test_prometheus_can_read_every_query(promtool: str, tmp_path: Path) -> None:
    queries = list(panel_queries())
    assert len(queries) > 40
    rules = [
        {"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries)
    ]
    # JSON is YAML.
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = run(promtool, "check", "rules", file)
    assert done.returncode == 0, done.stderr
