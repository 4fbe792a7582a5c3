"""From the deprecated way of saying fault tolerance (annotation, variables, start parameters) to the options.

Works on documents in place, whatever kind of mapping they are, so that a file keeps its comments and its order. What
would change the state's place, or restart pods unasked, is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.gcs_ft.validate import check
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.revision import head_revision
from rayctl.cluster.spec import parse_cluster

__all__ = ["Migration", "migrate"]

Document = MutableMapping[str, Any]
OPTIONS, HELM = "gcsFaultToleranceOptions", "gcsFaultTolerance"
MOVED = {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_external_storage_namespace"}


@dataclass
class Migration:
    """What became of a document.

    Args:
        name: ``RayCluster/name``.
        done: One sentence per change, in order; empty: nothing was to be done.
        notes: What whoever applies it should know.
        refused: Why it was left as it was; then nothing of it was changed.
    """

    name: str
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def migrate(document: Document, live: bool = False) -> Migration:
    """Rewrite a document in place, or say why not.

    Args:
        document: A RayCluster; of other kinds only what concerns them is said.
        live: It is an object of a running cluster, not a file.
    """
    metadata = document.get("metadata") or {}
    found = Migration(f"{document.get('kind')}/{metadata.get('name', '')}")
    if document.get("kind") is None and isinstance(document.get(HELM), Mapping):
        found.name = "values of a Helm chart"
        text = "these are values of KubeRay's chart ray-cluster: its template turns gcsFaultTolerance.enabled and the"
        found.notes.append(f"{text} fields beside it into {OPTIONS}; nothing is to be migrated")
    elif document.get("kind") == "RayService":
        _service(document, found)
    elif document.get("kind") == "RayCluster":
        _cluster(document, found, live)
    return found


def _service(document: Document, found: Migration) -> None:
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    if keys.FT_ENABLED not in annotations:
        return
    text = (
        "moving the annotation of a RayService into its rayClusterConfig changes the cluster's specification, and so "
        "starts a switchover to a new cluster with a new, empty state"
    )
    if keys.STORAGE_NAMESPACE in annotations:
        text += (
            "; and with the fixed storage namespace the new cluster would read the state of the running one as its own"
        )
    found.refused.append(
        f"{text}. Do it by hand when a switchover suits you: remove {keys.FT_ENABLED} from metadata.annotations, add "
        f"spec.rayClusterConfig.{OPTIONS} in the same edit, and leave externalStorageNamespace out"
    )


def _cluster(document: Document, found: Migration, live: bool) -> None:
    before = copy.deepcopy(_plain(document))
    work = copy.deepcopy(before)
    trial = Migration(found.name)
    _rewrite(work, trial)
    if live and trial.done:
        _check_live(before, trial)
    if trial.done and not trial.refused:
        _check_same(before, work, trial)
    if not trial.refused and trial.done:
        _rewrite(document, found)
    found.refused, found.notes = trial.refused, trial.notes


def _rewrite(document: Document, found: Migration) -> None:
    spec = document.setdefault("spec", {})
    head = spec.get("headGroupSpec") or {}
    annotations = (document.get("metadata") or {}).get("annotations") or {}
    options: dict[str, Any] = {}
    had = spec.get(OPTIONS)
    _helm(spec, options, found)
    enabled = str(annotations.get(keys.FT_ENABLED, "")).lower()
    if enabled == "true" or had is not None or options:
        _variables(head, annotations, options, found)
    if enabled == "true" and had is None and not options.get("redisAddress"):
        found.refused.append(
            "RAY_REDIS_ADDRESS is not among the head's variables: where the state is kept is not known"
        )
    for name in (keys.FT_ENABLED, keys.STORAGE_NAMESPACE):
        if name in annotations:
            _drop(annotations, name)
            found.done.append(f"metadata.annotations: {name} is removed")
    if not annotations and "annotations" in (document.get("metadata") or {}):
        del document["metadata"]["annotations"]
    _merge(spec, had, options, enabled == "true", found)


def _helm(spec: Document, options: dict[str, Any], found: Migration) -> None:
    """``spec.gcsFaultTolerance`` is the spelling of a Helm chart; in a manifest it is dropped without a word."""
    helm = spec.get(HELM)
    if not isinstance(helm, Mapping):
        return
    text = f"spec.{HELM} is a value of KubeRay's Helm chart, no field of a RayCluster: a server drops it silently"
    if helm.get("enabled"):
        options.update({name: _plain(value) for name, value in helm.items() if name != "enabled" and value})
        if not (options.get("redisAddress") or options.get("backend") == "rocksdb"):
            found.refused.append(f"{text}; and it does not say where the state is to be kept (redisAddress)")
        found.notes.append(f"{text}, so fault tolerance was off until now")
    del spec[HELM]
    found.done.append(f"spec.{HELM} is removed ({text})")


def _variables(head: Document, annotations: Mapping[str, Any], options: dict[str, Any], found: Migration) -> None:
    """Move what the head's variables and start parameters say."""
    containers = ((head.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    env = containers[0].get("env") or []
    by_name = {item.get("name"): item for item in env}
    _address(by_name.get("RAY_REDIS_ADDRESS"), options, found)
    _namespace(by_name.get("RAY_external_storage_namespace"), annotations, options, found)
    params = head.get("rayStartParams") or {}
    if "REDIS_PASSWORD" in by_name:
        _set(options, "redisPassword", _credential(by_name["REDIS_PASSWORD"]), found)
    if "REDIS_USERNAME" in by_name:
        _set(options, "redisUsername", _credential(by_name["REDIS_USERNAME"]), found)
    moved = set(MOVED)
    for param, name in (("redis-password", "redisPassword"), ("redis-username", "redisUsername")):
        if param in params:
            moved |= _param(str(params[param]), name, by_name, options, found)
            _drop(params, param)
            found.done.append(f"spec.headGroupSpec.rayStartParams: {param} is removed (it is generated)")
    for item in [item for item in env if item.get("name") in moved]:
        env.remove(item)
        found.done.append(f"spec.headGroupSpec…containers[0].env: {item['name']} is removed")
    if not env and "env" in containers[0]:
        del containers[0]["env"]


def _address(item: Mapping[str, Any] | None, options: dict[str, Any], found: Migration) -> None:
    if item is None:
        return
    if item.get("value"):
        _set(options, "redisAddress", str(item["value"]), found)
    else:
        text = "RAY_REDIS_ADDRESS comes from a reference, and redisAddress can only be a text"
        found.refused.append(f"{text}: write the address itself first")


def _namespace(
    item: Mapping[str, Any] | None, annotations: Mapping[str, Any], options: dict[str, Any], found: Migration
) -> None:
    """The head's own variable counts before the annotation."""
    if item is not None and not item.get("value"):
        found.refused.append("RAY_external_storage_namespace comes from a reference: write the name itself first")
        return
    named = (item or {}).get("value") or annotations.get(keys.STORAGE_NAMESPACE)
    if named:
        _set(options, "externalStorageNamespace", str(named), found)
        found.notes.append(f"the storage namespace {named!r} is kept: the state stays where it is")


def _param(text: str, name: str, env: Mapping[Any, Any], options: dict[str, Any], found: Migration) -> set[str]:
    """Move a start parameter; return the variable that it named, if that is not needed any more."""
    if not text.startswith("$"):
        options[name] = {"value": text}
        found.notes.append(f"{name} is written in plain text; a Secret and {name}.valueFrom would be better")
        return set()
    variable = text[1:].strip("{}")
    if variable not in env:
        found.refused.append(f"rayStartParams names the variable {variable}, which the head does not have")
        return set()
    options[name] = _credential(env[variable])
    return {variable}


def _credential(item: Mapping[str, Any]) -> dict[str, Any]:
    return {part: _plain(item[part]) for part in ("value", "valueFrom") if item.get(part)}


def _set(options: dict[str, Any], name: str, value: Any, found: Migration) -> None:
    if name in options and options[name] != value:
        found.refused.append(f"{name} is said twice, and not the same")
    options[name] = value


def _merge(spec: Document, had: Any, options: dict[str, Any], enabled: bool, found: Migration) -> None:
    if had is None and not options and not enabled:
        return
    if had is None:
        _insert(spec, OPTIONS, options)
        found.done.append(f"spec.{OPTIONS} is added: {', '.join(options) or 'empty'}")
        return
    for name, value in options.items():
        if name not in had:
            had[name] = value
            found.done.append(f"spec.{OPTIONS}.{name} is added")
        elif _plain(had[name]) != value:
            found.refused.append(f"spec.{OPTIONS}.{name} says something else than the head's variables")


def _drop(mapping: Document, name: str) -> None:
    """Remove a field; a comment on the lines after it belongs to what follows, and stays."""
    comments = getattr(getattr(mapping, "ca", None), "items", {})
    after = (comments.get(name) or [None] * 3)[2]
    before = list(mapping)[: list(mapping).index(name)]
    del mapping[name]
    comments.pop(name, None)
    if after is None or not before:
        return
    kept = after.value.partition("\n")[2]
    slots = comments.setdefault(before[-1], [None] * 4)
    if slots[2] is None:
        after.value = "\n" + kept
        slots[2] = after
    else:
        slots[2].value = slots[2].value.rstrip("\n") + "\n" + kept


def _insert(spec: Document, name: str, value: Any) -> None:
    """Put a field before the head, where manifests have it."""
    place = list(spec).index("headGroupSpec") if "headGroupSpec" in spec else len(spec)
    if hasattr(spec, "insert"):
        spec.insert(place, name, value)
        return
    after = {other: spec.pop(other) for other in list(spec)[place:]}
    spec[name] = value
    spec.update(after)


def _check_live(before: Mapping[str, Any], found: Migration) -> None:
    metadata = before.get("metadata") or {}
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    if owners:
        owner = f"{owners[0].get('kind')} {owners[0].get('name')}"
        found.refused.append(f"it belongs to {owner}, which would undo the change: change {owner} instead")
    if metadata.get("deletionTimestamp"):
        found.refused.append("it is being deleted")


def _check_same(before: Mapping[str, Any], after: Mapping[str, Any], found: Migration) -> None:
    """The state must stay where it is, and the result must be accepted."""
    old, new = parse_cluster(before), parse_cluster(after)
    found.refused += [str(problem) for problem in check(new, ClusterOptions())]
    was, now = fault_tolerance(old), fault_tolerance(new)
    if was.route == "annotation":
        same = (was.address, was.namespace, was.pinned) == (now.address, now.namespace, now.pinned)
        if not same:
            found.refused.append("the state would be looked for in another place")
        found.notes.append(
            "running pods are not touched" if old.upgrade == "None" or head_revision(old) == head_revision(new) else
            "the head's start changes with this, and the upgrade strategy replaces running pods"
        )  # fmt: skip
        if not was.pinned:
            found.notes.append(
                "the storage namespace is the cluster's uid: change the cluster that runs; deleting it and making it "
                "anew begins with an empty state"
            )
        if old.upgrade == "Recreate":
            found.notes.append("where KubeRay looks after this cluster, its strategy Recreate replaces all pods")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
