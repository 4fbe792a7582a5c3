"""The group ``rayctl kube``: a Kubernetes API on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from rayctl.cli.lazy import LazyGroup

__all__ = ["controllers", "kube", "serve"]

SERVICE_NETWORK = "127.96.0.0/16"
COMMANDS = {
    "serve": ("rayctl.cli.kube:serve", "Run a Kubernetes API server in the foreground."),
    "controllers": ("rayctl.cli.kube:controllers", "Run rayctl's controllers in the foreground."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def kube() -> None:
    """A Kubernetes API for machines without Kubernetes."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for objects, tokens and the audit log (default: kube below RAYCTL_HOME).",
)
@click.option("--port", type=click.IntRange(0, 65535), default=6443, show_default=True, help="0: any free one.")
@click.option(
    "--write-kubeconfig",
    "kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the file for kubectl and other clients.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="More users, in kube-apiserver's format: token,user,uid,groups.",
)
@click.option(
    "--durability",
    type=click.Choice(["full", "normal", "memory"]),
    default="normal",
    show_default=True,
    help="full: wait for the disk; normal: survive kill -9; memory: keep nothing.",
)
@click.option(
    "--service-network",
    default=SERVICE_NETWORK,
    show_default=True,
    help="From which loopback addresses Services get theirs; with --kubelet the default is another for each node.",
)
@click.option(
    "--secrets-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Encrypt Secrets in the data folder with the key in this file; it is made if it is not there.",
)
@click.option("--kubelet", is_flag=True, help="Run pods too, as processes of this machine; and Services.")
@click.option(
    "--capacity", metavar="NAME=QUANTITY,...", help="What the node offers: cpu=8,memory=16Gi,nvidia.com/gpu=1."
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME=PATH",
    help="The Python environment that stands for an image; all others: the one that runs this command.",
)
@click.option(
    "--network",
    type=click.Choice(["auto", "netns", "ports"]),
    default="auto",
    show_default=True,
    help="netns: a network namespace per pod (root); ports: addresses and ports kept apart.",
)
@click.option(
    "--share",
    "shared",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file or folder of this machine that pods may have as a hostPath volume.",
)
@click.option("--controllers", is_flag=True, help="Run rayctl's controllers too: fleets, clusters, services.")
@click.option("--keep-pods", is_flag=True, help="Pods outlive this command; the next one finds them again.")
def serve(**asked: Any) -> None:
    """Run a Kubernetes-compatible API server in the foreground, until Ctrl-C.

    It listens on 127.0.0.1 and asks for a token. kubectl and other clients use it like any cluster. Without --kubelet,
    pods are only recorded; with it they run as processes, for laptops, tests and demonstrations: no pod is protected
    from another there.
    """
    from rayctl.client.kube.locate import embedded_kubeconfig
    from rayctl.embedded.apiserver.serve import ServeOptions
    from rayctl.embedded.apiserver.serve import serve as run

    if asked["data_dir"] is None:
        # The one server of this machine: other commands find it without being told.
        home = embedded_kubeconfig(os.environ)
        asked["data_dir"] = home.parent / "kube"
        asked["kubeconfig"] = asked["kubeconfig"] or home

    def ready(url: str) -> None:
        click.echo(f"Kubernetes API ready at {url}")
        if asked["kubeconfig"]:
            click.echo(f"For this shell:  export KUBECONFIG={asked['kubeconfig']}")

    names = ("kubelet", "capacity", "images", "network", "keep_pods", "shared", "controllers")
    options = {name: asked.pop(name) for name in names}
    beside = [_node(asked, options)] if options["kubelet"] else []
    beside += [_controllers] if options["controllers"] else []
    run(ServeOptions(**asked), ready, _together(beside) if beside else None)


def _together(runners: list[Any]) -> Any:
    """Return what runs several things beside the server, each from the same kubeconfig; the last begun ends first."""
    import asyncio

    async def run(kubeconfig: Path) -> None:
        tasks = [asyncio.ensure_future(runner(kubeconfig)) for runner in runners]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # One after the other, each to its end: controllers must not make anew what the kubelet takes down.
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])

    return run


def _controllers(kubeconfig: Path) -> Any:
    """Return what runs the controllers in a process of their own."""
    from rayctl.embedded.processes import keep_running

    return keep_running("controllers", ["-m", "rayctl.selfhost.foreground", str(kubeconfig)], click.echo)


def _node(asked: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return what runs kubelet and proxy; gives the server the network of Services that belongs to the node."""
    from rayctl.embedded.kubelet.images import parse_image
    from rayctl.embedded.kubelet.main import KubeletOptions
    from rayctl.embedded.kubelet.scheduling import parse_capacity
    from rayctl.embedded.processes import claim_slot, run_node
    from rayctl.errors import InvalidRequest

    try:
        capacity = parse_capacity(options["capacity"]) if options["capacity"] else {}
    except ValueError as error:
        raise InvalidRequest(f"The capacity cannot be used: {error}", code="capacity-malformed") from None
    images = {name: str(folder) for name, folder in map(parse_image, options["images"])}
    data = Path(asked["data_dir"]).absolute() / "node"
    claimed = claim_slot(data)
    if asked["service_network"] == SERVICE_NETWORK:
        asked["service_network"] = claimed.service_network
    wanted = KubeletOptions(
        data_dir=str(data),
        kubeconfig="",
        slot=claimed.slot,
        network=options["network"],
        capacity=capacity,
        images=images,
        hidden=(str(data.parent),),
        shared=tuple(str(place.absolute()) for place in options["shared"]),
        keep_pods=options["keep_pods"],
    )
    return lambda kubeconfig: run_node(wanted, claimed, kubeconfig, click.echo)


@click.command()
@click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Which API server; default: as kubectl."
)
@click.option("--context", help="One of the file's contexts.")
@click.option("--only", multiple=True, help="Run this controller only; several times: these.")
@click.option("--watch-namespace", default="", help="Look after objects in this namespace only.")
@click.option("--lease-namespace", default="rayctl-system", show_default=True, help="Where the leases are.")
@click.option("--install/--no-install", default=True, show_default=True, help="Apply the definitions first.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Answer Prometheus here, on loopback; 0: any port.")
@click.option(
    "--metrics-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Tokens that may ask for metrics; made if it is not there.  [default: metrics.token in RAYCTL_HOME]",
)
@click.option(
    "--traces",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append OpenTelemetry spans of passes and requests to this file, as JSON lines.",
)
@click.option("--json-logs", is_flag=True, help="Log as JSON lines, on the error stream.")
def controllers(**asked: Any) -> None:
    """Run the controllers of fleets, replica sets, clusters and services in the foreground, until Ctrl-C.

    Several of these may run: one leads, the others take over when it ends. No Ray is needed for this.
    """
    import asyncio

    from rayctl.client.kube.locate import embedded_kubeconfig
    from rayctl.core.actor import ActorOptions
    from rayctl.kube.errors import NoAnswer
    from rayctl.selfhost.controllers import run_controllers

    if asked["json_logs"]:
        from rayctl.telemetry.logs import install

        install(fields={"pid": os.getpid()})
    if asked["traces"] is not None:
        from rayctl.telemetry.traces import install as install_traces

        install_traces(asked["traces"])
    kubeconfig = asked["kubeconfig"] or os.environ.get("KUBECONFIG")
    if kubeconfig is None and asked["context"] is None and embedded_kubeconfig(os.environ).exists():
        kubeconfig = str(embedded_kubeconfig(os.environ))
    options = ActorOptions(
        kubeconfig=kubeconfig,
        context=asked["context"],
        lease_namespace=asked["lease_namespace"],
        watch_namespace=asked["watch_namespace"],
    )
    try:
        asyncio.run(run_controllers(options, asked["only"], asked["install"], click.echo, _scraped(asked)))
    except NoAnswer as error:
        error.hint = error.hint or "Does that API server run, and can it be reached from here? `rayctl doctor` looks."
        raise


def _scraped(asked: dict[str, Any]) -> Any:
    """Return what makes the port for Prometheus, if one is wanted."""
    if asked["metrics_port"] is None:
        return None
    from rayctl.selfhost.layout import default_home
    from rayctl.selfhost.scrape import Scraped

    tokens = asked["metrics_token_file"] or default_home(os.environ) / "metrics.token"
    return lambda text: Scraped(asked["metrics_port"], tokens, text)
