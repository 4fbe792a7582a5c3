"""What a process counts, under the names that dashboards for Kubernetes controllers know; as text for Prometheus.

The names are those of controller-runtime and client-go; what they have no name for begins with ``rayctl_``. No method
takes the name of an object, and every label has few values: the number of series does not grow with the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from rayctl.core.metrics import Metrics as Counted

__all__ = ["CONTENT_TYPE", "OTHER", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
"""The value of a label that has too many already."""
_MOST_VALUES = 40
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

_QUEUE_S = tuple(10.0**power for power in range(-6, 4))
_PASS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_REQUEST_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_LONG_S = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)

_RESULTS = {
    "done": "success",
    "nothing": "success",
    "again": "requeue",
    "stale": "requeue_after",
    "later": "requeue_after",
    "refused": "error",
    "trouble": "error",
    "lost": "error",
    "crashed": "error",
}
"""How a pass ended, in rayctl's words and in controller-runtime's."""


class Metrics(Counted):
    """All metrics of one process. Its own registry, so that several can live side by side.

    It is what the kernel tells of its work (`rayctl.core.metrics`). Durations are in seconds.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._values: dict[str, set[str]] = {}
        self._leading: set[str] = set()
        self._families: list[tuple[str, tuple[str, ...]]] = []
        self._told: dict[str, set[tuple[str, str, str]]] = {}
        self._queue_metrics()
        self._pass_metrics()
        self._request_metrics()
        self._cache_metrics()
        self._domain_metrics()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(_Shown(self.registry))

    def names(self) -> frozenset[str]:
        """Return the names of all series that can appear: ``…_total``, ``…_bucket``, ``…_sum``, ``…_count``."""
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
        return frozenset(family.name + ending for family in self.registry.collect() for ending in endings[family.type])

    def families(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return each metric's name, as it was made, with its labels."""
        return sorted(self._families)

    # Queues ----------------------------------------------------------------------------------------------

    def _queue_metrics(self) -> None:
        labels = ["name", "controller"]
        self._adds = self._counter("workqueue_adds", "Keys that were added.", labels)
        self._depth = self._gauge("workqueue_depth", "Keys that wait.", labels)
        self._retries = self._counter("workqueue_retries", "Keys that were put back after a failure.", labels)
        self._waits = self._histogram("workqueue_queue_duration_seconds", "How long keys waited.", labels, _QUEUE_S)
        self._works = self._histogram(
            "workqueue_work_duration_seconds", "How long keys were worked on.", labels, _QUEUE_S
        )
        self._unfinished = self._gauge(
            "workqueue_unfinished_work_seconds", "How long the keys in work have been worked on, together.", labels
        )
        self._longest = self._gauge(
            "workqueue_longest_running_processor_seconds", "How long the oldest key in work has been.", labels
        )

    def added(self, controller: str) -> None:
        """A key was added to the queue."""
        self._adds.labels(controller, controller).inc()

    def depth(self, controller: str, waiting: int, in_work: int) -> None:
        """So many keys wait, so many are worked on."""
        self._depth.labels(controller, controller).set(waiting)
        self._active.labels(controller).set(in_work)

    def waited(self, controller: str, seconds: float) -> None:
        """A key waited so long."""
        self._waits.labels(controller, controller).observe(seconds)

    def retried(self, controller: str) -> None:
        """A key was put back because of a failure."""
        self._retries.labels(controller, controller).inc()

    def unfinished(self, controller: str, together_s: float, longest_s: float) -> None:
        """The keys in work have been worked on for so long, and the oldest of them for so long."""
        self._unfinished.labels(controller, controller).set(together_s)
        self._longest.labels(controller, controller).set(longest_s)

    # Passes ----------------------------------------------------------------------------------------------

    def _pass_metrics(self) -> None:
        prefix, one = "controller_runtime_", ["controller"]
        self._reconciles = self._counter(f"{prefix}reconcile", "Passes, by how they ended.", ["controller", "result"])
        self._errors = self._counter(f"{prefix}reconcile_errors", "Passes that failed.", one)
        self._terminal = self._counter(f"{prefix}terminal_reconcile_errors", "Passes that met a refusal for good.", one)
        self._panics = self._counter(f"{prefix}reconcile_panics", "Passes that ended by a defect.", one)
        self._timeouts = self._counter(f"{prefix}reconcile_timeouts", "Looks that took too long.", one)
        self._times = self._histogram(f"{prefix}reconcile_time_seconds", "How long passes took.", one, _PASS_S)
        self._active = self._gauge(f"{prefix}active_workers", "Keys in work.", one)
        self._most_active = self._gauge(f"{prefix}max_concurrent_reconciles", "Workers.", one)
        self._stale = self._counter("rayctl_stale_skips", "Passes put off: own writes were not seen yet.", one)

    def passed(self, controller: str, result: str, seconds: float) -> None:
        """A pass ended after so long; ``result``: an `rayctl.core.execute.Ending`, ``nothing`` or ``crashed``."""
        outcome = _RESULTS.get(result, "error")
        self._reconciles.labels(controller, outcome).inc()
        self._times.labels(controller).observe(seconds)
        self._works.labels(controller, controller).observe(seconds)
        if outcome == "error":
            self._errors.labels(controller).inc()
        if result == "refused":
            self._terminal.labels(controller).inc()
        if result == "crashed":
            self._panics.labels(controller).inc()

    def timed_out(self, controller: str) -> None:
        """A look was given up."""
        self._timeouts.labels(controller).inc()

    def workers(self, controller: str, count: int) -> None:
        """So many keys are worked on at once, at most."""
        self._most_active.labels(controller).set(count)

    def stale(self, controller: str) -> None:
        """A pass was put off because the caches had not seen our own writes."""
        self._stale.labels(controller).inc()

    # Leaders and requests --------------------------------------------------------------------------------

    def _request_metrics(self) -> None:
        self._leads = self._gauge("leader_election_master_status", "1 while this process leads.", ["name"])
        self._changes = self._counter("rayctl_leader_transitions", "Times that this process began to lead.", ["name"])
        self._fenced = self._counter("rayctl_fenced_requests", "Writes not sent: the lease was over.", ["name"])
        self._requests = self._counter("rest_client_requests", "Requests to the Kubernetes API.", ["code", "method"])
        self._latency = self._histogram(
            "rest_client_request_duration_seconds", "How long they took.", ["verb"], _REQUEST_S
        )

    def leads(self, lease: str, does: bool) -> None:
        """This process leads, or no longer does."""
        if does and lease not in self._leading:
            self._changes.labels(lease).inc()
        (self._leading.add if does else self._leading.discard)(lease)
        self._leads.labels(lease).set(int(does))

    def fenced(self, lease: str) -> None:
        """A write was not sent because the lease was over."""
        self._fenced.labels(lease).inc()

    def requested(self, method: str, code: int, seconds: float) -> None:
        """A request was answered (``code``), or not (0), after so long."""
        method = method if method in _METHODS else OTHER
        self._requests.labels(self._few("code", str(code) if code else "<error>"), method).inc()
        self._latency.labels(method).observe(seconds)

    # Caches ----------------------------------------------------------------------------------------------

    def _cache_metrics(self) -> None:
        one = ["resource"]
        self._objects = self._gauge("rayctl_informer_objects", "Objects in the cache.", one)
        self._revision = self._gauge("rayctl_informer_store_rv", "The cache's resourceVersion.", one)
        self._lag = self._gauge("rayctl_informer_lag_seconds", "Since the cache heard from the server.", one)
        self._relists = self._counter("rayctl_informer_relists", "Lists after the first.", ["resource", "reason"])
        self._watches = self._counter("rayctl_informer_watch_restarts", "Watches begun anew.", ["resource", "reason"])

    def cached(self, resource: str, objects: int, revision: str, lag_s: float) -> None:
        """A cache has so many objects, is at a resourceVersion, and last heard from the server so long ago."""
        resource = self._few("resource", resource)
        self._objects.labels(resource).set(objects)
        self._revision.labels(resource).set(float(revision) if revision.isdigit() else 0.0)
        self._lag.labels(resource).set(lag_s)

    def relisted(self, resource: str, reason: str) -> None:
        """A cache had to list anew; ``reason``: one word."""
        self._relists.labels(self._few("resource", resource), self._few("reason", reason)).inc()

    def watch_restarted(self, resource: str, reason: str) -> None:
        """A watch was begun anew; ``reason``: one word."""
        self._watches.labels(self._few("resource", resource), self._few("reason", reason)).inc()

    # What it is all for ----------------------------------------------------------------------------------

    def _domain_metrics(self) -> None:
        self._conditions = self._gauge(
            "rayctl_condition", "Objects with this status of a condition.", ["kind", "type", "status"]
        )
        self._desired = self._gauge("rayctl_desired_replicas", "Replicas that are wanted, over all objects.", ["kind"])
        self._ready = self._gauge("rayctl_ready_replicas", "Replicas that are ready, over all objects.", ["kind"])
        self._switches = self._histogram(
            "rayctl_switchover_seconds", "How long the phases of switchovers took.", ["phase"], _LONG_S
        )
        self._provisioned = self._histogram(
            "rayctl_cluster_provisioned_duration_seconds", "From a RayCluster's creation to ready.", [], _LONG_S
        )

    def conditions(self, kind: str, counts: Mapping[tuple[str, str], int]) -> None:
        """Replace what is told about a kind: (type, status) → number of objects."""
        found: dict[tuple[str, str, str], int] = {}
        for (type_, status), count in counts.items():
            status = status if status in ("True", "False") else "Unknown"
            labels = (kind, self._few("type", type_), status)
            found[labels] = found.get(labels, 0) + count
        for labels in self._told.get(kind, set()) - set(found):
            self._conditions.remove(*labels)
        for labels, count in found.items():
            self._conditions.labels(*labels).set(count)
        self._told[kind] = set(found)

    def replicas(self, kind: str, desired: int, ready: int) -> None:
        """So many replicas of all objects of a kind together are wanted, so many are ready."""
        self._desired.labels(kind).set(desired)
        self._ready.labels(kind).set(ready)

    def switched(self, phase: str, seconds: float) -> None:
        """A phase of a switchover (``total``: all of it) took so long."""
        self._switches.labels(self._few("phase", phase)).observe(seconds)

    def provisioned(self, seconds: float) -> None:
        """A RayCluster became ready so long after its creation."""
        self._provisioned.observe(seconds)

    # ------------------------------------------------------------------------------------------------------

    def _few(self, label: str, value: str) -> str:
        """Return a label's value, or `OTHER` once the label has as many values as it may have."""
        known = self._values.setdefault(label, set())
        if value not in known:
            if len(known) >= _MOST_VALUES:
                return OTHER
            known.add(value)
        return value

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        self._families.append((name, tuple(labels)))
        return Counter(name, text, list(labels), registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str]) -> Gauge:
        self._families.append((name, tuple(labels)))
        return Gauge(name, text, list(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Histogram:
        self._families.append((name, tuple(labels)))
        return Histogram(name, text, list(labels), registry=self.registry, buckets=buckets)


class _Shown:
    """A registry's collector without the times at which series began, which nobody draws."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
