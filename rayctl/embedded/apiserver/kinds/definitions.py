"""Custom resource definitions: what may be in one, and the kinds that come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.errors import (
    FieldError,
    invalid_value,
    not_supported,
    required,
)
from rayctl.embedded.apiserver.jsonpath import JsonPath
from rayctl.embedded.apiserver.kinds.structural import check_structure
from rayctl.embedded.apiserver.names import dns_label_1035, dns_subdomain
from rayctl.embedded.apiserver.resources import Resource, Rules, Scale, json_path_reader, with_metadata
from rayctl.embedded.apiserver.schema.node import parse
from rayctl.embedded.apiserver.schema.rules import check_definition, unchecked
from rayctl.embedded.apiserver.tables import custom_columns

__all__ = ["DefinitionRules", "resources_of"]

COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
COLUMN_FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password", "")
_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")


class DefinitionRules(Rules):
    """The rules of ``customresourcedefinitions``."""

    unconditional_update = True
    returns_deleted = True

    def default(self, document: dict[str, Any]) -> None:
        spec = document.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        if kind:
            if not names.get("singular"):
                names["singular"] = kind.lower()
            if not names.get("listKind"):
                names["listKind"] = f"{kind}List"
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, document: dict[str, Any]) -> None:
        versions = document["spec"].get("versions") or []
        stored = [version.get("name", "") for version in versions if version.get("storage")]
        document["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored,
        }
        document["status"].pop("conditions")

    def prepare_update(self, new: dict[str, Any], old: Mapping[str, Any], subresource: str) -> None:
        if subresource:
            return
        status = dict(old.get("status") or {})
        known = list(status.get("storedVersions") or [])
        for version in new["spec"].get("versions") or []:
            if version.get("storage") and version.get("name") not in known:
                known.append(version.get("name"))
        status["storedVersions"] = known
        new["status"] = status

    def validate(self, document: Mapping[str, Any]) -> list[FieldError]:
        return _check_definition(document)

    def warnings(self, document: Mapping[str, Any]) -> list[str]:
        versions = document["spec"].get("versions") or []
        found = [unchecked((version.get("schema") or {}).get("openAPIV3Schema")) for version in versions]
        return [text for text in dict.fromkeys(found) if text]

    def update_warnings(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
        return self.warnings(new) if new["spec"] != old["spec"] else []

    def validate_update(self, new: Mapping[str, Any], old: Mapping[str, Any], subresource: str) -> list[FieldError]:
        errors: list[FieldError] = []
        established = any(
            condition.get("type") == "Established" and condition.get("status") == "True"
            for condition in old.get("status", {}).get("conditions") or []
        )
        if subresource or not established:
            return errors
        for name in ("group", "scope"):
            if new["spec"].get(name) != old["spec"].get(name):
                errors.append(invalid_value(f"spec.{name}", new["spec"].get(name), "field is immutable"))
        for name in ("plural", "kind"):
            before = old["spec"]["names"].get(name)
            if new["spec"]["names"].get(name) != before:
                errors.append(invalid_value(f"spec.names.{name}", new["spec"]["names"].get(name), "field is immutable"))
        return errors


def _check_definition(document: Mapping[str, Any]) -> list[FieldError]:
    spec = document["spec"]
    group, names = spec.get("group", ""), spec.get("names") or {}
    errors: list[FieldError] = []
    plural = names.get("plural", "")
    is_new = not document["metadata"].get("resourceVersion")
    if is_new and document["metadata"].get("name") != f"{plural}.{group}":
        text = 'must be spec.names.plural+"."+spec.group'
        errors.append(invalid_value("metadata.name", document["metadata"].get("name"), text))
    problems = dns_subdomain(group)
    if problems:
        errors.extend(invalid_value("spec.group", group, text) for text in problems)
    elif "." not in group:
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", spec.get("scope"), ["Cluster", "Namespaced"]))
    errors += _check_names(names)
    versions = spec.get("versions") or []
    stored = [version for version in versions if version.get("storage")]
    if len(stored) != 1:
        text = "must have exactly one version marked as storage version"
        errors.append(invalid_value("spec.versions", versions, text))
    for index, version in enumerate(versions):
        errors += _check_version(version, f"spec.versions[{index}]", len(versions) == 1)
    if len(versions) == 1 and dns_label_1035(versions[0].get("name", "")):
        errors.append(invalid_value("spec.version", versions[0].get("name"), "must be a DNS label"))
    return errors + _check_stored(document, versions)


def _check_stored(document: Mapping[str, Any], versions: list[Mapping[str, Any]]) -> list[FieldError]:
    errors: list[FieldError] = []
    known = document.get("status", {}).get("storedVersions") or []
    if not known:
        errors.append(invalid_value("status.storedVersions", known, "must have at least one stored version"))
    storage = [version.get("name") for version in versions if version.get("storage")]
    if len(storage) > 1:
        text = "must have the storage version " + str(storage)
        errors.append(invalid_value("status.storedVersions", known, text))
    named = [version.get("name") for version in versions]
    for index, name in enumerate(known):
        if name not in named:
            text = f"missing from spec.versions; {name} was previously a storage version, and must remain in "
            text += "spec.versions until a storage migration ensures no data remains persisted in " + str(name)
            errors.append(invalid_value(f"status.storedVersions[{index}]", name, text))
    return errors


def _check_names(names: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("plural", "singular"):
        value = names.get(name, "")
        errors += [invalid_value(f"spec.names.{name}", value, text) for text in dns_label_1035(value)]
    for name in ("kind", "listKind"):
        value = names.get(name, "")
        if not _KIND.fullmatch(value) or len(value) > 63:
            errors.append(invalid_value(f"spec.names.{name}", value, "may have mixed case, but should otherwise match"))
    for index, value in enumerate(names.get("shortNames") or []):
        errors += [invalid_value(f"spec.names.shortNames[{index}]", value, text) for text in dns_label_1035(value)]
    for index, value in enumerate(names.get("categories") or []):
        errors += [invalid_value(f"spec.names.categories[{index}]", value, text) for text in dns_label_1035(value)]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        errors.append(invalid_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    return errors


def _check_version(version: Mapping[str, Any], path: str, only: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    errors += [
        invalid_value(f"{path}.name", version.get("name"), text) for text in dns_label_1035(version.get("name", ""))
    ]
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    # With one version, causes about what all versions share are reported at the old place.
    shared = "spec" if only else path
    if schema is None:
        errors.append(required(f"{path}.schema.openAPIV3Schema"))
    else:
        place = "spec.validation" if only else f"{path}.schema"
        found = check_structure(schema, f"{place}.openAPIV3Schema")
        errors += found or check_definition(schema, f"{place}.openAPIV3Schema")
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        errors += _check_column(column, f"{shared}.additionalPrinterColumns[{index}]")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        errors += _check_scale(scale, f"{shared}.subresources.scale")
    return errors


def _check_column(column: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not column.get("name"):
        errors.append(required(f"{path}.name"))
    if not column.get("type"):
        errors.append(required(f"{path}.type", f"must be one of {', '.join(COLUMN_TYPES)}"))
    elif column["type"] not in COLUMN_TYPES:
        errors.append(invalid_value(f"{path}.type", column["type"], f"must be one of {', '.join(COLUMN_TYPES)}"))
    if column.get("format", "") not in COLUMN_FORMATS:
        errors.append(invalid_value(f"{path}.format", column["format"], f"must be one of {', '.join(COLUMN_FORMATS)}"))
    return errors + _check_path(column.get("jsonPath", ""), f"{path}.JSONPath")


def _check_path(text: str, path: str) -> list[FieldError]:
    if not text:
        return [required(path)]
    if not text.startswith("."):
        return [invalid_value(path, text, "must be a json path starting with .")]
    try:
        JsonPath.parse(text)
    except ValueError as error:
        return [invalid_value(path, text, str(error))]
    return []


def _check_scale(scale: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(name, "")
        if not value:
            errors.append(required(f"{path}.{name}"))
        elif not value.startswith(root):
            errors.append(invalid_value(f"{path}.{name}", value, f"should be a json path under {root[:-1]}"))
    selector = scale.get("labelSelectorPath")
    if selector and not selector.startswith((".status.", ".spec.")):
        errors.append(
            invalid_value(f"{path}.labelSelectorPath", selector, "should be a json path under .status or .spec")
        )
    return errors


# The kinds that come of one ---------------------------------------------------------------------------


def resources_of(definition: Mapping[str, Any]) -> list[Resource]:
    """Return the served versions of a definition's kind, and the stored one if that is not served."""
    spec, status = definition["spec"], definition.get("status") or {}
    names = {**spec["names"], **{k: v for k, v in (status.get("acceptedNames") or {}).items() if v}}
    versions = spec["versions"]
    stored = next(version["name"] for version in versions if version.get("storage"))
    return [_resource(definition, version, names, stored) for version in versions]


def _resource(
    definition: Mapping[str, Any], version: Mapping[str, Any], names: Mapping[str, Any], stored: str
) -> Resource:
    spec = definition["spec"]
    schema = version["schema"]["openAPIV3Schema"]
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    served = tuple(name for name in ("status", "scale") if subresources.get(name) is not None)
    deprecation = ""
    if version.get("deprecated"):
        deprecation = (
            version.get("deprecationWarning") or f"{spec['group']}/{version['name']} {names['kind']} is deprecated"
        )
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular", names["kind"].lower()),
        namespaced=spec["scope"] == "Namespaced",
        node=with_metadata(parse(schema)),
        storage=definition["metadata"]["name"],
        rules=Rules(),
        list_kind=names.get("listKind", ""),
        custom=True,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"),
        subresources=served,
        scale=None if scale is None else _scale(scale),
        columns=custom_columns(version),
        selectable={
            field["jsonPath"].lstrip("."): json_path_reader(field["jsonPath"])
            for field in version.get("selectableFields") or ()
        },
        stored_version=stored,
        deprecation=deprecation,
        source=schema,
    )


def _scale(scale: Mapping[str, Any]) -> Scale:
    def path(name: str) -> tuple[str, ...]:
        return tuple(part for part in (scale.get(name) or "").split(".") if part)

    return Scale(path("specReplicasPath"), path("statusReplicasPath"), path("labelSelectorPath"))
