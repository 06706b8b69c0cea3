"""Every query of dashboard and alerts against a real server, HAProxy, Redis and Prometheus."""

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.docker.conftest import DOCKER, ROOT, program, read_yaml
from tests.docker.dashboard import (
    alert_queries,
    foreign_metrics_of,
    metrics_of,
    panel_queries,
)
from tests.docker.haproxy import haproxy_program, run_haproxy, wait_for
from tests.docker.replicas import free_port, serve_names
from tests.redis_server import start_redis

ADMIN_KEY = "a-key-of-the-admin-0"
START_SECONDS = 240
PROMETHEUS_STARTS = 3
ROUNDS = (("linen", "NotDesires"), ("cotton", "Desires"))


@dataclass
class Monitored:
    """A server behind the proxy, and Prometheus, which scrapes both."""

    server: httpx.Client
    proxy: httpx.Client
    prometheus: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that Prometheus answers with."""
        response = self.prometheus.post("/api/v1/query", data={"query": expression})
        assert response.status_code == 200, f"{expression}: {response.text}"
        result = response.json()["data"]["result"]
        assert isinstance(result, list)
        return result


def cause_what_is_counted(client: httpx.Client, subject: str, removed: str) -> None:
    """Something for every figure: answers, cached ones too, faults, a refusal, a change."""

    def ask(relation: str, timeout: str = "60") -> int:
        return client.post(
            "/complete",
            json={"subject": subject, "relation": relation, "top_k": 1},
            headers={"x-request-timeout": timeout},
        ).status_code

    for relation in ("IsA", "MadeOf", "UsedFor", "HasA", "PartOf", "AtLocation", "IsA"):
        assert ask(relation) == 200
    assert ask("NoSuchRelation") == 404
    assert ask("Causes", timeout="0.000001") == 504
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    assert client.delete(f"/masks/{removed}", headers=admin).status_code == 204


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def scraped(path: Path, *, server: int, proxy: int, own: int) -> Path:
    """Prometheus' configuration with this machine's addresses, scraping every second."""
    configuration = read_yaml(DOCKER / "prometheus" / "prometheus.yml")
    configuration["global"] |= {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    configuration["rule_files"] = [str(DOCKER / "prometheus" / "alerts.yml")]
    ports = {"relata": server, "proxy": proxy, "prometheus": own}
    for job in configuration["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports.pop(job['job_name'])}"]}]
    assert not ports
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path


def start(
    log: Path, command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A program that writes all it says to `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def prometheus_program() -> str:
    """Path of Prometheus; skips the test where it is missing."""
    return program("prometheus", package="Debian: prometheus")


@contextmanager
def run_prometheus(
    folder: Path, targets: dict[str, int], environment: Mapping[str, str]
) -> Iterator[int]:
    """Prometheus, which scrapes the targets and itself, until the end of the block: its port.

    Between the choice of a free port and its use another program may take it: Prometheus then ends
    at once, and is started again at another.
    """
    for attempt in range(PROMETHEUS_STARTS):
        port = free_port()
        log = folder / f"prometheus-{attempt}.log"
        configuration = scraped(folder / "prometheus.yml", own=port, **targets)
        process = start(
            log,
            (
                prometheus_program(),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / f'data-{attempt}'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
            environment,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                deadline = time.monotonic() + START_SECONDS
                while process.poll() is None and time.monotonic() < deadline:
                    if answers(client, "/-/ready"):
                        yield port
                        return
                    time.sleep(0.05)
        finally:
            end(process)
    pytest.fail(f"Prometheus does not start:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    prometheus_program()
    haproxy_program()
    folder = tmp_path_factory.mktemp("monitoring")
    server_port = free_port()

    with ExitStack() as stack:

        def client(port: int) -> httpx.Client:
            address = f"http://127.0.0.1:{port}"
            return stack.enter_context(httpx.Client(base_url=address, timeout=60, trust_env=False))

        redis = start_redis(folder)
        stack.callback(redis.kill)
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith("RELATA_")
        }
        server = start(
            folder / "server.log",
            (sys.executable, "-m", "relata", "serve"),
            plain
            | {
                "OMP_NUM_THREADS": "1",
                "RELATA_PORT": str(server_port),
                "RELATA_REDIS_URL": redis.url,
                "RELATA_ADMIN_KEY": ADMIN_KEY,
            },
        )
        stack.callback(end, server)
        dns = stack.enter_context(serve_names())
        dns.addresses = ["127.0.0.1"]
        proxy = stack.enter_context(run_haproxy(dns, server_port, folder))
        targets = {"server": server_port, "proxy": int(proxy.monitoring.base_url.port or 0)}
        prometheus_port = stack.enter_context(run_prometheus(folder, targets, plain))
        found = Monitored(client(server_port), client(proxy.port), client(prometheus_port))
        wait_for(lambda: answers(found.server, "/ready"), "the server is ready", START_SECONDS)
        wait_for(lambda: proxy.active() == 1, "the proxy finds the server")
        wait_for(lambda: len(found.query("up == 1")) == 3, "all targets are scraped", 60)
        # Rates need a figure from before and one from after.
        for changes, (subject, removed) in enumerate(ROUNDS, 1):
            cause_what_is_counted(found.proxy, subject, removed)
            last = f'relata_mask_changes_total{{change="delete"}} == {changes}'
            wait_for(lambda last=last: bool(found.query(last)), f"{last} is scraped", 60)
        yield found


def exported(client: httpx.Client) -> set[str]:
    """Names of the metrics that something exports, whether or not they have a value yet."""
    return set(re.findall(r"^# TYPE (\w+) ", client.get("/metrics").text, re.MULTILINE))


def test_what_is_asked_for_is_exported(monitored: Monitored) -> None:
    names = exported(monitored.server)
    for title, query in (*panel_queries(), *alert_queries()):
        missing = metrics_of(query) - names
        assert not missing, f"{title} asks for {missing}"


def test_what_is_exported_is_shown(monitored: Monitored) -> None:
    shown = set().union(*(metrics_of(query) for _, query in panel_queries()))
    own = {name for name in exported(monitored.server) if name.startswith("relata_")}
    # prometheus_client tells when each counter was made.
    assert own - shown - {name for name in own if name.endswith("_created")} == set()


def test_what_others_export_is_what_is_asked_for(monitored: Monitored) -> None:
    queries = [query for _, query in (*panel_queries(), *alert_queries())]
    asked = set().union(*(foreign_metrics_of(query) for query in queries))
    assert {name for name in asked if name.startswith("haproxy_")}
    assert all(monitored.query(name) for name in asked)


QUERIES = list(panel_queries())


@pytest.mark.parametrize(
    "query",
    [query for _, query in QUERIES],
    ids=[f"{title} {number}" for number, (title, _) in enumerate(QUERIES)],
)
def test_every_query_of_the_dashboard_has_an_answer(monitored: Monitored, query: str) -> None:
    values = [float(series["value"][1]) for series in monitored.query(query)]
    # A division by nothing is an answer that says nothing.
    assert any(math.isfinite(value) for value in values), f"{query} gives {values}"


def test_the_choice_of_replicas_has_one(monitored: Monitored) -> None:
    (series,) = monitored.query("relata_info")
    assert series["metric"]["instance"] == f"127.0.0.1:{monitored.server.base_url.port}"


def test_every_alert_can_be_judged_and_none_fires(monitored: Monitored) -> None:
    groups = monitored.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {name for name, _ in alert_queries()}
    for rule in rules:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing == set()
