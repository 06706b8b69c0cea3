"""What is looked up when Prometheus asks: the queue, the caches, the masks."""

from collections.abc import Iterator

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.service import Service
from app.version import relata_version


class StateCollector(Collector):
    """Reads a service; there is nothing to tell before there is one.

    Attributes:
        service: what is read.
    """

    def __init__(self) -> None:
        self.service: Service | None = None

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        if self.service is None:
            return
        yield _info(self.service)
        yield from _queue(self.service)
        yield from _mask_cache(self.service)
        yield from _answer_cache(self.service)
        yield from _masks(self.service)


def _info(service: Service) -> Metric:
    base = service.engine.base
    return InfoMetricFamily(
        "relata",
        "What runs here.",
        {
            "version": relata_version(),
            "base": base.name,
            "device": str(base.device),
            "dtype": str(base.products).removeprefix("torch."),
        },
    )


def _queue(service: Service) -> Iterator[Metric]:
    backlog = service.inference.backlog()
    yield GaugeMetricFamily(
        "relata_queue_questions", "Questions accepted and not yet answered.", backlog.questions
    )
    yield GaugeMetricFamily("relata_queue_rows", "Rows that wait for the model.", backlog.pieces)


def _mask_cache(service: Service) -> Iterator[Metric]:
    stats = service.engine.cache.stats()
    yield GaugeMetricFamily(
        "relata_mask_cache_bytes", "Memory of the masked weights kept ready.", stats.bytes
    )
    yield GaugeMetricFamily(
        "relata_mask_cache_capacity_bytes", "Memory that they may take.", stats.capacity
    )
    yield GaugeMetricFamily("relata_mask_cache_sets", "Mask sets kept ready.", stats.entries)
    yield CounterMetricFamily(
        "relata_mask_cache_hits", "Uses of a mask set that was ready.", stats.hits
    )
    yield CounterMetricFamily(
        "relata_mask_cache_misses", "Uses of a mask set that was not.", stats.misses
    )
    yield CounterMetricFamily(
        "relata_mask_cache_evictions", "Mask sets dropped to make room.", stats.evictions
    )


def _answer_cache(service: Service) -> Iterator[Metric]:
    stats = service.inference.cache_stats()
    if stats is None:
        return
    hits = CounterMetricFamily(
        "relata_answer_cache_hits",
        "Rows answered from the cache: from memory, or from Redis.",
        labels=["tier"],
    )
    hits.add_metric(["memory"], stats.memory_hits)
    hits.add_metric(["redis"], stats.redis_hits)
    yield hits
    yield CounterMetricFamily(
        "relata_answer_cache_misses", "Rows that the model was asked for.", stats.misses
    )
    yield CounterMetricFamily(
        "relata_answer_cache_errors",
        "Failures of Redis, and answers that it held wrongly or refused to keep.",
        stats.errors,
    )
    yield GaugeMetricFamily(
        "relata_answer_cache_bytes", "Memory of the answers kept by this process.", stats.bytes
    )
    if stats.redis_up is not None:
        yield GaugeMetricFamily("relata_redis_up", "Whether Redis is used.", stats.redis_up)


def _masks(service: Service) -> Iterator[Metric]:
    catalogue = service.catalogue
    yield GaugeMetricFamily(
        "relata_relations", "Relations that can be asked for.", len(catalogue.served)
    )
    yield GaugeMetricFamily(
        "relata_mask_files_refused", "Mask files that are not served.", len(catalogue.refused)
    )
    changes = CounterMetricFamily(
        "relata_mask_changes",
        "Changes of masks by request (put, delete), folder (reload) or another replica (replica).",
        labels=["change"],
    )
    for change, count in service.hot_masks.counts().items():
        changes.add_metric([change], count)
    yield changes
