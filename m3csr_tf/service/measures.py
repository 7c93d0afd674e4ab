"""What the service counts and times, for Prometheus; no label holds an id."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Measures:
    """The metrics of one process; they begin anew with each version, as with any restart."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("m3csr_requests", "Requests by route and status.", ["route", "status"], registry=own)
        self.seconds = Histogram(
            "m3csr_request_seconds", "Seconds of a request.", ["route"], buckets=_SECONDS, registry=own
        )
        self.batch_users = Histogram("m3csr_batch_users", "Users of a search.", buckets=_USERS, registry=own)
        self.waiting = Gauge("m3csr_waiting_users", "Users that wait for a search.", registry=own)
        self.unknown_ids = Counter("m3csr_unknown_ids", "Unknown ids of histories and exclusions.", registry=own)
        self.version = Gauge("m3csr_release_version", "Version of the release.", registry=own)
        self.position = Gauge("m3csr_journal_position", "Refreshes of that version that are taken in.", registry=own)
        self.items = Gauge("m3csr_items", "Items that can be recommended.", registry=own)
        self.changes = Counter("m3csr_refreshed_items", "Items added, changed and removed since then.", registry=own)
        self.refresh_fails = Gauge("m3csr_refresh_fails", "1 while the journal cannot be followed.", registry=own)

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        return generate_latest(self._registry)
