"""``metadata``: what the server sets, what it restores, and what is refused."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    required,
    too_long,
)
from rayctl.embedded.apiserver.names import Rule, label_value, qualified_name

__all__ = ["deduplicate_owners", "validate_metadata", "validate_metadata_update", "without_empty"]

MAX_ANNOTATIONS = 256 * 1024
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
NO_OWNERS = frozenset({("v1", "Event"), ("events.k8s.io/v1", "Event")})


def without_empty(metadata: dict[str, Any]) -> None:
    """Take away what a typed server would not show: empty maps, lists and texts."""
    for name in [name for name, value in metadata.items() if value in ("", {}, [], None)]:
        del metadata[name]


def deduplicate_owners(metadata: dict[str, Any]) -> list[str]:
    """Keep one of equal owner references; returns the warnings for the client."""
    owners = metadata.get("ownerReferences")
    if not owners:
        return []
    seen: set[str] = set()
    repeated = [o["uid"] for o in owners if o.get("uid") in seen or seen.add(o.get("uid", ""))]  # type: ignore[func-returns-value]
    if not repeated:
        return []
    kept: list[Any] = []
    for owner in owners:
        if owner not in kept:
            kept.append(owner)
    metadata["ownerReferences"] = kept
    uids = ", ".join(dict.fromkeys(repeated))
    return [
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        f"reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
    ]


def validate_metadata(metadata: dict[str, Any], name_rule: Rule, builtin: bool) -> list[FieldError]:
    """Return what is wrong with the metadata of a new object. ``builtin``: its finalizers need a domain."""
    errors: list[FieldError] = []
    prefix = metadata.get("generateName")
    if prefix:
        # What follows has to be good as well, so the rule for the whole name applies to the prefix and one letter.
        probe = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        errors.extend(invalid_value("metadata.generateName", prefix, text) for text in name_rule(probe))
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors.extend(invalid_value("metadata.name", name, text) for text in name_rule(name))
    errors.extend(validate_accessors(metadata, builtin))
    return errors


def validate_accessors(metadata: dict[str, Any], builtin: bool) -> list[FieldError]:
    """Return what is wrong apart from the name."""
    errors: list[FieldError] = []
    for key, value in metadata.get("labels", {}).items():
        errors.extend(invalid_value("metadata.labels", key, text) for text in qualified_name(key))
        errors.extend(invalid_value("metadata.labels", value, text) for text in label_value(value))
    size = 0
    for key, value in metadata.get("annotations", {}).items():
        errors.extend(invalid_value("metadata.annotations", key, text) for text in qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_ANNOTATIONS:
        errors.append(too_long("metadata.annotations", MAX_ANNOTATIONS))
    errors.extend(_owners(metadata.get("ownerReferences", [])))
    for index, finalizer in enumerate(metadata.get("finalizers", [])):
        problems = qualified_name(finalizer)
        errors.extend(invalid_value("metadata.finalizers", finalizer, text) for text in problems)
        if builtin and not problems and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid_value(f"metadata.finalizers[{index}]", finalizer, text))
    finalizers = metadata.get("finalizers", [])
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = "finalizers orphan and foregroundDeletion cannot be set at the same time"
        errors.append(invalid_value("metadata.finalizers", finalizers, text))
    return errors


def _owners(owners: list[dict[str, Any]]) -> list[FieldError]:
    errors: list[FieldError] = []
    path = "metadata.ownerReferences"
    for owner in owners:
        version = owner.get("apiVersion", "")
        if not version or version.count("/") > 1:
            errors.append(invalid_value(f"{path}.apiVersion", version, "version must not be empty"))
        errors.extend(
            invalid_value(f"{path}.{name}", "", "must not be empty")
            for name in ("kind", "name", "uid")
            if not owner.get(name)
        )
        if (version, owner.get("kind")) in NO_OWNERS:
            group = version.rpartition("/")[0]
            text = f"{group}/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid_value(path, owner, text))
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        names = " and ".join(str(owner.get("kind")) for owner in controllers[:2])
        text = f'Only one reference can have Controller set to true. Found "true" in references for {names}'
        errors.append(invalid_value(path, owners, text))
    return errors


def undomained(metadata: dict[str, Any]) -> list[str]:
    """Return warnings for finalizers of custom resources that could collide with others."""
    return [
        f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name to avoid accidental conflicts with'
        " other finalizer writers"
        for name in metadata.get("finalizers", [])
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def validate_metadata_update(new: dict[str, Any], old: dict[str, Any], builtin: bool) -> list[FieldError]:
    """Return what an update may not do to metadata."""
    errors: list[FieldError] = []
    for name in ("name", "namespace", "uid"):
        if new.get(name) != old.get(name):
            errors.append(invalid_value(f"metadata.{name}", new.get(name, ""), "field is immutable"))
    if old.get("deletionTimestamp"):
        added = [name for name in new.get("finalizers", []) if name not in old.get("finalizers", [])]
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            errors.append(forbidden_field("metadata.finalizers", text + str(added)))
    errors.extend(validate_accessors(new, builtin))
    return errors
