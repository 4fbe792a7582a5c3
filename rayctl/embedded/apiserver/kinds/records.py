"""The rules of kinds that are mostly records: config maps, secrets, namespaces, leases, roles and so on."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.errors import (
    FieldError,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from rayctl.embedded.apiserver.names import dns_label, path_segment
from rayctl.embedded.apiserver.quantity import canonical, parse_quantity
from rayctl.embedded.apiserver.resources import Rules

__all__ = [
    "BindingRules",
    "BudgetRules",
    "ClaimRules",
    "ConfigMapRules",
    "EventRules",
    "LeaseRules",
    "NamespaceRules",
    "QuotaRules",
    "Record",
    "RoleRules",
    "SecretRules",
]

MAX_DATA = 1_048_576
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or"
    " 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


class Record(Rules):
    """A built-in kind without rules of its own."""

    unconditional_update = True

    def default(self, document: dict[str, Any]) -> None:
        drop_empty(document, ("data", "binaryData", "stringData"))


def drop_empty(document: dict[str, Any], names: tuple[str, ...]) -> None:
    """Take empty maps and lists away that a typed server would not show."""
    for name in names:
        if document.get(name) in ({}, []):
            del document[name]


def _check_key(key: str, path: str) -> list[FieldError]:
    if len(key) > 253:
        return [invalid_value(path, key, "must be no more than 253 characters")]
    if not _KEY.fullmatch(key):
        return [invalid_value(path, key, _KEY_RULE)]
    if key == "." or key.startswith(".."):
        return [invalid_value(path, key, "must not be '.'" if key == "." else "must not start with '..'")]
    return []


def _check_immutable(new: Mapping[str, Any], old: Mapping[str, Any], fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    text = "field is immutable when `immutable` is set"
    errors = [] if new.get("immutable") else [forbidden_field("immutable", text)]
    return errors + [forbidden_field(name, text) for name in fields if (new.get(name) or {}) != (old.get(name) or {})]


class ConfigMapRules(Record):
    """Keys, sizes, and ``immutable``."""

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        data, binary = document.get("data") or {}, document.get("binaryData") or {}
        size = 0
        for key, value in data.items():
            errors += _check_key(key, f"data[{key}]")
            if key in binary:
                errors.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(value.encode("utf-8", "surrogatepass"))
        for key, value in binary.items():
            errors += _check_key(key, f"binaryData[{key}]")
            size += len(value) * 3 // 4
        if size > MAX_DATA:
            errors.append(too_long("[]", MAX_DATA))
        return errors

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        return _check_immutable(new, old, ("data", "binaryData"))


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
ACCOUNT_NAME = "kubernetes.io/service-account.name"


class SecretRules(Record):
    """``stringData`` goes into ``data``; types have their keys."""

    def default(self, document: dict[str, Any]) -> None:
        texts = document.pop("stringData", None)
        if texts:
            data = document.setdefault("data", {})
            for key, value in texts.items():
                data[key] = base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()
        document.setdefault("type", "Opaque")
        super().default(document)

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        data = document.get("data") or {}
        size = 0
        for key, value in data.items():
            errors += _check_key(key, f"data[{key}]")
            size += len(value) * 3 // 4
        if size > MAX_DATA:
            errors.append(too_long("data", MAX_DATA))
        kind = document.get("type", "Opaque")
        for key in _SECRET_KEYS.get(kind, ()):
            if key not in data:
                errors.append(required(f"data[{key}]"))
            elif key.startswith(".docker") and not _is_json(data[key]):
                text = "invalid character looking for beginning of object key string"
                errors.append(invalid_value(f"data[{key}]", "<secret contents redacted>", text))
        account = document["metadata"].get("annotations", {}).get(ACCOUNT_NAME)
        if kind == "kubernetes.io/service-account-token" and not account:
            errors.append(required(f"metadata.annotations[{ACCOUNT_NAME}]"))
        return errors

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        errors = _check_immutable(new, old, ("data",))
        if new.get("type") != old.get("type"):
            errors.append(invalid_value("type", new.get("type"), "field is immutable"))
        return errors


def _is_json(encoded: str) -> bool:
    try:
        json.loads(base64.b64decode(encoded))
    except ValueError:
        return False
    return True


class NamespaceRules(Record):
    """Its own finalizer, its phase, and the label with its name."""

    name_rule = staticmethod(dns_label)
    returns_deleted = False

    def default(self, document: dict[str, Any]) -> None:
        labels = document["metadata"].setdefault("labels", {})
        if document["metadata"].get("name"):
            labels["kubernetes.io/metadata.name"] = document["metadata"]["name"]

    def prepare_create(self, document: dict[str, Any]) -> None:
        spec = document.setdefault("spec", {})
        if "kubernetes" not in spec.get("finalizers", []):
            spec["finalizers"] = [*spec.get("finalizers", []), "kubernetes"]
        document["status"] = {"phase": "Active"}

    def prepare_update(self, new: dict[str, Any], old: Mapping[str, Any], subresource: str) -> None:
        if subresource != "finalize":
            new["spec"] = dict(old.get("spec", {}))
            return
        kept = dict(new.get("spec", {}))
        if not kept.get("finalizers"):
            kept.pop("finalizers", None)
        new["spec"] = kept
        new["status"] = old.get("status", {})


class LeaseRules(Record):
    """Durations and transitions."""

    def default(self, document: dict[str, Any]) -> None:
        document.setdefault("spec", {})

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        spec = document.get("spec", {})
        errors: list[FieldError] = []
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if duration is not None and duration <= 0:
            errors.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            errors.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
        return errors


_COUNTED = re.compile(r"(pods|services|secrets|configmaps|persistentvolumeclaims|resourcequotas|count/.*|services\..*)")


class QuotaRules(Record):
    """Limits are quantities; counts are whole."""

    def default(self, document: dict[str, Any]) -> None:
        for part in (document.setdefault("spec", {}), document.setdefault("status", {})):
            for name in ("hard", "used"):
                found = part.get(name)
                if found:
                    part[name] = {key: _canonical(value) for key, value in found.items()}
                else:
                    part.pop(name, None)

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        for name, value in (document.get("spec", {}).get("hard") or {}).items():
            path = f"spec.hard[{name}]"
            try:
                number = parse_quantity(value)
            except ValueError as error:
                errors.append(invalid_value(path, value, str(error)))
                continue
            if number < 0:
                errors.append(invalid_value(path, value, "must be greater than or equal to 0"))
            elif _COUNTED.fullmatch(name) and number != number.to_integral_value():
                errors.append(invalid_value(path, value, "must be an integer"))
        return errors


def _canonical(value: Any) -> Any:
    try:
        return canonical(value)
    except ValueError:
        return value


class ClaimRules(Record):
    """A claim is a record here; the kubelet binds it."""

    returns_deleted = True

    def default(self, document: dict[str, Any]) -> None:
        document.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")

    def prepare_create(self, document: dict[str, Any]) -> None:
        document["status"] = {"phase": "Pending"}

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        if subresource or new.get("spec") == old.get("spec"):
            return []
        changed = {name for name in {*new["spec"], *old["spec"]} if new["spec"].get(name) != old["spec"].get(name)}
        # Whoever binds a claim says which volume it is, and of which class.
        allowed = {name for name in ("volumeName", "storageClassName") if not old["spec"].get(name)}
        if old.get("status", {}).get("phase") == "Bound":
            allowed |= {"resources", "volumeName"}
        if changed <= allowed:
            return []
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [forbidden_field("spec", text)]


class BudgetRules(Record):
    """One bound, not two."""

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        spec = document.get("spec", {})
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            return [invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
        return []


class RoleRules(Record):
    """Rules must say what they allow."""

    name_rule = staticmethod(path_segment)

    def default(self, document: dict[str, Any]) -> None:
        if "rules" not in document and document.get("kind") in ("Role", "ClusterRole"):
            document["rules"] = None

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        for index, rule in enumerate(document.get("rules") or []):
            path = f"rules[{index}]"
            if not rule.get("verbs"):
                errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
            if rule.get("nonResourceURLs"):
                if document.get("kind") == "Role":
                    text = "namespaced rules cannot apply to non-resource URLs"
                    errors.append(invalid_value(f"{path}.nonResourceURLs", rule["nonResourceURLs"], text))
                continue
            if not rule.get("apiGroups"):
                errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
            if not rule.get("resources"):
                errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
        return errors


RBAC = "rbac.authorization.k8s.io"
_SUBJECT_GROUPS = {"User": RBAC, "Group": RBAC, "ServiceAccount": ""}


class BindingRules(Record):
    """Who gets which role; the role cannot be changed afterwards."""

    name_rule = staticmethod(path_segment)

    def default(self, document: dict[str, Any]) -> None:
        reference = document.get("roleRef")
        if isinstance(reference, dict) and not reference.get("apiGroup"):
            reference["apiGroup"] = RBAC
        for subject in document.get("subjects") or []:
            group = _SUBJECT_GROUPS.get(subject.get("kind", ""))
            if group and not subject.get("apiGroup"):
                subject["apiGroup"] = group

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        errors: list[FieldError] = []
        reference = document.get("roleRef") or {}
        kinds = ("Role", "ClusterRole") if document.get("kind") == "RoleBinding" else ("ClusterRole",)
        if reference.get("kind") not in kinds:
            errors.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
        if not reference.get("name"):
            errors.append(required("roleRef.name"))
        for index, subject in enumerate(document.get("subjects") or []):
            path = f"subjects[{index}]"
            if not subject.get("name"):
                errors.append(required(f"{path}.name"))
            if subject.get("kind") not in _SUBJECT_GROUPS:
                errors.append(not_supported(f"{path}.kind", subject.get("kind", ""), sorted(_SUBJECT_GROUPS)))
            elif subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
                errors.append(required(f"{path}.namespace"))
        return errors

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        if new.get("roleRef") != old.get("roleRef"):
            return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]
        return []


# Events: one store, two APIs ----------------------------------------------------------------------------

_TO_CORE = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_TO_NEW = {core: new for new, core in _TO_CORE.items()}
MAX_NOTE = 1024


class EventRules(Record):
    """Events are stored in the core group's form; ``group`` says in which form they are shown."""

    def __init__(self, group: str) -> None:
        self._group = group

    def default(self, document: dict[str, Any]) -> None:
        document.setdefault("source", {})
        for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
            document.setdefault(name, None)
        for name in ("reportingComponent", "reportingInstance"):
            document.setdefault(name, "")

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        about, namespace = document.get("involvedObject") or {}, document["metadata"].get("namespace", "")
        wanted = about.get("namespace") or ("default" if not about.get("namespace") else "")
        if wanted != namespace:
            text = "does not match event.namespace"
            return [invalid_value("involvedObject.namespace", about.get("namespace", ""), text)]
        return []

    def from_storage(self, document: dict[str, Any]) -> dict[str, Any]:
        if self._group == "":
            return document
        found = {_TO_NEW.get(name, name): value for name, value in document.items()}
        for name in ("reportingController", "reportingInstance"):
            if found.get(name) == "":
                del found[name]
        return found


def event_to_core(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of ``events.k8s.io`` in the core group's form."""
    found = {_TO_CORE.get(name, name): value for name, value in document.items()}
    found["apiVersion"] = "v1"
    return found


def check_event(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
    """Return what ``events.k8s.io`` refuses of an event (in the core group's form)."""
    errors: list[FieldError] = []
    if old is not None:
        for name in (
            "message",
            "involvedObject",
            "reason",
            "action",
            "type",
            "reportingComponent",
            "reportingInstance",
        ):
            if new.get(name) != old.get(name):
                errors.append(invalid_value(name, new.get(name), "field is immutable"))
        return errors
    for name in ("reason", "action", "reportingComponent", "reportingInstance", "eventTime"):
        if not new.get(name):
            shown = "reportingController" if name == "reportingComponent" else name
            errors.append(required(shown))
    if new.get("type") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", f"has invalid value: {new.get('type')}"))
    if len(new.get("message") or "") > MAX_NOTE:
        errors.append(invalid_value("message", "", f"can have at most {MAX_NOTE} characters"))
    return errors
