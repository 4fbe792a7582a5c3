"""Manifests with the fields that users of AIBrix write work as they are, on a server with our definitions."""

import pytest
import yaml

from rayctl.fleet.preview import preview
from rayctl.manifests import crd_documents
from tests.unit.embedded.local import Local
from tests.unit.fleet.worlds import FleetWorld
from tests.unit.replicaset.worlds import BEGAN

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATH = "/apis/orchestration.aibrix.ai/v1alpha1/namespaces/default/"

TWO_NODES = """
apiVersion: orchestration.aibrix.ai/v1alpha1
kind: RayClusterFleet
metadata:
  name: mixtral-8x7b
  labels: {app.kubernetes.io/name: serving, model.aibrix.ai/name: mixtral-8x7b, model.aibrix.ai/port: "8000"}
spec:
  replicas: 2
  selector:
    matchLabels: {model.aibrix.ai/name: mixtral-8x7b}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}
  template:
    metadata:
      creationTimestamp: null
      labels: {model.aibrix.ai/name: mixtral-8x7b}
      annotations: {ray.io/overwrite-container-cmd: "true"}
    spec:
      rayVersion: "2.10.0"
      headGroupSpec:
        rayStartParams: {dashboard-host: 0.0.0.0}
        template:
          metadata:
            creationTimestamp: null
            labels: {model.aibrix.ai/name: mixtral-8x7b}
            annotations: {prometheus.io/scrape: "true"}
          spec:
            containers:
              - name: engine
                image: engine:1
                command: ["/bin/sh", "-c", "ulimit -n 65536; $KUBERAY_GEN_RAY_START_CMD & sleep 5; serve --tp 4"]
                ports: [{containerPort: 8000, name: service}]
                resources: {limits: {cpu: 1000m, nvidia.com/gpu: 2}, requests: {cpu: 1000m, nvidia.com/gpu: 2}}
                startupProbe: {httpGet: {path: /health, port: 8000}, failureThreshold: 100, periodSeconds: 10}
      workerGroupSpecs:
        - groupName: small
          replicas: 1
          minReplicas: 1
          maxReplicas: 5
          rayStartParams: {}
          template:
            metadata:
              labels: {model.aibrix.ai/name: mixtral-8x7b}
            spec:
              containers:
                - name: worker
                  image: engine:1
                  command: ["/bin/bash", "-lc", "$KUBERAY_GEN_RAY_START_CMD"]
                  resources: {limits: {cpu: 1000m, nvidia.com/gpu: 2}}
"""
HEAD_ONLY = """
apiVersion: orchestration.aibrix.ai/v1alpha1
kind: RayClusterFleet
metadata: {name: tiny, labels: {app.kubernetes.io/managed-by: kustomize}}
spec:
  selector: {matchLabels: {app: tiny}}
  template:
    metadata: {labels: {app: tiny}}
    spec:
      headGroupSpec:
        rayStartParams: {}
        template: {spec: {containers: [{name: head, image: "ray:2.10.0", resources: {limits: {cpu: 200m}}}]}}
"""
NEWER = """
apiVersion: orchestration.aibrix.ai/v1alpha1
kind: RayClusterFleet
metadata: {name: newer}
spec:
  replicas: 1
  selector: {matchLabels: {app: newer}}
  template:
    metadata: {labels: {app: newer}}
    spec:
      gcsFaultToleranceOptions: {redisAddress: "redis:6379"}
      upgradeStrategy: {type: None}
      somethingOfTheFuture: {kept: true}
      headGroupSpec:
        template: {spec: {containers: [{name: head, image: "ray:2.59"}]}}
"""


async def stored(text: str) -> dict:
    """The manifest as a server with our definitions keeps it."""
    local = await Local().start()
    for document in crd_documents("RayCluster", "RayClusterFleet", "RayClusterReplicaSet"):
        assert (await local.call("POST", CRDS, document))[0] == 201
        await local.establish(document["metadata"]["name"])
    code, answer = await local.call("POST", f"{PATH}rayclusterfleets", yaml.safe_load(text))
    assert code == 201, answer
    return answer


@pytest.mark.parametrize(("text", "clusters"), [(TWO_NODES, 2), (HEAD_ONLY, 1), (NEWER, 1)])
async def test_they_are_accepted_and_rolled_out(text: str, clusters: int) -> None:
    document = await stored(text)
    answer = preview(document, [], [], BEGAN)
    assert answer.finished, answer.verdict
    assert answer.most == clusters
    world = FleetWorld(document)
    world.roll_out()
    assert (len(world.sets), len(world.clusters)) == (1, clusters)
    assert world.conditions["Ready"]["status"] == "True"


async def test_labels_and_annotations_reach_clusters_and_pods() -> None:
    world = FleetWorld(await stored(TWO_NODES))
    world.roll_out()
    made = world.clusters[0]
    assert made["metadata"]["labels"]["model.aibrix.ai/name"] == "mixtral-8x7b"
    assert made["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
    head = made["spec"]["headGroupSpec"]["template"]["metadata"]
    assert head["annotations"] == {"prometheus.io/scrape": "true"}
    assert head["labels"]["model.aibrix.ai/name"] == "mixtral-8x7b"
    assert "creationTimestamp" not in head
    assert preview(world.fleet, [], [], BEGAN).document()["resources"]["after"] == "CPU 4  GPU 8"


async def test_fields_of_newer_operators_are_kept() -> None:
    world = FleetWorld(await stored(NEWER))
    world.roll_out()
    spec = world.clusters[0]["spec"]
    assert spec["gcsFaultToleranceOptions"] == {"redisAddress": "redis:6379"}  # RS-10: AIBrix drops it
    assert spec["somethingOfTheFuture"] == {"kept": True}


async def test_what_is_read_back_is_no_new_revision() -> None:
    world = FleetWorld(await stored(TWO_NODES))
    world.roll_out()
    read = {**world.fleet, "spec": {**world.fleet["spec"]}}
    world.world.change(world.fleet, {"spec": read["spec"]})
    assert world.settle().writes == ()
    assert len(world.sets) == 1
