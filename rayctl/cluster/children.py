"""The objects of a cluster that are not pods: what is missing, what is not as it should be, whose name is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.cluster.auth import auth_of, token_secret
from rayctl.cluster.autoscaler import access_objects, account_is_users, service_account
from rayctl.cluster.gcs_ft.claim_upkeep import ownership
from rayctl.cluster.gcs_ft.inject import claim
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.network import build_policies
from rayctl.cluster.seen import ClusterSeen, is_owned
from rayctl.cluster.services import build_services, ingress
from rayctl.core.compare import covers
from rayctl.core.plan import Apply, Blocker, Create, Delete, Patch, Ref, Single

__all__ = ["LEFT_OVER", "ChildrenChange", "change_children", "is_left_over", "wanted_children"]

Document = Mapping[str, Any]
LEFT_OVER = "WaitingForObjects"
"""A name is still taken by an object of an earlier cluster, which is being deleted; it is looked at again soon."""
OURS_ALONE = ("Ingress", "NetworkPolicy")
"""Kinds of which those that are not wanted any more are deleted."""


@dataclass(frozen=True)
class ChildrenChange:
    """What is to be written before pods are made, and what stands in the way of making them."""

    actions: tuple[Single, ...] = ()
    blocked_on: Blocker | None = None


def wanted_children(seen: ClusterSeen) -> list[dict[str, Any]]:
    """Return all objects but pods and the token that a cluster is to have."""
    spec = seen.spec
    found = [*access_objects(spec), *build_services(spec, seen.options), *build_policies(spec)]
    found += [item for item in (claim(spec, fault_tolerance(spec)), ingress(spec)) if item is not None]
    return found


def change_children(seen: ClusterSeen) -> ChildrenChange:
    """Decide about everything but pods."""
    actions: list[Single] = []
    blocked_on = _account_missing(seen)
    auth = auth_of(seen.spec, seen.options)
    if auth.ours and seen.credential == "missing":
        actions.append(Create(token_secret(seen.spec, auth.secret)))
    elif auth.ours and seen.credential == "old":
        blocked_on = _going(Ref("v1", "Secret", seen.spec.namespace, auth.secret))
    elif auth.ours and seen.credential == "unknown":
        blocked_on = Blocker(LEFT_OVER, f"the server did not say whether the Secret {auth.secret} is there")
    wanted = wanted_children(seen)
    for document in wanted:
        live = seen.children.get((document["kind"], document["metadata"]["name"]))
        if live is None:
            actions.append(Create(document))
        elif not is_owned(live, seen.spec.uid):
            # A claim that was kept is taken over: that is how its state comes back.
            left_over = is_left_over(live, seen.spec.uid) or bool(live["metadata"].get("deletionTimestamp"))
            if blocked_on is None and (left_over or document["kind"] != "PersistentVolumeClaim"):
                blocked_on = _going(Ref.to(live)) if left_over else _taken(live)
        else:
            action = _mended(document, live)
            if action is not None:
                actions.append(action)
    names = {(document["kind"], document["metadata"]["name"]) for document in wanted}
    for key, live in seen.children.items():
        if key[0] in OURS_ALONE and key not in names and is_owned(live, seen.spec.uid):
            actions.append(Delete(Ref.to(live)))
    return ChildrenChange((*actions, *_owners_of_claims(seen, wanted)), blocked_on)


def _owners_of_claims(seen: ClusterSeen, wanted: Sequence[Document]) -> list[Patch]:
    found = []
    for document in wanted:
        live = seen.children.get((document["kind"], document["metadata"]["name"]))
        if document["kind"] == "PersistentVolumeClaim" and live and not live["metadata"].get("deletionTimestamp"):
            found.append(ownership(document, live, seen.spec))
    return [change for change in found if change is not None]


def _mended(document: Document, live: Document) -> Apply | None:
    """Return what makes an object of ours as it should be; None if it is, or can never be changed."""
    if document["kind"] == "PersistentVolumeClaim":
        return None
    wanted = {name: document[name] for name in document if name not in ("metadata", "spec")}
    metadata = document["metadata"]
    if "spec" in document:
        spec = dict(document["spec"])
        if document["kind"] == "Service":
            # The address of a service is given once and for all.
            spec.pop("clusterIP", None)
        wanted["spec"] = spec
    wanted["metadata"] = {name: metadata[name] for name in metadata if name in ("labels", "annotations")}
    if covers(live, wanted):
        return None
    return Apply({**document, "metadata": {**metadata, "uid": live["metadata"]["uid"]}, **_spec_of(wanted)})


def _spec_of(wanted: Document) -> dict[str, Any]:
    return {"spec": wanted["spec"]} if "spec" in wanted else {}


def _account_missing(seen: ClusterSeen) -> Blocker | None:
    if not seen.spec.autoscaling or not account_is_users(seen.spec):
        return None
    name = service_account(seen.spec)
    if ("ServiceAccount", name) in seen.children:
        return None
    return Blocker(
        "AutoscalerServiceAccountNotFound",
        f"the head's template names the ServiceAccount {name}, and there is none",
        hint=f"make it, or leave serviceAccountName out: kubectl create serviceaccount {name}",
    )


def _taken(live: Document) -> Blocker:
    ref = Ref.to(live)
    return Blocker(
        "NameTaken",
        f"{ref.kind} {ref.name} is there already and belongs to somebody else",
        ref,
        hint=f"delete or rename it: kubectl delete {ref.kind.lower()} {ref.name} -n {ref.namespace}",
    )


def _going(ref: Ref) -> Blocker:
    text = f"{ref.kind} {ref.name} of the cluster that had this name before is still being deleted"
    return Blocker(LEFT_OVER, text, ref)


def is_left_over(live: Document, uid: str) -> bool:
    """Return whether an object belonged to a RayCluster that is gone: to one with another uid."""
    owners = live["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == "RayCluster" and owner.get("uid") != uid for owner in owners)
