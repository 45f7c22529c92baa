"""What /metrics shows."""

from __future__ import annotations

import os
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
# prometheus_client reads it when it is imported: set, it keeps its numbers in files of that folder
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Counters for Prometheus; with several workers, the sum of all."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "server_requests", "Requests answered", ["path", "status"], registry=own
        )
        self.seconds = Histogram(
            "server_request_seconds", "Time to the answer", ["path"], registry=own
        )
        self.batch = Histogram(
            "server_batch_items", "Items in one run", buckets=BATCH_BUCKETS, registry=own
        )
        self.run_seconds = Histogram("server_run_seconds", "Time of one run", registry=own)
        self.waiting = Gauge(
            "server_items_admitted",
            "Items waiting or running",
            registry=own,
            multiprocess_mode="livesum",
        )

        self.truncated = Counter(
            "server_items_truncated", "Inputs of which the network saw a part", registry=own
        )

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        """Count one request, by its route."""
        count, took = self._of_route(path, status)
        count.inc()
        took.observe(seconds)

    @cache  # noqa: B019 - it lives as long as the process
    def _of_route(self, path: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(path, status), self.seconds.labels(path)

    def observe_run(self, items: int, seconds: float) -> None:
        """Count one run of the network."""
        self.batch.observe(items)
        self.run_seconds.observe(seconds)

    def render(self) -> bytes:
        """Prometheus' text format."""
        if SHARED_FOLDER in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)
