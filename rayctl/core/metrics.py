"""What the kernel tells of its work. `rayctl.telemetry.metrics.Metrics` counts it, under well-known names."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Metrics"]


class Metrics:
    """Counts nothing; a subclass counts what it overrides.

    No method takes the name of an object: the number of series must not grow with the cluster. Times in seconds."""

    def added(self, controller: str) -> None:
        """A key was added to the queue."""

    def depth(self, controller: str, waiting: int, in_work: int) -> None:
        """So many keys wait, so many are worked on."""

    def waited(self, controller: str, seconds: float) -> None:
        """A key waited so long."""

    def workers(self, controller: str, count: int) -> None:
        """So many keys are worked on at once, at most."""

    def passed(self, controller: str, result: str, seconds: float) -> None:
        """A pass ended after so long; ``result``: an `Ending`'s value, ``nothing``, ``stale`` or ``crashed``."""

    def timed_out(self, controller: str) -> None:
        """A look was given up."""

    def retried(self, controller: str) -> None:
        """A key was put back because of a failure."""

    def unfinished(self, controller: str, together_s: float, longest_s: float) -> None:
        """The keys in work have been worked on for so long together, and the oldest of them for so long."""

    def stale(self, controller: str) -> None:
        """A pass was put off because the caches had not seen our own writes."""

    def leads(self, lease: str, does: bool) -> None:
        """This process leads, or no longer does."""

    def fenced(self, lease: str) -> None:
        """A write was not sent because the lease was over."""

    def requested(self, method: str, code: int, seconds: float) -> None:
        """A request was answered (``code``), or not (0), after so long."""

    def cached(self, resource: str, objects: int, revision: str, lag_s: float) -> None:
        """A cache has so many objects, is at a resourceVersion, and last heard from the server so long ago."""

    def relisted(self, resource: str, reason: str) -> None:
        """A cache had to list anew; ``reason``: one word."""

    def watch_restarted(self, resource: str, reason: str) -> None:
        """A watch was begun anew; ``reason``: one word."""

    def switched(self, phase: str, seconds: float) -> None:
        """A phase of a switchover (``total``: all of it) took so long."""

    def provisioned(self, seconds: float) -> None:
        """A RayCluster became ready so long after its creation."""

    def conditions(self, kind: str, counts: Mapping[tuple[str, str], int]) -> None:
        """Replace what is told about a kind: (type, status) → number of objects."""

    def replicas(self, kind: str, desired: int, ready: int) -> None:
        """So many replicas of all objects of a kind together are wanted, so many are ready."""
