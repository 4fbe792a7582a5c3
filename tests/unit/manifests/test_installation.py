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
from rayctl.manifests.access import CONTROLLERS, TOKEN, rules_of
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


@pytest.mark.parametrize(
    "chosen",
    [Installation(), Installation(watch_namespace="team"), Installation(actors=True)],
    ids=["", "team", "actors"],
)
@pytest.mark.security("S5")
def test_no_role_is_too_strong(chosen: Installation) -> None:
    for where, rule in roles(documents(chosen)):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"], *rule.get("resourceNames", ())]
        assert "*" not in words, where
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"]), where
        assert not {"pods/exec", "pods/attach", "pods/portforward", "nodes/proxy"} & set(rule["resources"]), where
        assert not {"clusterroles", "clusterrolebindings", "customresourcedefinitions"} & set(rule["resources"]), where
        if "secrets" in rule["resources"]:
            own = rule.get("resourceNames") == [TOKEN] and where == "Role rayctl-state"
            assert set(rule["verbs"]) <= {"get", "update" if own else "create"}, where
        if "leases" in rule["resources"] and "rayctl-lease-" in where:
            assert (rule["resourceNames"], set(rule["verbs"])) == ([where.split("rayctl-lease-")[1]], {"get", "update"})
        elif "leases" in rule["resources"]:
            assert rule["verbs"] == ["list"] or rule["resourceNames"] == list(CONTROLLERS), where
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


@pytest.mark.parametrize("actors", [False, True])
def test_every_binding_names_a_role_and_an_account_that_are_there(actors: bool) -> None:
    found = documents(Installation(actors=actors))
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


CONTROL = re.compile(r"^\{\{- (if|with|else|end)(?: \.Values\.(\w+))? \}\}$")


def rendered(text: str, values: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """Do what Helm does, as far as these templates use it: conditions, values, quotes."""
    lines, shown, dot = [], [True], ""
    for line in text.split("\n"):
        found = CONTROL.match(line)
        if found is None:
            lines += [line.replace("{{ . | quote }}", json.dumps(dot))] if all(shown) else []
        elif found[1] in ("if", "with"):
            shown.append(bool(values[found[2]]))
            dot = str(values[found[2]])
        elif found[1] == "else":
            shown[-1] = not shown[-1]
        else:
            shown.pop()
    assert shown == [True]
    text = "\n".join(lines).replace("{{ .Release.Namespace | quote }}", json.dumps(namespace))

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return json.dumps(str(found)) if match[2] else str(found)

    text = re.sub(r"\{\{ \.Values\.(\w+)( \| quote)? \}\}", value, text)
    assert "{{" not in text
    return load(text)


def key(document: dict[str, Any]) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


@pytest.mark.parametrize("actors", [False, True])
@pytest.mark.parametrize("watched", ["", "team"])
def test_the_chart_is_the_same_installation(watched: str, actors: bool) -> None:
    values = yaml.safe_load(HELM["rayctl/values.yaml"]) | {"watchNamespace": watched, "workers": 3, "cpu": "5"}
    assert set(values) == set(VALUES)
    values |= {"actors": actors, "storageClass": "fast" if watched else "", "accessMode": "ReadWriteMany"}
    found = [
        document
        for name, text in HELM.items()
        if name.startswith("rayctl/templates/")
        for document in rendered(text, values, "elsewhere")
    ]
    chosen = Installation(
        namespace="elsewhere",
        watch_namespace=watched,
        workers=3,
        cpu="5",
        actors=actors,
        num_cpus=values["numCpus"] if actors else 0,
        storage_class=values["storageClass"],
        access_mode="ReadWriteMany",
    )
    wanted = [document for document in documents(chosen) if document["kind"] != "Namespace"]
    assert sorted(found, key=key) == sorted(wanted, key=key)


def test_the_charts_definitions_are_ours() -> None:
    texts = [text for name, text in HELM.items() if name.startswith("rayctl-crds/templates/")]
    found = [load(text.replace('{{ "{{" }}', "{{"))[0] for text in texts]
    assert sorted(found, key=key) == sorted(crd_documents(), key=key)


@pytest.mark.parametrize(
    ("name", "chosen"), [("base", Installation()), ("actors", Installation(actors=True, num_cpus=2))]
)
def test_the_kustomize_bases_are_complete(name: str, chosen: Installation) -> None:
    base = FOLDER / "kustomize" / name
    named = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    found = [document for part in named for document in load((base / part).read_text())]
    assert sorted(found, key=key) == sorted([*crd_documents(), *documents(chosen)], key=key)


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
