"""Which fields of which kinds are read from protobuf, by the numbers that the API's published messages give them.

A kind that is not here, or a field that is set and not here, is read as JSON or YAML only: nothing is lost unnoticed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["KINDS", "Message"]

Message = dict[int, tuple[str, Any]]
"""A field is (name, type). Types: str, bool, int, bytes, ``flag`` and ``count`` (False and 0 are as good as nothing),
``time``, ``micro-time``, ``quantity``, ``int-or-string``, ``skip`` (not for clients to set), a message, a list of one
of these, ("map", type) for maps of texts to them, ("inline", message) for fields that JSON has one level higher."""

_OWNER: Message = {
    **{5: ("apiVersion", str), 1: ("kind", str), 3: ("name", str), 4: ("uid", str)},
    **{6: ("controller", bool), 7: ("blockOwnerDeletion", bool)},
}
_META: Message = {
    **{1: ("name", str), 2: ("generateName", str), 3: ("namespace", str), 5: ("uid", str)},
    **{6: ("resourceVersion", str), 7: ("generation", int), 8: ("creationTimestamp", "time")},
    **{11: ("labels", ("map", str)), 12: ("annotations", ("map", str)), 13: ("ownerReferences", [_OWNER])},
    **{14: ("finalizers", [str]), 4: ("selfLink", "skip"), 9: ("deletionTimestamp", "skip")},
    **{10: ("deletionGracePeriodSeconds", "skip"), 17: ("managedFields", "skip")},
}
_ATTRIBUTES: Message = {
    number: (name, str)
    for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
}
_PATH: Message = {1: ("path", str), 2: ("verb", str)}
_ACCESS: Message = {1: ("resourceAttributes", _ATTRIBUTES), 2: ("nonResourceAttributes", _PATH)}
_SUBJECT_ACCESS: Message = {**_ACCESS, 3: ("user", str), 4: ("groups", [str]), 6: ("uid", str)}
_RULE: Message = {
    number: (name, [str])
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
_SUBJECT: Message = {1: ("kind", str), 2: ("apiGroup", str), 3: ("name", str), 4: ("namespace", str)}
_ROLE_REF: Message = {1: ("apiGroup", str), 2: ("kind", str), 3: ("name", str)}
_ROLE: Message = {1: ("metadata", _META), 2: ("rules", [_RULE])}
_BINDING: Message = {1: ("metadata", _META), 2: ("subjects", [_SUBJECT]), 3: ("roleRef", _ROLE_REF)}
_REFERENCE: Message = {
    number: (name, str)
    for number, name in enumerate(("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"), 1)
}
_LEASE: Message = {
    **{1: ("holderIdentity", str), 2: ("leaseDurationSeconds", int), 3: ("acquireTime", "micro-time")},
    **{4: ("renewTime", "micro-time"), 5: ("leaseTransitions", int)},
}
_DELETE: Message = {
    **{1: ("gracePeriodSeconds", int), 2: ("preconditions", {1: ("uid", str), 2: ("resourceVersion", str)})},
    **{3: ("orphanDependents", bool), 4: ("propagationPolicy", str), 5: ("dryRun", [str])},
}


def _with_spec(spec: Message) -> Message:
    return {1: ("metadata", _META), 2: ("spec", spec), 3: ("status", "skip")}


_SELECTOR: Message = {
    1: ("matchLabels", ("map", str)),
    2: ("matchExpressions", [{1: ("key", str), 2: ("operator", str), 3: ("values", [str])}]),
}
_CONTAINER: Message = {
    **{1: ("name", str), 2: ("image", str), 3: ("command", [str]), 4: ("args", [str]), 5: ("workingDir", str)},
    6: ("ports", [{1: ("name", str), 2: ("hostPort", "count"), 3: ("containerPort", int), 4: ("protocol", str)}]),
    **{14: ("imagePullPolicy", str), 16: ("stdin", "flag"), 17: ("stdinOnce", "flag"), 18: ("tty", "flag")},
}
_TEMPLATE: Message = {1: ("metadata", _META), 2: ("spec", {2: ("containers", [_CONTAINER]), 3: ("restartPolicy", str)})}
_JOB: Message = {6: ("template", _TEMPLATE)}
_SERVICE_PORT: Message = {
    **{1: ("name", str), 2: ("protocol", str), 3: ("port", int), 4: ("targetPort", "int-or-string")},
    5: ("nodePort", "count"),
}
_BACKEND: Message = {
    4: ("service", {1: ("name", str), 2: ("port", {1: ("name", str), 2: ("number", "count")})}),
}
_PATHS: Message = {1: ("paths", [{1: ("path", str), 2: ("backend", _BACKEND), 3: ("pathType", str)}])}


KINDS: dict[str, Message] = {
    "SelfSubjectAccessReview": _with_spec(_ACCESS),
    "SubjectAccessReview": _with_spec(_SUBJECT_ACCESS),
    "LocalSubjectAccessReview": _with_spec(_SUBJECT_ACCESS),
    "SelfSubjectRulesReview": _with_spec({1: ("namespace", str)}),
    "SelfSubjectReview": {1: ("metadata", _META)},
    "TokenReview": _with_spec({1: ("token", str), 2: ("audiences", [str])}),
    "Namespace": _with_spec({1: ("finalizers", [str])}),
    "ConfigMap": {
        **{1: ("metadata", _META), 2: ("data", ("map", str)), 3: ("binaryData", ("map", bytes))},
        4: ("immutable", bool),
    },
    "Secret": {
        **{1: ("metadata", _META), 2: ("data", ("map", bytes)), 3: ("type", str)},
        **{4: ("stringData", ("map", str)), 5: ("immutable", bool)},
    },
    "ServiceAccount": {
        **{1: ("metadata", _META), 2: ("secrets", [_REFERENCE]), 3: ("imagePullSecrets", [{1: ("name", str)}])},
        4: ("automountServiceAccountToken", bool),
    },
    "ResourceQuota": _with_spec({1: ("hard", ("map", "quantity")), 2: ("scopes", [str])}),
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "Lease": _with_spec(_LEASE),
    "TokenRequest": _with_spec({1: ("audiences", [str]), 4: ("expirationSeconds", int)}),
    "Service": _with_spec(
        {
            **{1: ("ports", [_SERVICE_PORT]), 2: ("selector", ("map", str)), 3: ("clusterIP", str), 4: ("type", str)},
            10: ("externalName", str),
        }
    ),
    "Deployment": _with_spec(
        {
            **{1: ("replicas", int), 2: ("selector", _SELECTOR), 3: ("template", _TEMPLATE)},
            **{4: ("strategy", {1: ("type", str)}), 5: ("minReadySeconds", "count"), 7: ("paused", "flag")},
        }
    ),
    "Job": _with_spec(_JOB),
    "CronJob": _with_spec(
        {
            **{1: ("schedule", str), 3: ("concurrencyPolicy", str)},
            5: ("jobTemplate", {1: ("metadata", _META), 2: ("spec", _JOB)}),
        }
    ),
    "Ingress": _with_spec(
        {
            **{1: ("defaultBackend", _BACKEND), 2: ("tls", [{1: ("hosts", [str]), 2: ("secretName", str)}])},
            3: ("rules", [{1: ("host", str), 2: ("", ("inline", {1: ("http", _PATHS)}))}]),
            4: ("ingressClassName", str),
        }
    ),
    "PodDisruptionBudget": _with_spec(
        {
            **{1: ("minAvailable", "int-or-string"), 2: ("selector", _SELECTOR)},
            3: ("maxUnavailable", "int-or-string"),
        }
    ),
    "PriorityClass": {
        **{1: ("metadata", _META), 2: ("value", int), 3: ("globalDefault", "flag"), 4: ("description", str)},
        5: ("preemptionPolicy", str),
    },
    "DeleteOptions": _DELETE,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE)},
}
