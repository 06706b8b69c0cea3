"""The metrics of one application: counted where things happen, written out when asked for."""

from collections.abc import Iterator
from http import HTTPMethod
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.metrics_core import Metric

from app.batcher import Pass
from app.metrics.state import StateCollector
from app.service import Service
from app.trace import Trace
from plm import Probe

# Upper bounds of the buckets, in seconds, rows, tokens and mask sets.
_REQUEST_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_SECONDS = (0.0005, 0.001, *_REQUEST_SECONDS)
_PASS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_ROWS = tuple(2.0**power for power in range(11))
_TOKENS = tuple(2.0**power for power in range(3, 15))
_MASK_SETS = (0.0, 1, 2, 4, 8, 16, 32, 64, 128)

Refusal = Literal["queue_full", "deadline", "stopping", "not_ready"]
_METHODS = frozenset(HTTPMethod)


class Metrics:
    """Records what an application does. Its methods may be called from any thread."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "relata_requests_total",
            "Requests by route, method and status; 499: the client went away.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "relata_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._questions = Counter(
            "relata_questions_total",
            "Questions by kind: answered, refused, or failed by fault of the server or in time.",
            ("kind", "outcome"),
            registry=registry,
        )
        stages = Histogram(
            "relata_stage_seconds",
            "Where the time of requests went: queue, tokenize, infer.",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self._queue, self._tokenize, self._infer = map(
            stages.labels, ("queue", "tokenize", "infer")
        )
        self._rows = Histogram(
            "relata_pass_rows", "Rows of a pass.", buckets=_ROWS, registry=registry
        )
        self._pass_tokens = Histogram(
            "relata_pass_tokens", "Tokens of a pass.", buckets=_TOKENS, registry=registry
        )
        self._mask_sets = Histogram(
            "relata_pass_mask_sets",
            "Mask sets of a pass, the unmasked model not counted.",
            buckets=_MASK_SETS,
            registry=registry,
        )
        self._pass_seconds = Histogram(
            "relata_pass_seconds",
            "How long the model took for a pass.",
            buckets=_PASS_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "relata_tokens_total", "Tokens that went through the model.", registry=registry
        )
        refusals = Counter(
            "relata_refusals_total",
            "Requests that were not answered for want of room, time or a model.",
            ("reason",),
            registry=registry,
        )
        self._refusals = {reason: refusals.labels(reason) for reason in get_args(Refusal)}
        self._cancelled = Counter(
            "relata_cancelled_total",
            "Requests given up because the client went away.",
            registry=registry,
        )
        self._state = StateCollector()
        registry.register(self._state)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def watch(self, service: Service) -> None:
        """Look up the state of the service, too, from now on."""
        self._state.service = service

    def record_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that came to its end; `route` is the template of its path."""
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, status).inc()
        self._request_seconds.labels(route).observe(seconds)

    def record_questions(self, trace: Trace) -> None:
        """Count what became of the questions of a request, and where its time went."""
        for outcome, count in trace.outcomes.items():
            self._questions.labels(trace.kind, outcome).inc(count)
        if trace.timing is not None:
            self._queue.observe(trace.timing.queue)
            self._tokenize.observe(trace.timing.tokenize)
            self._infer.observe(trace.timing.infer)

    def record_refusal(self, reason: Refusal) -> None:
        """Count a request that was not answered for want of room, time or a model."""
        self._refusals[reason].inc()

    def record_cancelled(self) -> None:
        """Count a request whose client went away."""
        self._cancelled.inc()

    def record_pass(self, done: Pass[Probe]) -> None:
        """Count a pass over the model."""
        self._rows.observe(done.pieces)
        self._pass_tokens.observe(done.weight)
        self._tokens.inc(done.weight)
        masks = {probe.mask.digest for probe in done.work if probe.mask is not None}
        self._mask_sets.observe(len(masks))
        self._pass_seconds.observe(done.seconds)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Everything in the format that an Accept header asks for, and its media type."""
        encode, media_type = exposition.choose_encoder(accept)
        return encode(self), media_type

    def collect(self) -> Iterator[Metric]:
        """All metrics, without the times at which they were made: one more series for each."""
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric
