"""What is installed: up-to-date files, least privilege, charts that are the same objects, dashboards that have data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.cluster.controller import RayClusterController
from rayctl.core.controller import Controller
from rayctl.fleet.controller import FleetController
from rayctl.manifests import crd_documents, generate
from rayctl.manifests.access import CONTROLLERS, rules_of
from rayctl.manifests.alerts import ALERTS
from rayctl.manifests.installation import NAME, Installation, documents
from rayctl.manifests.monitoring import PANELS, metrics_in
from rayctl.manifests.packages import VALUES, helm
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.service.controller import RayServiceController
from rayctl.telemetry.metrics import Metrics

FOLDER = Path(generate.__file__).parent
HELM = helm()
BOUND = ("ClusterRoleBinding", "RoleBinding")


def test_the_files_are_what_the_source_says_and_there_are_no_others() -> None:
    files = generate.files()
    for name, text in files.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: run python -m rayctl.manifests.generate"
    folders = ("crds", "helm", "kustomize", "dashboards")
    found = [path for folder in folders for path in (FOLDER / folder).rglob("*") if path.is_file()]
    assert {str(path.relative_to(FOLDER)) for path in found} == set(files)


# Least privilege ---------------------------------------------------------------------------------------------


def roles(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in found:
        if document["kind"] in ("Role", "ClusterRole"):
            for rule in document["rules"]:
                yield f"{document['kind']} {document['metadata']['name']}", rule


@pytest.mark.parametrize("chosen", [Installation(), Installation(watch_namespace="team")])
@pytest.mark.security("S5")
def test_no_role_is_too_strong(chosen: Installation) -> None:
    for where, rule in roles(documents(chosen)):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"], *rule.get("resourceNames", ())]
        assert "*" not in words, where
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"]), where
        assert not {"pods/exec", "pods/attach", "pods/portforward", "nodes/proxy"} & set(rule["resources"]), where
        assert not {"clusterroles", "clusterrolebindings", "customresourcedefinitions"} & set(rule["resources"]), where
        if "secrets" in rule["resources"]:
            assert set(rule["verbs"]) <= {"get", "create"}, where
        if "leases" in rule["resources"]:
            assert (rule["resourceNames"], set(rule["verbs"])) == ([where.split("rayctl-lease-")[1]], {"get", "update"})
        if "serviceaccounts/token" in rule["resources"]:
            assert rule["resourceNames"] == list(CONTROLLERS), where


@pytest.mark.security("S5")
def test_only_those_secrets_that_must_be_read_are() -> None:
    readers = {where for where, rule in roles(documents(Installation())) if "secrets" in rule["resources"]}
    # All of them ask dashboards (Serve, jobs of clusters that drain, gates), which want their cluster's token.
    assert readers == {f"ClusterRole rayctl-{name}" for name in CONTROLLERS}


def test_with_a_namespace_nothing_holds_everywhere() -> None:
    found = documents(Installation(watch_namespace="team"))
    assert [document for document in found if document["kind"] == "ClusterRoleBinding"] == []
    places = {document["metadata"]["namespace"] for document in found if document["kind"] == "RoleBinding"}
    assert places == {"team", NAME}


def test_every_binding_names_a_role_and_an_account_that_are_there() -> None:
    found = documents(Installation())
    there = {(document["kind"], document["metadata"]["name"]) for document in found}
    for document in found:
        if document["kind"] in BOUND:
            assert (document["roleRef"]["kind"], document["roleRef"]["name"]) in there
            for subject in document["subjects"]:
                assert ("ServiceAccount", subject["name"]) in there


def controllers() -> list[Controller]:
    unused: Any = None
    return [FleetController(), ReplicaSetController(), RayClusterController(unused), RayServiceController(unused)]


def test_there_are_rights_for_every_controller() -> None:
    assert {controller.name for controller in controllers()} == set(CONTROLLERS)


@pytest.mark.parametrize("controller", controllers(), ids=lambda controller: controller.name)
def test_what_is_watched_may_be_watched_and_nothing_else(controller: Controller) -> None:
    rules = rules_of(controller.name)
    granted = {
        (group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if "watch" in rule["verbs"]
    }
    assert granted == {(watch.resource.group, watch.resource.plural) for watch in controller.watches}
    own = (controller.resource.group, f"{controller.resource.plural}/status")
    assert any(own[0] in rule["apiGroups"] and own[1] in rule["resources"] for rule in rules)


# Packages ----------------------------------------------------------------------------------------------------


def load(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def rendered(text: str, values: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Do what Helm does, as far as these templates use it: one condition, values, quotes."""
    both = re.search(r"\{\{- if \.Values\.(\w+) \}\}(.*)\{\{- else \}\}(.*)\{\{- end \}\}", text, re.DOTALL)
    if both is not None:
        text = both[2] if values[both[1]] else both[3]
    text = text.replace("{{ .Release.Namespace | quote }}", json.dumps(namespace))

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return json.dumps(str(found)) if match[2] else str(found)

    text = re.sub(r"\{\{ \.Values\.(\w+)( \| quote)? \}\}", value, text)
    assert "{{" not in text
    return load(text)


def key(document: dict[str, Any]) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


@pytest.mark.parametrize("watched", ["", "team"])
def test_the_chart_is_the_same_installation(watched: str) -> None:
    values = yaml.safe_load(HELM["rayctl/values.yaml"]) | {"watchNamespace": watched, "workers": 3, "cpu": "5"}
    assert set(values) == set(VALUES)
    found = [
        document
        for name, text in HELM.items()
        if name.startswith("rayctl/templates/")
        for document in rendered(text, values, "elsewhere")
    ]
    chosen = Installation(namespace="elsewhere", watch_namespace=watched, workers=3, cpu="5")
    wanted = [document for document in documents(chosen) if document["kind"] != "Namespace"]
    assert sorted(found, key=key) == sorted(wanted, key=key)


def test_the_charts_definitions_are_ours() -> None:
    texts = [text for name, text in HELM.items() if name.startswith("rayctl-crds/templates/")]
    found = [load(text.replace('{{ "{{" }}', "{{"))[0] for text in texts]
    assert sorted(found, key=key) == sorted(crd_documents(), key=key)


def test_the_kustomize_base_is_complete() -> None:
    base = FOLDER / "kustomize" / "base"
    named = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    found = [document for name in named for document in load((base / name).read_text())]
    assert sorted(found, key=key) == sorted([*crd_documents(), *documents(Installation())], key=key)


# Monitoring --------------------------------------------------------------------------------------------------


def queries() -> list[str]:
    return [alert.expression for alert in ALERTS] + [query for panel in PANELS for query, _ in panel[2]]


@pytest.mark.parametrize("query", queries())
def test_only_metrics_that_exist_are_asked_for(query: str) -> None:
    names = metrics_in(query)
    assert names
    assert names <= Metrics().names()


@pytest.mark.parametrize("query", queries())
def test_only_labels_that_exist_are_asked_for(query: str) -> None:
    labels = {label for family in Metrics().families() for label in family[1]} | {"le", "job"}
    for group in re.findall(r"by \(([^)]*)\)", query):
        assert {label.strip() for label in group.split(",")} <= labels


def test_there_are_eight_alerts_and_each_says_what_to_do() -> None:
    rules = yaml.safe_load((FOLDER / "dashboards" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len(rules) == len(ALERTS) == 8
    assert all(rule["annotations"]["description"] for rule in rules)


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert not metrics_in('sum(rate(workqueue_nonsense_total{x="workqueue_depth"}[5m]))') <= Metrics().names()
