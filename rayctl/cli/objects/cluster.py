"""``rayctl cluster connect``: how programs reach a Ray cluster that runs on Kubernetes."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.lazy import LazyGroup
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import Conflict, InvalidRequest, NotFound, Unavailable
from rayctl.kube.kinds import NODES, PODS, RAY_CLUSTERS, SECRETS, SERVICES

__all__ = ["cluster", "connect", "endpoints"]

COMMANDS = {
    "connect": (
        "rayctl.cli.objects.cluster:connect",
        "A Ray cluster's addresses, and how to be let in.",
    )
}
_TOKEN_KEY = "auth_token"  # noqa: S105
_KUBELET, _MOVED = "rayctl.io/kubelet-socket", "rayctl.io/ports"
_PORTS = {"client": 10001, "dashboard": 8265, "gcs-server": 6379, "serve": 8000}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def cluster() -> None:
    """Ray clusters on Kubernetes."""


@click.command()
@click.argument("name")
@click.option("--write-token", "token_file", metavar="FILE", help="Write the cluster's token into this file (0600).")
@click.option("--show-token", is_flag=True, help="Print the token: whoever has it can run code on the cluster.")
@click.option("--open", "open_page", is_flag=True, help="Open the dashboard in a browser.")
@kubernetes_command()
def connect(kube: Kube, name: str, token_file: str | None, show_token: bool, open_page: bool) -> None:
    """Print the addresses of a Ray cluster: eval "$(rayctl cluster connect NAME --write-token FILE)".

    The token itself is printed with --show-token only.
    """
    from rayctl.cluster.status import readiness

    name = name.partition("/")[2] if name.startswith(("rc/", "raycluster/")) else name
    document = kube.get(RAY_CLUSTERS, name)
    service = _service(kube, document)
    local, moved = _on_this_machine(kube, document)
    found = endpoints(document, service, local, moved)
    secret = _token(kube, document) if token_file or show_token else None
    variables = {"RAY_ADDRESS": found["client"]}
    if found["auth"] == "token":
        variables["RAY_AUTH_MODE"] = "token"
        if token_file and secret:
            variables["RAY_AUTH_TOKEN_PATH"] = _written(token_file, secret)
        elif show_token and secret:
            variables["RAY_AUTH_TOKEN"] = secret
    if kube.settings.for_people:
        for word, value in variables.items():
            say(f"export {word}={shlex.quote(clean(value))}")
        say(f"# dashboard  {clean(found['dashboard'])}")
        state = readiness(document)
        if not state.ready:
            say(f"# Not ready: {clean(state.message or state.reason)}")
        if found["auth"] == "token" and secret is None:
            say("# It asks for a token: --write-token FILE writes it, --show-token prints it.")
        if not found["reachable"]:
            namespace = document["metadata"]["namespace"]
            ports = f"{_PORTS['client']} {_PORTS['dashboard']}"
            say("# These addresses are known inside of the Kubernetes cluster only. From here:")
            say(f"#   kubectl port-forward -n {clean(namespace)} svc/{clean(service['metadata']['name'])} {ports}")
    else:
        emit_document(kube.settings, {**found, "env": variables}) if kube.settings.output != "name" else say(
            clean(found["client"])
        )
    if open_page:
        _open(found)


def _on_this_machine(kube: Kube, document: dict[str, Any]) -> tuple[bool, dict[int, int]]:
    """Return whether the head runs as a process of this machine, and which of its ports are at another number."""
    head = (document.get("status") or {}).get("head") or {}
    pod = kube.find(PODS, head["podName"], document["metadata"]["namespace"]) if head.get("podName") else None
    node_name = ((pod or {}).get("spec") or {}).get("nodeName")
    node = kube.find(NODES, node_name, "") if node_name else None
    socket = ((node or {}).get("metadata", {}).get("annotations") or {}).get(_KUBELET)
    local = kube.connection.target.embedded or (socket is not None and os.path.exists(socket))
    text = ((pod or {}).get("metadata", {}).get("annotations") or {}).get(_MOVED)
    moved = json.loads(text) if local and text else {}
    return local, {int(wanted): int(real) for wanted, real in moved.items()}


def endpoints(
    document: dict[str, Any], service: dict[str, Any], local: bool, moved: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Return ``client``, ``dashboard`` and ``serve`` addresses, ``auth`` and ``reachable``. Pure.

    Args:
        document: The RayCluster.
        service: Its head service.
        local: Whether it runs on this machine, where services and pods have addresses.
        moved: Ports of the head that are at another number, if it is asked itself: wanted → real.
    """
    spec = service.get("spec") or {}
    ports = {str(port.get("name")): int(port["port"]) for port in spec.get("ports") or ()}
    address = spec.get("clusterIP")
    elsewhere: dict[str, int] = {}
    if address in (None, "", "None"):  # headless: the head's own
        address = ((document.get("status") or {}).get("head") or {}).get("podIP")
        elsewhere = {name: moved[port] for name, port in (_PORTS | ports).items() if moved and port in moved}
    metadata = service["metadata"]
    host = address if local and address else f"{metadata['name']}.{metadata['namespace']}.svc"
    external = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if external:
        host = external[0].get("hostname") or external[0].get("ip") or host

    def at(name: str) -> str:
        if name in elsewhere:  # moved ports answer at the loopback interface, not at the pod's own address
            return f"127.0.0.1:{elsewhere[name]}"
        return f"{host}:{ports.get(name, _PORTS[name])}"

    auth = ((document.get("spec") or {}).get("authOptions") or {}).get("mode") or "token"
    return {
        "client": f"ray://{at('client')}",
        "dashboard": f"http://{at('dashboard')}",
        "serve": f"http://{at('serve')}",
        "auth": auth,
        "reachable": bool(external) or (local and host == address),
    }


def _service(kube: Kube, document: dict[str, Any]) -> dict[str, Any]:
    from rayctl.cluster.names import head_service

    metadata = document["metadata"]
    head = (document.get("status") or {}).get("head") or {}
    name = head.get("serviceName") or head_service(metadata["name"])
    found = kube.find(SERVICES, name, metadata["namespace"])
    if found is None:
        raise Unavailable(
            f"raycluster/{metadata['name']} has no head service yet.",
            code="cluster-not-ready",
            hint=f"`rayctl wait rc/{metadata['name']}` waits for it; `rayctl explain` says what it waits for.",
        )
    return found


def _token(kube: Kube, document: dict[str, Any]) -> str:
    from rayctl.cluster.names import token_secret

    metadata = document["metadata"]
    options = (document.get("spec") or {}).get("authOptions") or {}
    if options.get("mode") == "disabled":
        raise InvalidRequest(f"raycluster/{metadata['name']} asks for no token.", hint="Leave --write-token away.")
    name = options.get("secretName") or token_secret(metadata["name"])
    secret = kube.find(SECRETS, name, metadata["namespace"])
    value = ((secret or {}).get("data") or {}).get(_TOKEN_KEY)
    if not value:
        raise NotFound(
            f"There is no token of raycluster/{metadata['name']} in secret {name}.",
            code="no-token",
            hint="Its controller makes it; `rayctl explain` says whether that has looked at the cluster.",
        )
    return base64.b64decode(value).decode().strip()


def _written(target: str, token: str) -> str:
    path = Path(target).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)  # one that was there before
            file.write(token)
    except OSError as error:
        raise Conflict(f"{path} cannot be written: {error.strerror}.", code="file-unwritable") from error
    return str(path)


def _open(found: dict[str, Any]) -> None:
    if not found["reachable"]:
        raise InvalidRequest(
            "The dashboard cannot be reached from here.", hint="Forward its port first, as printed above."
        )
    import webbrowser

    webbrowser.open(found["dashboard"])
