"""What an operator of rayctl can change about how clusters are built: KubeRay's switches, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClusterOptions"]


@dataclass(frozen=True)
class ClusterOptions:
    """Args:
    cluster_domain: The domain of services' names.
    head_cluster_ip: The head's service gets an address of its own instead of being headless.
    login_shell: Ray is started by a login shell.
    inject_probes: Ray's container gets probes where the user set none.
    inject_wait: Workers wait in an init container until the head answers.
    token_by_default: Clusters that say nothing about authentication get a token.
    embedded_storage: The backend ``rocksdb`` may be used.
    redis_cleanup: A deleted cluster's keys are removed from Redis.
    """

    cluster_domain: str = "cluster.local"
    head_cluster_ip: bool = False
    login_shell: bool = False
    inject_probes: bool = True
    inject_wait: bool = True
    token_by_default: bool = True
    embedded_storage: bool = True
    redis_cleanup: bool = True

    @property
    def shell(self) -> list[str]:
        """What runs command lines."""
        return ["/bin/bash", "-cl" if self.login_shell else "-c", "--"]
