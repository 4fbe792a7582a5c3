"""``rayctl delete``: objects by name, by label, or as files name them."""

from __future__ import annotations

from typing import Any

import click

from rayctl.cli.hints import explained
from rayctl.cli.kubernetes import Change, Kube, Named, kubernetes_command
from rayctl.cli.objects.failures import fail_with
from rayctl.cli.output import clean, say
from rayctl.errors import InvalidRequest, RayctlError
from rayctl.kube.calls import Call
from rayctl.kube.errors import KubernetesError, ObjectNotFound

__all__ = ["delete"]

_POLICIES = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}


@click.command()
@click.argument("what", nargs=-1, metavar="KIND/NAME...")
@click.option("-f", "--filename", "files", multiple=True, help="Delete what these files name.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Delete all of KIND with these labels.")
@click.option(
    "--cascade",
    type=click.Choice(list(_POLICIES)),
    default="background",
    show_default=True,
    help="What it owns: after it, before it, or not at all.",
)
@click.option("--grace-period", "grace_s", type=click.IntRange(min=0), metavar="SECONDS", help="For pods to end.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@kubernetes_command(changes=True, waits=True)
def delete(
    kube: Kube,
    what: tuple[str, ...],
    files: tuple[str, ...],
    selector: str,
    cascade: str,
    grace_s: int | None,
    ignore_not_found: bool,
    change: Change,
) -> None:
    """Delete objects, and wait until they are gone (unless --no-wait)."""
    body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": _POLICIES[cascade]}
    if grace_s is not None:
        body["gracePeriodSeconds"] = grace_s
    going: list[tuple[Named, str | None, str]] = []
    failures: list[RayctlError] = []
    for named, namespace in _asked(kube, what, files, selector):
        try:
            uid = _delete(kube, named, namespace, body, change)
        except ObjectNotFound as error:
            if not ignore_not_found:
                failures.append(explained(error, kube.connection.target))
            continue
        except KubernetesError as error:
            failures.append(explained(error, kube.connection.target))
            continue
        going.append((named, namespace, uid))
        words = "" if kube.settings.output == "name" else f" deleted{change.suffix}"
        say(f"{clean(named.label)}{words}")
    fail_with(failures)
    if change.waits:
        from rayctl.cli.objects.waiting import wait_gone

        for named, namespace, uid in going:
            wait_gone(kube, named.served.resource, named.name, uid, change, namespace)


def _delete(kube: Kube, named: Named, namespace: str | None, body: dict[str, Any], change: Change) -> str:
    """Delete exactly the object that is there now; return its uid."""
    resource = named.served.resource
    uid = str(kube.get(resource, named.name, namespace)["metadata"]["uid"])
    if not change.only_client:
        exact = {**body, "preconditions": {"uid": uid}}
        if change.dry_run == "server":
            exact["dryRun"] = ["All"]
        call = Call("DELETE", kube.path(resource, named.name, namespace), body=exact, timeout_s=30.0)
        kube.request(change.on(call))
    return uid


def _asked(kube: Kube, what: tuple[str, ...], files: tuple[str, ...], selector: str) -> list[tuple[Named, str | None]]:
    if files:
        if what or selector:
            raise InvalidRequest("Files, names and a selector exclude each other.")
        from rayctl.cli.objects.files import manifests

        found = []
        for document in reversed(manifests(files)):  # what others need goes last
            served = kube.kinds.of(str(document["apiVersion"]), str(document["kind"]))
            found.append((Named(served, document["metadata"]["name"]), document["metadata"].get("namespace")))
        return found
    if not what:
        raise InvalidRequest("What is to be deleted?", hint="Write KIND/NAME, KIND -l LABELS, or -f FILE.")
    if selector:
        if len(what) != 1 or "/" in what[0]:
            raise InvalidRequest("A selector goes with one kind and no name.", hint="Write KIND -l LABELS.")
        served = kube.kinds.find(what[0])
        return [
            (Named(served, item["metadata"]["name"]), item["metadata"].get("namespace"))
            for item in kube.list(served.resource, labels=selector)
        ]
    if "/" not in what[0] and len(what) > 1:
        return [(kube.target(what[0], name), None) for name in what[1:]]
    return [(kube.target(word), None) for word in what]
