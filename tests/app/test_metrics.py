"""What Prometheus reads."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)

from app.batcher import Pass
from app.errors import OverloadedError
from app.main import create_app
from app.metrics import Metrics
from app.settings import Settings
from app.trace import Trace
from masks import RelationMask
from tests.app.scraping import scrape, value, wait_until

SINGLE = {"subject": "dog", "relation": "IsA"}

# Every name that dashboards and alerts may count on, with its labels.
COUNTERS = {
    "relata_requests_total": {"route", "method", "status"},
    "relata_questions_total": {"kind", "outcome"},
    "relata_tokens_total": set(),
    "relata_refusals_total": {"reason"},
    "relata_cancelled_total": set(),
    "relata_mask_cache_hits_total": set(),
    "relata_mask_cache_misses_total": set(),
    "relata_mask_cache_evictions_total": set(),
    "relata_answer_cache_hits_total": {"tier"},
    "relata_answer_cache_misses_total": set(),
    "relata_answer_cache_errors_total": set(),
    "relata_mask_changes_total": {"change"},
}
GAUGES = {
    "relata_queue_rows",
    "relata_queue_questions",
    "relata_mask_cache_bytes",
    "relata_mask_cache_capacity_bytes",
    "relata_mask_cache_sets",
    "relata_answer_cache_bytes",
    "relata_relations",
    "relata_mask_files_refused",
}
HISTOGRAMS = {
    "relata_request_seconds": {"route"},
    "relata_stage_seconds": {"stage"},
    "relata_pass_rows": set(),
    "relata_pass_tokens": set(),
    "relata_pass_mask_sets": set(),
    "relata_pass_seconds": set(),
}


@pytest.fixture(scope="module")
def measured(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    """A server that only this file asks."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--max-queries", "64",
    )  # fmt: skip


@pytest.fixture
def asked(measured: Any) -> httpx.Client:
    client: httpx.Client = measured.client
    return client


def test_every_metric_is_there_under_its_name(asked: httpx.Client) -> None:
    assert asked.post("/complete", json=SINGLE).status_code == 200
    samples = scrape(asked)
    labels: dict[str, set[str]] = {}
    for name, pairs in samples:
        labels.setdefault(name, set()).update(label for label, _ in pairs)
    for name, expected in COUNTERS.items():
        assert labels[name] == expected, name
    for name in GAUGES:
        assert labels[name] == set(), name
    for name, expected in HISTOGRAMS.items():
        assert labels[f"{name}_count"] == labels[f"{name}_sum"] == expected, name
        assert labels[f"{name}_bucket"] == {*expected, "le"}, name
    assert labels["relata_info"] == {"version", "base", "device", "dtype"}
    ours = {re.sub("_(bucket|count|sum)$", "", n) for n in labels if n.startswith("relata_")}
    # Nothing beside them, nor when each counter was made. (Redis is not set up here.)
    assert ours == {*COUNTERS, *GAUGES, *HISTOGRAMS, "relata_info"}
    assert labels.keys() >= {"process_resident_memory_bytes", "python_info"}
    assert {pairs for name, pairs in samples if name == "relata_refusals_total"} == {
        (("reason", reason),) for reason in ("queue_full", "deadline", "stopping", "not_ready")
    }


def test_what_runs_here_is_named(asked: httpx.Client) -> None:
    info = asked.get("/info").json()
    labels = {
        "version": info["version"],
        "base": info["base"]["name"],
        "device": info["device"],
        "dtype": info["dtype"],
    }
    assert value(asked, "relata_info", **labels) == 1


def test_requests_are_counted_by_the_template_of_their_path(asked: httpx.Client) -> None:
    def count(route: str, method: str, status: int) -> float:
        labels = {"route": route, "method": method, "status": str(status)}
        return value(asked, "relata_requests_total", **labels)

    before = count("/relations/{relation}", "GET", 200), count("other", "GET", 404)
    for path in ("/relations/IsA", "/relations/HasA", "/nothing", "/nor/here"):
        asked.get(path)
    asked.get("/relations/NoSuchRelation")
    asked.put("/complete")
    assert count("/relations/{relation}", "GET", 200) == before[0] + 2
    assert count("other", "GET", 404) == before[1] + 2
    assert count("/relations/{relation}", "GET", 404) == 1
    assert count("/complete", "PUT", 405) == 1
    routes = {dict(pairs)["route"] for name, pairs in scrape(asked) if "requests_total" in name}
    assert not routes & {"/relations/IsA", "/nothing"}
    seconds = "relata_request_seconds_count"
    assert value(asked, seconds, route="/relations/{relation}") == before[0] + 3


def test_questions_are_counted_by_what_became_of_them(asked: httpx.Client) -> None:
    def counts() -> list[float]:
        outcomes = ("answered", "refused", "failed")
        return [
            value(asked, "relata_questions_total", kind="complete", outcome=outcome)
            for outcome in outcomes
        ]

    answered, refused, failed = counts()
    asked.post("/complete", json=SINGLE)
    asked.post("/complete", json={"queries": [SINGLE, SINGLE, {"subject": "dog"}]})
    assert counts() == [answered + 3, refused + 1, failed]
    for body in ({}, {"queries": []}, {"queries": 7}, SINGLE | {"relation": "Isa"}):
        assert asked.post("/complete", json=body).status_code in (404, 422)
    assert asked.post("/complete", content=b"{").status_code == 415
    assert counts() == [answered + 3, refused + 6, failed]
    # Too many are refused together.
    assert asked.post("/complete", json={"queries": [SINGLE] * 65}).status_code == 422
    assert counts() == [answered + 3, refused + 6 + 65, failed]


def test_passes_are_counted_with_what_was_in_them(asked: httpx.Client) -> None:
    def totals() -> dict[str, float]:
        names = ("rows_sum", "rows_count", "tokens_sum", "mask_sets_sum", "seconds_count")
        return {name: value(asked, f"relata_pass_{name}") for name in names}

    before, tokens = totals(), value(asked, "relata_tokens_total")
    queries = [
        {"subject": subject, "relation": relation, "filter": ["blue"]}
        for subject in ("cat", "bird")
        for relation in ("IsA", "MadeOf", "PartOf")
    ]
    unmasked = {"subject": "cat", "relation": "IsA", "masked": False, "filter": ["blue"]}
    body = {"queries": [*queries, unmasked]}
    assert asked.post("/complete", json=body).status_code == 200
    after = totals()
    passes = after["rows_count"] - before["rows_count"]
    assert after["seconds_count"] - before["seconds_count"] == passes
    assert after["rows_sum"] - before["rows_sum"] == 7
    assert 3 <= after["mask_sets_sum"] - before["mask_sets_sum"] <= 3 * passes
    # "A cat is a [MASK]." is 8 tokens, two of them at its ends; "made of" is one more, and so on.
    spent = 2 * (8 + 9 + 10) + 8
    assert after["tokens_sum"] - before["tokens_sum"] == spent
    assert value(asked, "relata_tokens_total") - tokens == spent


def test_stages_are_timed_for_what_was_answered(asked: httpx.Client) -> None:
    def counts() -> list[float]:
        stages = ("queue", "tokenize", "infer")
        return [value(asked, "relata_stage_seconds_count", stage=stage) for stage in stages]

    before = counts()
    asked.post("/complete", json={"queries": [SINGLE, SINGLE]})
    asked.post("/complete", json={})
    assert counts() == [count + 1 for count in before]


def test_caches_and_masks_are_looked_up(
    asked: httpx.Client, relation_masks: dict[str, RelationMask]
) -> None:
    hits = value(asked, "relata_answer_cache_hits_total", tier="memory")
    query = {"subject": "knife", "relation": "UsedFor"}
    for _ in range(3):
        assert asked.post("/complete", json=query).status_code == 200
    assert value(asked, "relata_answer_cache_hits_total", tier="memory") == hits + 2
    assert value(asked, "relata_answer_cache_misses_total") > 0
    assert value(asked, "relata_answer_cache_bytes") > 0
    assert value(asked, "relata_relations") == len(relation_masks)
    assert value(asked, "relata_mask_files_refused") == 0
    # A mask is made ready, or found so where loads of weights apply its bits.
    counters = ("relata_mask_cache_hits_total", "relata_mask_cache_misses_total")
    assert sum(value(asked, counter) for counter in counters) > 0
    assert value(asked, "relata_mask_cache_capacity_bytes") == 96 * 2**20
    for name in ("relata_queue_questions", "relata_queue_rows"):
        assert value(asked, name) == 0
    for change in ("put", "delete", "reload", "replica"):
        assert value(asked, "relata_mask_changes_total", change=change) == 0


def test_the_format_is_what_is_asked_for(asked: httpx.Client) -> None:
    plain = asked.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    modern = asked.get("/metrics", headers={"accept": accept})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in open_metrics_families(modern.text)}
    assert {"relata_requests", "relata_pass_rows", "relata_relations", "relata"} <= names


def test_a_full_queue_is_counted(
    start_server: Callable[..., Any], base_folder: Path, pack_folder: Path
) -> None:
    server = start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--cache", "off", "--queue-size", "1", "--max-queries", "1",
    )  # fmt: skip
    client = server.client
    statuses: list[int] = []

    async def flood() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as many:
            answers = (many.post("/complete", json=SINGLE) for _ in range(50))
            statuses.extend(answer.status_code for answer in await asyncio.gather(*answers))

    while 429 not in statuses:
        asyncio.run(flood())
    refused = statuses.count(429)
    assert set(statuses) == {200, 429}
    assert value(client, "relata_refusals_total", reason="queue_full") == refused
    labels = {"route": "/complete", "method": "POST", "status": "429"}
    assert value(client, "relata_requests_total", **labels) == refused
    # Whoever comes when it is over is let in.
    wait_until(lambda: value(client, "relata_queue_questions") == 0, "nothing is worked on")
    assert client.post("/complete", json=SINGLE).status_code == 200


def _asgi(app: Any, *requests: tuple[str, str]) -> list[httpx.Response]:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.request(method, path) for method, path in requests]

    return asyncio.run(send())


def _sample(text: str, start: str) -> float:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return float(line.rpartition(" ")[2])


def test_metrics_are_there_while_the_model_is_loading() -> None:
    app = create_app(Settings())
    requests = [("POST", "/complete"), ("GET", "/info"), ("GET", "/ready"), ("GET", "/metrics")]
    *refused, metrics = _asgi(app, *requests)
    assert [response.status_code for response in refused] == [503] * 3
    assert metrics.status_code == 200
    # A question, and not whoever looks whether it is ready.
    assert _sample(metrics.text, 'relata_refusals_total{reason="not_ready"}') == 1
    assert _sample(metrics.text, 'relata_refusals_total{reason="stopping"}') == 0
    assert "relata_queue_rows" not in metrics.text


def test_what_is_refused_at_the_end_is_told_apart() -> None:
    app = create_app(Settings())
    app.state.readiness.draining = app.state.readiness.stopping = True
    refused, metrics = _asgi(app, ("POST", "/complete"), ("GET", "/metrics"))
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert _sample(metrics.text, 'relata_refusals_total{reason="stopping"}') == 1


def test_a_full_queue_is_refused_without_a_look_at_the_question() -> None:
    app = create_app(Settings())
    full = SimpleNamespace(refusal=lambda: OverloadedError(7, 7, retry_after=3))
    app.state.readiness.service = SimpleNamespace(inference=full)
    refused, other = _asgi(app, ("POST", "/complete"), ("POST", "/nothing"))
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3"
    assert refused.headers["x-request-id"]
    assert refused.json()["type"] == "urn:relata:problem:overloaded"
    assert other.status_code == 404


def test_applications_do_not_count_for_each_other() -> None:
    first, second = create_app(Settings()), create_app(Settings())
    _asgi(first, ("GET", "/health"), ("GET", "/health"))
    (metrics,) = _asgi(first, ("GET", "/metrics"))
    assert _sample(metrics.text, 'relata_requests_total{method="GET",route="/health"') == 2
    (metrics,) = _asgi(second, ("GET", "/metrics"))
    assert "/health" not in metrics.text


def test_methods_that_nobody_knows_are_one() -> None:
    app = create_app(Settings())
    *_, metrics = _asgi(app, ("BREW", "/pot"), ("STEEP", "/pot"), ("GET", "/metrics"))
    labels = '{method="other",route="other",status="404"}'
    assert _sample(metrics.text, f"relata_requests_total{labels}") == 2


def test_what_is_recorded_adds_up(make_mask: Callable[..., RelationMask]) -> None:
    metrics = Metrics()
    masks = [make_mask("IsA"), make_mask("MadeOf"), None]
    work = tuple(SimpleNamespace(mask=masks[index % 3]) for index in range(7))
    metrics.record_pass(Pass(work, 70, 0.02))  # type: ignore[arg-type]
    trace = Trace("id", kind="complete", questions=3)
    trace.outcomes.update(answered=2, failed=1)
    metrics.record_questions(trace)
    metrics.record_cancelled()
    text = metrics.expose("")[0].decode()
    assert _sample(text, "relata_pass_mask_sets_sum") == 2
    assert _sample(text, "relata_pass_rows_sum") == 7
    assert _sample(text, 'relata_pass_rows_bucket{le="4.0"}') == 0
    assert _sample(text, 'relata_pass_rows_bucket{le="8.0"}') == 1
    assert _sample(text, "relata_tokens_total") == 70
    assert _sample(text, 'relata_questions_total{kind="complete",outcome="failed"}') == 1
    assert _sample(text, "relata_cancelled_total") == 1
    assert 'outcome="refused"' not in text
