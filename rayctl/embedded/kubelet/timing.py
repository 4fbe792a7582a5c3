"""The kubelet's times, in seconds. Kubernetes' own unless a test says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True)
class Timing:
    """``back_off_*``: between restarts of a container that keeps ending; ``back_off_reset_s``: a container that ran so
    long starts the row anew. ``name_wait_s``: how long a container waits for a Service that it names.
    ``token_share``: the share of its life after which a pod's token is replaced."""

    back_off_first_s: float = 10.0
    back_off_most_s: float = 300.0
    back_off_reset_s: float = 600.0
    heartbeat_s: float = 10.0
    lease_s: int = 40
    name_wait_s: float = 30.0
    retry_s: float = 2.0
    kill_wait_s: float = 10.0
    token_share: float = 0.8
