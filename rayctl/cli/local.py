"""``rayctl up``, ``down``, ``status`` and ``env``: the service on this machine."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings

if TYPE_CHECKING:
    from rayctl.selfhost.upfile import UpFile

__all__ = ["down", "env", "memory_size", "status", "up"]

_UP_TIMEOUT_S = 180.0  # a loaded machine takes this long
_DOWN_TIMEOUT_S = 30.0


def memory_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read an option that is an amount of bytes."""
    if value is None:
        return None
    from rayctl.cli.values import byte_size

    return byte_size(value)


_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--num-cpus", type=click.IntRange(1), help="CPUs that Ray may use (default: all).")
@click.option("--memory", callback=memory_size, metavar="SIZE", help="Memory for tasks and actors (default: 70 %).")
@click.option("--port", type=_PORT, help="HTTP port (default: 8000, or the next free one).")
@click.option("--ray-client-port", type=_PORT, help="Port for ray:// (default: 10001, or the next free one).")
@click.option("--dashboard-port", type=_PORT, help="Ray dashboard (default: 8265, or the next free one).")
@click.option("--address", metavar="HOST:PORT", help="Use this Ray cluster and start none.")
@click.option(
    "--kubernetes/--no-kubernetes",
    default=None,
    help="On a Kubernetes API and a node of this machine (default), or on a Ray head alone.",
)
@click.option(
    "--network",
    type=click.Choice(["netns", "ports"]),
    help="How pods are kept apart: by namespaces (root; no way out), or by addresses and ports (default).",
)
@click.option("--wait/--no-wait", default=True, help="Wait until everything is ready (default).")
@global_options()
@pass_settings
def up(settings: Settings, wait: bool, **asked: Any) -> None:
    """Start rayctl on this machine: a Ray head, the control plane, the HTTP service.

    It runs on a RayCluster of its own, `rayctl-system`, on a Kubernetes API of this machine: fleets, clusters and
    services can be had too, and rayctl looks after the cluster that it runs on. --no-kubernetes leaves all that away:
    a Ray head with the AutoML service.

    It goes on in the background until `rayctl down`. Everything listens on 127.0.0.1 only and asks for a token.
    Calling it again is fine: it repairs what has died.
    """
    from rayctl.cli.output import emit_document, say
    from rayctl.selfhost.layout import Layout
    from rayctl.selfhost.options import UpOptions
    from rayctl.selfhost.up import up as bring_up

    with _progress(settings) as report:
        result = bring_up(
            Layout.of(),
            UpOptions(**asked),
            wait=wait,
            timeout_s=settings.timeout_s or _UP_TIMEOUT_S,
            report=report,
        )
    if settings.output in ("json", "yaml"):
        emit_document(settings, {**_public(result.up), "already": result.already, "took_s": round(result.took_s, 1)})
    elif settings.output == "name":
        say(result.up.http_url)
    elif result.up.state != "ready":
        say("rayctl is starting in the background; `rayctl status` tells how far it is.")
    else:
        say("rayctl is already up." if result.already else f"rayctl is ready ({result.took_s:.0f} s).")
        say(_summary(result.up))


def _public(document: UpFile) -> dict[str, Any]:
    return {name: value for name, value in document.to_dict().items() if name not in ("error",)}


def _summary(document: UpFile) -> str:
    lines = [
        f"  HTTP        {document.http_url}",
        f"  token       {document.token_file}",
    ]
    if document.kubeconfig:
        lines += [f"  Kubernetes  {document.kubernetes_url}", f"  kubeconfig  {document.kubeconfig}"]
    if document.ray_client_address:
        lines += [f"  dashboard   {document.dashboard_url}", f"  Ray Client  {document.ray_client_address}", ""]
        if document.ray_token_file:
            token_file = shlex.quote(document.ray_token_file)
            lines.append("For programs that use Ray directly:")
            lines.append(f"  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token_file}")
    lines.append('For a shell:  eval "$(rayctl env)"')
    lines.append("To stop:      rayctl down")
    return "\n".join(lines)


@contextlib.contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Give a function that tells a person what happens: a live line on a terminal, else one line per change."""
    began = time.monotonic()

    def line(text: str) -> None:
        settings.note(f"[{time.monotonic() - began:5.1f}s] {text}")

    if settings.quiet or not settings.for_people or not settings.is_terminal(sys.stderr):
        yield line
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("starting rayctl", refresh_per_second=4) as live:

        def tell(text: str) -> None:
            console.print(f"  [green]✔[/green] {time.monotonic() - began:5.1f}s  ", end="")
            console.print(text, markup=False)
            live.update(f"starting rayctl (after: {text.split(' (')[0].replace('[', '')})")

        yield tell


@click.command()
@click.option("--delete-data", is_flag=True, help="Also delete runs, models, uploads, tokens and logs.")
@click.option("--keep-data", is_flag=True, help="Keep them (default).")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@global_options()
@pass_settings
def down(settings: Settings, delete_data: bool, keep_data: bool, yes: bool) -> None:
    """Stop what `rayctl up` started. Runs, models and tokens are kept, and the next `rayctl up` goes on with them.

    A cluster that `rayctl up --address` used goes on; only what rayctl put there is removed.
    """
    from rayctl.cli.output import emit_document, say
    from rayctl.selfhost.down import down as bring_down
    from rayctl.selfhost.layout import Layout

    layout = Layout.of()
    if delete_data and keep_data:
        raise click.UsageError("--delete-data and --keep-data exclude each other.")
    if delete_data and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--delete-data without a terminal needs --yes.")
        click.confirm(f"Delete all runs, models, uploads, tokens and logs in {layout.home}?", abort=True, err=True)
    done = bring_down(
        layout, timeout_s=settings.timeout_s or _DOWN_TIMEOUT_S, delete_data=delete_data, report=settings.note
    )
    if settings.for_people:
        say(f"rayctl is down ({done.took_s:.1f} s)." if done.was_running else "rayctl was not running.")
        for path in done.deleted:
            say(f"deleted {path}")
    elif settings.output in ("json", "yaml"):
        document = {"state": "not-running", "was_running": done.was_running, "deleted": done.deleted}
        emit_document(settings, {**document, "took_s": round(done.took_s, 1)})


@click.command()
@global_options()
@pass_settings
def status(settings: Settings) -> None:
    """Show what runs on this machine, what is broken, and what to do about it."""
    from rayctl.cli.output import clean, emit_document, say
    from rayctl.selfhost.layout import Layout
    from rayctl.selfhost.status import local_status, rows

    if settings.server is not None:
        document = _remote(settings)
    else:
        document = local_status(Layout.of(), timeout_s=settings.timeout_s or 5.0)
    if settings.output in ("json", "yaml"):
        emit_document(settings, document)
        return
    if settings.output == "name":
        say(document["state"])
        return
    lines = rows(document, wide=settings.output == "wide")
    width = max(len(title) for title, _ in lines)
    for title, text in lines:
        say(f"{title.ljust(width)}  {clean(text)}")
    if document.get("hint"):
        settings.note(document["hint"])


def _remote(settings: Settings) -> dict[str, Any]:
    """Return the status of a service that was named with --server: only what it says itself."""
    with settings.connect() as connection:
        info: dict[str, Any] = connection.automl.info()
    return {"state": "ready", "http_url": settings.server, "info": info}


@click.command()
@click.option("--ray-address", is_flag=True, help="Also RAY_ADDRESS, so that every ray.init() goes there.")
@global_options()
@pass_settings
def env(settings: Settings, ray_address: bool) -> None:
    """Print the environment for other programs: eval "$(rayctl env)"."""
    from rayctl.cli.output import emit_document, say
    from rayctl.errors import ServerUnreachable
    from rayctl.selfhost.layout import Layout
    from rayctl.selfhost.raycmd import public_env
    from rayctl.selfhost.upfile import read_up

    layout = Layout.of()
    document = read_up(layout.up_file)
    if document is None or not document.http_url:
        raise ServerUnreachable(f"rayctl is not running in {layout.home}.", hint="Run `rayctl up`.")
    values = public_env(document.to_dict(), ray_address=ray_address)
    if settings.output in ("json", "yaml"):
        emit_document(settings, values)
        return
    for name, value in values.items():
        say(f"export {name}={shlex.quote(value)}")
