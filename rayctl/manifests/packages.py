"""The installation as a Helm chart and as a kustomize base, written from the one source. Pure: file name → text."""

from __future__ import annotations

import json
from typing import Any

from rayctl import __version__
from rayctl.manifests import crd_documents
from rayctl.manifests.installation import NAME, Installation, access, cluster, documents, everywhere, within
from rayctl.manifests.text import render

__all__ = ["VALUES", "helm", "kustomize"]

VALUES: dict[str, tuple[Any, str]] = {
    "image": (Installation().image, "Image of head and workers: Ray and rayctl of the same versions."),
    "rayVersion": (Installation().ray_version, "Ray's version in it."),
    "workers": (0, "Worker pods beside the head."),
    "cpu": (Installation().cpu, "CPUs of the head."),
    "memory": (Installation().memory, "Memory of the head."),
    "watchNamespace": ("", "Only objects in this namespace are looked after; empty: in all."),
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


def helm() -> dict[str, str]:
    """Return the files of two charts: ``rayctl-crds`` (Helm never upgrades what is in ``crds/``) and ``rayctl``."""
    crds = {f"rayctl-crds/templates/{crd['metadata']['name']}.yaml": _escaped(render(crd)) for crd in crd_documents()}
    both = "\n".join(
        (
            "{{- if .Values.watchNamespace }}",
            *(_templated(item) for item in within(_MARKED, _MARKED.watch_namespace)),
            "{{- else }}",
            *(_templated(item) for item in everywhere(_MARKED)),
            "{{- end }}",
        )
    )
    values = "".join(f"# {text}\n{name}: {json.dumps(default)}\n" for name, (default, text) in VALUES.items())
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"type": "integer", "minimum": 0, "description": text}
            if isinstance(default, int)
            else {"type": "string", "description": text}
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
        "rayctl/templates/access.yaml": "\n".join(map(_templated, access(_MARKED))) + "\n",
        "rayctl/templates/bindings.yaml": both + "\n",
        "rayctl/templates/cluster.yaml": "\n".join(map(_templated, cluster(_MARKED))) + "\n",
    }


def kustomize() -> dict[str, str]:
    """Return the files of a kustomize base: all namespaces, the default image."""
    crds = {f"crds/{crd['metadata']['name']}.yaml": render(crd) for crd in crd_documents()}
    parts = {"rayctl.yaml": "---\n".join(render(document) for document in documents(Installation()))}
    base = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [*sorted(crds), *sorted(parts)],
    }
    return {
        "base/kustomization.yaml": render(base),
        **{f"base/{name}": text for name, text in {**crds, **parts}.items()},
    }


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
    text = text.replace("'@namespace@'", "{{ .Release.Namespace | quote }}").replace(
        "'@workers@'", "{{ .Values.workers }}"
    )
    for name in VALUES:
        text = text.replace(f"'@{name}@'", f"{{{{ .Values.{name} | quote }}}}")
    assert "@" not in text.replace("{{", ""), f"a mark is left in {document['kind']} of {NAME}"
    return text


def _escaped(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
