"""The installation as a Helm chart and as a kustomize base, written from the one source. Pure: file name → text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rayctl import __version__
from rayctl.manifests import crd_documents
from rayctl.manifests.installation import (
    NAME,
    Installation,
    access,
    actors_access,
    cluster,
    documents,
    entry,
    everywhere,
    standby,
    within,
)
from rayctl.manifests.text import render

__all__ = ["VALUES", "helm", "kustomize"]

VALUES: dict[str, tuple[Any, str]] = {
    "image": (Installation().image, "Image of head and workers: Ray and rayctl of the same versions."),
    "rayVersion": (Installation().ray_version, "Ray's version in it."),
    "workers": (0, "Worker pods beside the head."),
    "cpu": (Installation().cpu, "CPUs of the head."),
    "memory": (Installation().memory, "Memory of the head."),
    "watchNamespace": ("", "Only objects in this namespace are looked after; empty: in all."),
    "actors": (False, "Run AutoML, its HTTP API and the controllers on the control plane's cluster."),
    "numCpus": (2, "CPUs of the head for tasks, with actors."),
    "storage": (Installation().storage, "Size of the volume with the state, with actors."),
    "storageClass": ("", "Its class; empty: the cluster's own."),
    "accessMode": (Installation().access_mode, "ReadWriteMany lets `rayctl upgrade` use another node."),
}
"""What a Helm chart's user can choose: name → (default, meaning)."""
_MARKED = Installation(
    namespace="@namespace@",
    watch_namespace="@watchNamespace@",
    image="@image@",
    ray_version="@rayVersion@",
    workers="@workers@",
    cpu="@cpu@",
    memory="@memory@",
)
_ACTORS = replace(
    _MARKED,
    actors=True,
    num_cpus="@numCpus@",  # type: ignore[arg-type]  # a mark
    storage="@storage@",
    storage_class="@storageClass@",
    access_mode="@accessMode@",
)


def helm() -> dict[str, str]:
    """Return the files of two charts: ``rayctl-crds`` (Helm never upgrades what is in ``crds/``) and ``rayctl``."""
    crds = {f"rayctl-crds/templates/{crd['metadata']['name']}.yaml": _escaped(render(crd)) for crd in crd_documents()}
    own, all_of = everywhere(_MARKED), everywhere(_ACTORS)
    gateway = [item for item in all_of if item not in own]
    there = within(_ACTORS, _ACTORS.watch_namespace)
    gateway_there = [item for item in there if item not in within(_MARKED, _MARKED.watch_namespace)]
    bindings = _either("watchNamespace", _all(within(_MARKED, _MARKED.watch_namespace)), _all(own))
    gateways = _either("watchNamespace", _all(gateway_there), _all(gateway))
    plain = _all([cluster(_MARKED), entry(_MARKED)])
    values = "".join(f"# {text}\n{name}: {json.dumps(default)}\n" for name, (default, text) in VALUES.items())
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "integer", "minimum": 0, "description": text}
            if isinstance(default, int) and not isinstance(default, bool)
            else {"type": "boolean" if isinstance(default, bool) else "string", "description": text}
            for name, (default, text) in VALUES.items()
        },
    }
    schema["properties"]["global"] = {"type": "object"}  # type: ignore[index]  # Helm adds it
    return {
        "rayctl-crds/Chart.yaml": _chart("rayctl-crds", "The kinds that rayctl works with."),
        **crds,
        "rayctl/Chart.yaml": _chart("rayctl", "A control plane made of Ray actors. Install rayctl-crds first."),
        "rayctl/values.yaml": values,
        "rayctl/values.schema.json": json.dumps(schema, indent=2) + "\n",
        "rayctl/templates/access.yaml": _all(access(_MARKED)) + "\n",
        "rayctl/templates/bindings.yaml": bindings + "\n",
        "rayctl/templates/actors.yaml": _either("actors", f"{_all(actors_access(_ACTORS))}\n{gateways}") + "\n",
        "rayctl/templates/cluster.yaml": _either("actors", _all(standby(_ACTORS)), plain) + "\n",
    }


def _all(found: Iterable[dict[str, Any]]) -> str:
    return "\n".join(map(_templated, found))


def _either(value: str, text: str, other: str = "") -> str:
    """Return what is rendered if a value is set, and what otherwise."""
    otherwise = f"{{{{- else }}}}\n{other}\n" if other else ""
    return f"{{{{- if .Values.{value} }}}}\n{text}\n{otherwise}{{{{- end }}}}"


def kustomize() -> dict[str, str]:
    """Return the files of two kustomize bases: all namespaces, the default image; `actors` with a control plane of
    actors."""
    crds = {f"{crd['metadata']['name']}.yaml": render(crd) for crd in crd_documents()}
    bases = {"base": Installation(), "actors": Installation(actors=True, num_cpus=VALUES["numCpus"][0])}
    found = {}
    for name, chosen in bases.items():
        base = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [*sorted(f"crds/{crd}" for crd in crds), "rayctl.yaml"],
        }
        found[f"{name}/kustomization.yaml"] = render(base)
        found |= {f"{name}/crds/{crd}": text for crd, text in crds.items()}
        found[f"{name}/rayctl.yaml"] = "---\n".join(render(document) for document in documents(chosen))
    return found


def _chart(name: str, about: str) -> str:
    return render(
        {
            "apiVersion": "v2",
            "name": name,
            "description": about,
            "type": "application",
            "version": __version__.split("+")[0],
            "appVersion": __version__,
            "kubeVersion": ">=1.25.0-0",
        }
    )


def _templated(document: dict[str, Any]) -> str:
    text = "---\n" + render(document, head=False).rstrip()
    text = text.replace("  workers: '@workers@'", "  workers: {{ .Values.workers | quote }}")  # text in a ConfigMap
    text = _CLASS.sub(r"{{- with .Values.storageClass }}\n\1{{ . | quote }}\n{{- end }}", text)
    text = text.replace("'@namespace@'", "{{ .Release.Namespace | quote }}").replace(
        "'@workers@'", "{{ .Values.workers }}"
    )
    for name in VALUES:
        text = text.replace(f"'@{name}@'", f"{{{{ .Values.{name} | quote }}}}")
    assert "@" not in text.replace("{{", ""), f"a mark is left in {document['kind']} of {NAME}"
    return text


_CLASS = re.compile(r"^( *storageClassName: )'@storageClass@'$", re.MULTILINE)


def _escaped(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
