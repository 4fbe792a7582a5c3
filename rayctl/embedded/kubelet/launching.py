"""From a container in a pod's document to what its shim is told: argument list, environment, mounts. Reads nothing but
its arguments and the volumes' folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

from rayctl.embedded.apiserver.quantity import parse_quantity
from rayctl.embedded.kubelet.account import MOUNT_PATH
from rayctl.embedded.kubelet.containers import Launch
from rayctl.embedded.kubelet.environment import Facts, Lookup, Missing, expand, resolve_command, resolve_environment
from rayctl.embedded.kubelet.images import Environment
from rayctl.embedded.kubelet.network.port import Attached
from rayctl.embedded.kubelet.rewriting import local_ports, paths, serve_port, service_names, services_named
from rayctl.embedded.kubelet.spec import ContainerSpec, PodSpec

__all__ = ["Surroundings", "build_launch", "commands_of", "mounts_of", "object_store_bytes", "pod_folder", "texts_of"]

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OBJECT_STORE_SHARE = Decimal("0.3")
LEAST_OBJECT_STORE = 80_000_000
"""Ray refuses less than 75 MB."""
MOST_OBJECT_STORE = 1_000_000_000
"""For containers without a limit of memory: Ray would take 30 % of the machine, for each node anew."""


@dataclass(frozen=True)
class Surroundings:
    """What a container's start depends on beside its document.

    ``folder``: of the pod; ``short``: the pod's folder with a short path, for sockets; ``programs``: folder of the
    ``ray`` that stands for Ray's; ``volumes``: name → folder; ``service``: (namespace, name) → address; ``hidden``:
    folders that no pod may see; ``account``: folder of the service account's files; ``api``: variables about the API
    server.
    """

    place: Attached
    mode: str
    namespace: str | None
    environment: Environment
    facts: Facts
    folder: Path
    short: Path
    programs: Path
    volumes: Mapping[str, Path]
    config_map: Lookup
    secret: Lookup
    service: Callable[[str, str], str | None]
    hidden: tuple[Path, ...] = ()
    account: Path | None = None
    api: Mapping[str, str] = field(default_factory=dict)


def pod_folder(base: Path, uid: str) -> Path:
    """Return a pod's folder with a short path: Ray's sockets allow 41 bytes for the folder that they are in."""
    return base / hashlib.sha256(uid.encode()).hexdigest()[:8]


def texts_of(container: ContainerSpec) -> list[str]:
    """Return all texts of a container in which something may have to be rewritten."""
    document = container.document
    return [
        *(str(word) for word in document.get("command") or ()),
        *(str(word) for word in document.get("args") or ()),
        *(str(variable.get("value", "")) for variable in document.get("env") or ()),
    ]


def object_store_bytes(container: ContainerSpec) -> int:
    """Return the size of the object store of a Ray node in this container: 30 % of its memory, as Ray would choose."""
    resources = container.document.get("resources") or {}
    limit = (resources.get("limits") or {}).get("memory")
    if limit is None:
        return MOST_OBJECT_STORE
    return max(LEAST_OBJECT_STORE, int(parse_quantity(limit) * OBJECT_STORE_SHARE))


def _read_only(pod: PodSpec) -> Collection[str]:
    """Return the volumes that nobody may write to, whatever their mounts say."""
    documents = pod.document["spec"].get("volumes") or ()
    return {found["name"] for found in documents if (found.get("persistentVolumeClaim") or {}).get("readOnly")}


def mounts_of(
    container: ContainerSpec,
    volumes: Mapping[str, Path],
    variables: Mapping[str, str],
    read_only: Collection[str] = (),
) -> list[tuple[Path, str, bool]]:
    """Return (folder or file, mount path, read-only) for each mount. ``read_only``: volumes that are it everywhere.

    Raises:
        Missing: A path leads out of its volume, or a sub path is not there.
    """
    found = []
    for mount in container.document.get("volumeMounts") or ():
        source = volumes[mount["name"]]
        inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
        target = str(PurePosixPath("/") / mount["mountPath"])
        if inner:
            source = _below(source, inner)
        if ".." in PurePosixPath(target).parts or "\0" in target or target == "/":
            raise Missing(f"the mount path {target[:80]!r} cannot be used")
        found.append((source, target, bool(mount.get("readOnly")) or mount["name"] in read_only))
    return found


def _below(volume: Path, inner: str) -> Path:
    path = PurePosixPath(inner)
    if path.is_absolute() or ".." in path.parts or "\0" in inner:
        raise Missing(f"the sub path {inner[:80]!r} leads out of the volume")
    found = volume / path
    if not found.exists():
        found.mkdir(parents=True, mode=0o700)
    real = Path(os.path.realpath(found))
    if not real.is_relative_to(os.path.realpath(volume)):
        raise Missing(f"the sub path {inner[:80]!r} leads out of the volume")
    return real


@dataclass(frozen=True)
class _Texts:
    """How texts of a container are rewritten; not at all where it has namespaces of its own."""

    around: Surroundings
    mounts: Mapping[str, str]

    def __call__(self, text: str) -> str:
        if self.around.mode == "netns":
            return text
        text = service_names(text, self.around.service)
        text = local_ports(text, self.around.place.ports)
        return paths(text, self.mounts)


def commands_of(pod: PodSpec, container: ContainerSpec, around: Surroundings) -> Callable[[list[str]], Launch]:
    """Return what makes of a probe's or hook's command something to run inside of the container.

    Raises:
        Missing: See `build_launch`.
    """
    launch, texts = _prepare(pod, container, around, 0)
    return lambda words: Launch(tuple(texts(word) for word in words), launch.env, launch.cwd)


def build_launch(pod: PodSpec, container: ContainerSpec, around: Surroundings, attempt: int) -> Launch:
    """Return what the shim is told.

    Raises:
        Missing: A reference or a path cannot be followed; the text is for the container's status.
        LookupError: A Service that the container names is not there yet.
    """
    if around.mode != "netns":
        for namespace, name in sorted(services_named(texts_of(container))):
            if around.service(namespace, name) is None:
                raise LookupError(f"service {namespace}/{name}, which the container names, has no address yet")
    return _prepare(pod, container, around, attempt)[0]


def _prepare(pod: PodSpec, container: ContainerSpec, around: Surroundings, attempt: int) -> tuple[Launch, _Texts]:
    document = container.document
    variables = resolve_environment(document, around.facts, around.config_map, around.secret)
    words = resolve_command(document, variables)
    if not words:
        raise Missing("no command specified, and images of this node have none of their own")
    index = [known.name for known in pod.containers].index(container.name)
    private = (
        around.short / f"c{index}"
        if around.mode == "ports"
        else around.folder / "containers" / container.name / str(attempt) / "tmp"
    )
    mounts = mounts_of(container, around.volumes, variables, _read_only(pod))
    if around.account is not None and all(target != MOUNT_PATH for _, target, _ in mounts):
        mounts.append((around.account, MOUNT_PATH, True))
    texts = _Texts(around, {target: str(source) for source, target, _ in mounts if target != "/dev/shm"})  # noqa: S108
    inside = around.mode == "netns"
    temporary = "/tmp" if inside else str(private)  # noqa: S108
    env = {**_basic(pod, container, around, temporary), **around.api}
    own = {name: texts(value) for name, value in variables.items()}
    path = own.pop("PATH", SYSTEM_PATH)
    env |= own
    env["PATH"] = f"{around.programs}:{around.environment.bin}:{path}"
    root = _root(around, private, mounts) if inside else None
    launch = Launch(
        argv=tuple(texts(word) for word in words),
        env=env,
        cwd=texts(document.get("workingDir") or temporary),
        namespaces={"net": around.namespace or "", "host_name": pod.name[:63]} if inside else None,
        root=root,
    )
    return launch, texts


def _basic(pod: PodSpec, container: ContainerSpec, around: Surroundings, temporary: str) -> dict[str, str]:
    """What every container has, and Ray's settings that make sense on a shared machine; the pod's own win."""
    start = {
        "mode": around.mode,
        "ip": around.place.ip,
        "ports": {str(wanted): real for wanted, real in around.place.ports.items()},
        "temp_dir": f"{temporary}/r",
        "object_store_memory": object_store_bytes(container),
    }
    # A driver in the pod would look for its node at the machine's outer address otherwise.
    shared = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if around.mode == "ports" else {}
    serve = around.place.ports.get(serve_port(pod.document) or 0)
    if serve is not None:  # the head's comes with the configuration, see `rayctl.service.upkeep.serve_configs`
        shared["RAY_SERVE_WORKER_PROXY_HTTP_PORT"] = str(serve)
    return {
        **shared,
        "HOME": f"{temporary}/.home",
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "USER": "ray",
        "HOSTNAME": pod.name,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAYCTL_POD_UID": pod.uid,
        "RAYCTL_RAY": around.environment.ray,
        "RAYCTL_RAY_START": json.dumps(start, separators=(",", ":")),
    }


def _root(around: Surroundings, private: Path, mounts: list[tuple[Path, str, bool]]) -> dict[str, Any]:
    binds = [[str(private), "/tmp", False]]  # noqa: S108
    binds += [[str(around.folder / name), f"/etc/{name}", True] for name in ("hosts", "resolv.conf")]
    binds += [[str(source), target, read_only] for source, target, read_only in mounts]
    keep = [*around.environment.keep, around.environment.bin, around.programs]
    return {
        "staging": str(around.folder / "root"),
        "hide": [str(folder) for folder in around.hidden],
        "mounts": binds,
        "keep": [str(folder) for folder in keep],
    }
