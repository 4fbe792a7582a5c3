"""What a tenant's calls need on a cluster, found out and put there: facts, environments, rayctl itself.

Everything here talks to Ray. What is decided is in `rayctl.tenancy.environment`, what runs on the nodes in
`rayctl.tenancy.overlay`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rayctl import __version__
from rayctl.errors import DeadlineExceeded, InvalidRequest, Unavailable
from rayctl.tenancy import overlay
from rayctl.tenancy.environment import Facts, overlay_name, requirements, runtime_env
from rayctl.tenancy.handle import TenantContext
from rayctl.tenancy.model import EnvironmentSpec, TenantConfig
from rayctl.tenancy.versions import check_versions

__all__ = ["container_runtimes", "environments", "facts_of", "prepare", "prune", "start_process", "warm"]

_PROBE_S = 120.0
_EXTRA_S = 60.0
_NEEDS = {"pydantic": "pydantic>=2.11,<3", "msgpack": "msgpack>=1.1,<2", "packaging": "packaging>=24"}
_NOT_SENT = ("automl", "api", "cli", "selfhost", "state", "__pycache__")


def _remote(function: Any, **options: Any) -> Any:
    """Return a remote function that also runs where rayctl is not installed."""
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(overlay)
    return ray.remote(**{"num_cpus": 0, "max_retries": 2, **options})(function)


def facts_of() -> Facts:
    """Ask the connected cluster what it is. Takes one small task.

    Raises:
        DeadlineExceeded: no worker answered.
        UnsupportedEnvelope: ``version-window``.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        found: dict[str, Any] = ray.get(_remote(overlay.look).remote(), timeout=_PROBE_S)
    except GetTimeoutError:
        raise DeadlineExceeded(
            f"No worker of the cluster answered within {_PROBE_S:g} s.", hint="Look at its state: `ray status`."
        ) from None
    except RayError as error:
        raise _unavailable(error) from error
    if found["rayctl"] is not None:
        check_versions(__version__, found["rayctl"])
    return Facts(
        python=found["python"],
        ray=found["ray"],
        rayctl=found["rayctl"],
        venv=found["venv"],
        overlays=found["overlays"],
        missing=tuple(found["missing"]),
    )


def prepare(config: TenantConfig, facts: Facts | None = None) -> dict[str, Any] | None:
    """Return the runtime environment of a tenant's calls on the connected cluster, built on every node if it can be.

    Raises:
        InvalidRequest: ``environment-error``: the packages cannot be installed; the message is the installer's.
            ``no-container-runtime``: the tenant wants an image, and a node could not run it.
        DeadlineExceeded, UnsupportedEnvelope: see `facts_of`.
    """
    known = facts if facts is not None else facts_of()
    spec = config.environment
    if spec.isolation == "image":
        _demand_container_runtime()
        return runtime_env(spec, known)  # rayctl is part of the image: Ray brings nothing into one
    if known.rayctl is None:
        # rayctl's own needs are packages of the environment like the tenant's.
        wanted = [*spec.packages, *(_NEEDS[name] for name in known.missing)]
        if wanted:
            spec = EnvironmentSpec.model_validate({**spec.model_dump(), "isolation": "venv", "packages": wanted})
    warm(spec, known)
    found = runtime_env(spec, known)
    if known.rayctl is None:
        found = {**(found or {}), "py_modules": [_sent()]}
    return found


def container_runtimes() -> dict[str, str | None]:
    """Return node id → the program that starts containers there; None: there is none."""
    return {
        node: found["container_runtime"] for node, found in _on_every_node(overlay.look, timeout_s=_PROBE_S).items()
    }


def _demand_container_runtime() -> None:
    """Refuse an image where it could not run: Ray itself would only say so in a log, after minutes."""
    lacking = sorted(node for node, found in container_runtimes().items() if found is None)
    if lacking:
        raise InvalidRequest(
            f"The tenant's calls are to run in an image, and {len(lacking)} of the cluster's nodes have no podman: "
            f"{', '.join(node[:12] for node in lacking[:3])}{', …' if len(lacking) > 3 else ''}.",
            code="no-container-runtime",
            hint="Install podman on every node, or choose packages (isolation venv) instead of an image.",
        )


def _sent() -> str:
    """Upload the part of rayctl that a tenant's calls need, unless it is there; returns its URI."""
    from ray._private.runtime_env import packaging

    import rayctl

    root = str(Path(rayctl.__file__).parent)
    excludes = [*_NOT_SENT]
    uri = packaging.get_uri_for_directory(root, include_gitignore=False, excludes=excludes)
    with TemporaryDirectory(prefix="rayctl-") as folder:
        packaging.upload_package_if_needed(
            uri, folder, root, include_gitignore=False, include_parent_dir=True, excludes=excludes
        )
    return str(uri)


def _on_every_node(function: Any, *args: Any, timeout_s: float) -> dict[str, Any]:
    """Run a function of `overlay` on every node that is alive; returns node id → result."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = _remote(function)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    calls = {
        node: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*args)
        for node in nodes
    }
    try:
        return dict(zip(calls, ray.get(list(calls.values()), timeout=timeout_s), strict=True))
    except GetTimeoutError:
        raise DeadlineExceeded(f"Not all nodes answered within {timeout_s:g} s.", code="environment-timeout") from None
    except RayError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    """A node or a worker died meanwhile, or the node's folder for environments cannot be used."""
    said = str(getattr(error, "cause", None) or error).strip().splitlines() or [""]
    return Unavailable(f"The cluster could not prepare the tenant's environment: {said[-1]}", code="environment-failed")


def warm(spec: EnvironmentSpec, facts: Facts) -> float:
    """Build an environment on all nodes, where rayctl builds them; returns the seconds of the slowest node.

    Raises:
        InvalidRequest: ``environment-error``, with the installer's message.
        DeadlineExceeded: ``environment-timeout``.
    """
    packages = requirements(spec)
    if not packages or facts.venv is None or spec.isolation == "image":
        return 0.0
    name = overlay_name(spec, facts)
    limit_s = spec.setup_timeout_s
    results = _on_every_node(overlay.build, name, packages, limit_s, timeout_s=limit_s + _EXTRA_S)
    for result in results.values():
        if not result["ok"]:
            raise InvalidRequest(
                f"The tenant's packages could not be installed: {result['message']}",
                code="environment-error",
                hint="Check names and versions of environment.packages, and environment.setup_timeout_s.",
            )
    return max((float(result["seconds"]) for result in results.values()), default=0.0)


def start_process(context: TenantContext) -> None:
    """Start a process in a tenant's environment and wait for it; the next call finds it there.

    Raises:
        InvalidRequest: ``environment-error``: Ray cannot build the environment; with the reason.
    """
    from ray.exceptions import RuntimeEnvSetupError

    try:
        context.get(context.submit(lambda: None))
    except RuntimeEnvSetupError as error:
        raise InvalidRequest(
            f"The tenant's environment could not be built: {error.error_message}",
            code="environment-error",
            hint="Check names and versions of environment.packages, the image, and environment.setup_timeout_s.",
        ) from error


def environments() -> dict[str, list[dict[str, Any]]]:
    """Return node id → the environments that rayctl built there.

    Each has name, requirements, base (the installation under it),
    bytes, built_at, seconds (of its building), used_at, and whether it is in_use.
    """
    return _on_every_node(overlay.inventory, timeout_s=_PROBE_S)


def prune(keep_bytes: int) -> dict[str, list[str]]:
    """Remove unused environments until those of a node take at most so many bytes; returns node id → names."""
    return _on_every_node(overlay.prune, keep_bytes, timeout_s=_PROBE_S)
