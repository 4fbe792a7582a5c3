"""Token authentication: on unless it is switched off; one token per cluster, in a Secret, in the pods in a 0600 file.

A Secret's volume belongs to root, so Ray, which is another user in its images, could read it only if everybody could.
Therefore an init container, as the user that Ray is, writes the token into a file in memory that only this user can
read. Tasks find neither the token in their environment nor anybody in a list of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.env import Env, add_missing, has
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import ClusterSpec, env_of
from rayctl.cluster.versions import parse_version
from rayctl.core.plan import FRESH_TOKEN

__all__ = ["Auth", "add_token", "auth_of", "give_token", "token_secret"]

VOLUME, FOLDER, FILE = "ray-auth-token", "/var/run/secrets/rayctl.io/auth", "token"
K8S_VOLUME, K8S_FOLDER = "ray-token", "/var/run/secrets/ray.io/serviceaccount"
_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Auth:
    """How callers of a cluster prove who they are.

    Args:
        mode: ``token``, ``kubernetes`` (tokens of service accounts), ``user`` (the templates say it), or ``disabled``.
        secret: The Secret with the token.
        ours: The Secret is made and deleted with the cluster.
    """

    mode: str
    secret: str = ""
    ours: bool = False


def auth_of(spec: ClusterSpec, options: ClusterOptions) -> Auth:
    """Return how a cluster authenticates its callers.

    What the head's template says itself counts; a Ray of before 2.52 knows no tokens; and a cluster that was taken
    over from a controller that gave it none keeps to that.
    """
    asked = spec.spec.get("authOptions") or {}
    mode = asked.get("mode")
    version = parse_version(spec.ray_version)
    if mode == "disabled" or (mode is None and not options.token_by_default):
        return Auth("disabled")
    if any(name in env_of(spec.head.template) for name in _VARIABLES):
        return Auth("user")
    if asked.get("enableK8sTokenAuth"):
        return Auth("kubernetes")
    if mode is None and spec.annotations.get(keys.UNPROTECTED) == "true":
        return Auth("disabled")
    if mode is None and version is not None and version < (2, 52, 0):
        return Auth("disabled")
    own = asked.get("secretName") or ""
    return Auth("token", own or names.token_secret(spec.name), ours=not own)


def token_secret(spec: ClusterSpec, secret: str) -> dict[str, Any]:
    """Return the Secret with a new token; which one, only the executor knows."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret,
            "namespace": spec.namespace,
            "labels": {keys.CLUSTER: spec.name},
            "ownerReferences": [spec.owner],
        },
        "type": "Opaque",
        "stringData": {keys.TOKEN_KEY: FRESH_TOKEN},
    }


def add_token(pod: dict[str, Any], auth: Auth, shell: list[str]) -> None:
    """Make the token available in a pod: a volume, and for tokens in files what writes the file."""
    if auth.mode == "kubernetes":
        volume = {"name": K8S_VOLUME, "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
        pod.setdefault("volumes", []).append(volume)
    if auth.mode != "token":
        return
    pod.setdefault("volumes", []).append({"name": VOLUME, "emptyDir": {"medium": "Memory"}})
    ray = pod["containers"][0]
    source = {"secretKeyRef": {"name": auth.secret, "key": keys.TOKEN_KEY}}
    writer = {
        "name": "ray-auth-token",
        "image": ray.get("image", ""),
        "command": shell,
        "args": ['umask 077 && printf %s "$TOKEN" > "$TOKEN_FILE"'],
        "env": [{"name": "TOKEN", "valueFrom": source}, {"name": "TOKEN_FILE", "value": f"{FOLDER}/{FILE}"}],
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER}],
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    for name in ("imagePullPolicy", "securityContext"):
        if name in ray:
            writer[name] = ray[name]
    pod["initContainers"] = [writer, *pod.get("initContainers", [])]


def give_token(container: dict[str, Any], auth: Auth) -> None:
    """Have a container show the token; what the user set himself counts."""
    if auth.mode not in ("token", "kubernetes"):
        return
    env: Env = container.setdefault("env", [])
    mounts = container.setdefault("volumeMounts", [])
    add_missing(env, "RAY_AUTH_MODE", "token")
    if auth.mode == "kubernetes":
        add_missing(env, "RAY_ENABLE_K8S_TOKEN_AUTH", "true")
        mount = {"name": K8S_VOLUME, "mountPath": K8S_FOLDER, "readOnly": True}
    else:
        if not has(env, "RAY_AUTH_TOKEN"):
            add_missing(env, "RAY_AUTH_TOKEN_PATH", f"{FOLDER}/{FILE}")
        mount = {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}
    if not any(there.get("name") == mount["name"] for there in mounts):
        mounts.append(mount)
