"""The group ``rayctl kube``: a Kubernetes API on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from rayctl.cli.lazy import LazyGroup

__all__ = ["kube", "serve"]

COMMANDS = {"serve": ("rayctl.cli.kube:serve", "Run a Kubernetes API server in the foreground.")}


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
    default="127.96.0.0/16",
    show_default=True,
    help="From which loopback addresses Services get theirs.",
)
def serve(**asked: Any) -> None:
    """Run a Kubernetes-compatible API server in the foreground, until Ctrl-C.

    It listens on 127.0.0.1 and asks for a token. kubectl and other clients use it like any cluster; pods are only
    recorded, not run.
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

    run(ServeOptions(**asked), ready)
