"""Pods: what the user wrote, what the cluster adds, and how Ray is started (KubeRay's expectations 1 to 14)."""
# ruff: noqa: S105, S108 (paths inside pods, names of secrets)

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys, pods
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.raystart import command_line, start_params
from tests.unit.cluster.sample import container, env_of, group, line_of, spec_of, template

OPTIONS = ClusterOptions()
ULIMIT = "ulimit -n ${RAY_START_ULIMIT_OPEN_FILES:-65536}; "


def head(**asked: Any) -> dict[str, Any]:
    return pods.head_pod(spec_of(**asked), OPTIONS)


def worker(options: ClusterOptions = OPTIONS, **asked: Any) -> dict[str, Any]:
    spec = spec_of(**asked)
    return pods.worker_pod(spec, spec.groups[0], 0, 0, options)


def test_the_head() -> None:
    limits = {"limits": {"cpu": "1500m", "memory": "2Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}}
    pod = head(head={"template": template(resources=limits, env=[{"name": "MINE", "value": "1"}])})
    assert pod["metadata"]["name"] == "sample-head"
    assert pod["metadata"]["labels"] == {
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": "sample",
        "ray.io/node-type": "head",
        "ray.io/group": "headgroup",
        "ray.io/identifier": "sample-head",
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    assert pod["metadata"]["annotations"][keys.FT_ENABLED] == "false"
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "uid-sample"
    ray = pod["spec"]["containers"][0]
    line = (
        "ray start --head --block --dashboard-agent-listen-port=52365 --dashboard-host=0.0.0.0 "
        "--memory=2147483648 --metrics-export-port=8080 --num-cpus=2 --num-gpus=1"
    )
    assert ray["command"] == ["/bin/bash", "-c", "--"]
    assert ray["args"] == [ULIMIT + line]
    env = env_of(pod)
    assert {name: env[name] for name in ("MINE", "RAY_PORT", "RAY_ADDRESS", "KUBERAY_GEN_RAY_START_CMD")} == {
        "MINE": "1",
        "RAY_PORT": "6379",
        "RAY_ADDRESS": "127.0.0.1:6379",
        "KUBERAY_GEN_RAY_START_CMD": line,
    }
    assert env["RAY_CLOUD_INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert {"name": "metrics", "containerPort": 8080, "protocol": "TCP"} in ray["ports"]
    shared = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "shared-mem")
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "shared-mem", "mountPath": "/dev/shm"} in ray["volumeMounts"]


def test_a_worker() -> None:
    pod = worker(head={"rayStartParams": {"port": "6380"}})
    host = "sample-head-svc.default.svc.cluster.local"
    assert f"--address={host}:6380 " in line_of(pod)
    env = env_of(pod)
    assert (env["FQ_RAY_IP"], env["RAY_IP"], env["RAY_ADDRESS"]) == (host, "sample-head-svc", f"{host}:6380")
    assert "RAY_USAGE_STATS_EXTRA_TAGS" not in env
    assert pod["metadata"]["labels"]["ray.io/worker-group-replica-index"] == "0"
    assert keys.FT_ENABLED not in pod["metadata"]["annotations"]


def test_building_changes_neither_the_document_nor_later_pods() -> None:
    spec = spec_of(autoscalerOptions={"version": "v2"}, enableInTreeAutoscaling=True)
    before = repr(spec)
    first = pods.head_pod(spec, OPTIONS)
    first["spec"]["containers"][0]["env"].append({"name": "X"})
    assert pods.head_pod(spec, OPTIONS) != first
    assert pods.worker_pod(spec, spec.groups[0], 0, 0, OPTIONS) == pods.worker_pod(spec, spec.groups[0], 0, 0, OPTIONS)
    assert repr(spec) == before


@pytest.mark.parametrize(
    ("ray", "annotations", "args"),
    [
        ({"command": ["echo 1"], "args": ["2"]}, {}, "echo 1 2 && " + ULIMIT),
        ({"command": ["bash", "-c"], "args": ["ray start --head"]}, {}, None),
        ({"command": ["sh"], "args": ["own"]}, {keys.OVERWRITE_COMMAND: "True"}, None),
    ],
)
def test_commands_of_the_users_own(ray: dict[str, Any], annotations: dict[str, str], args: str | None) -> None:
    pod = head(head={"template": template(**ray)}, annotations=annotations)
    found = pod["spec"]["containers"][0]
    if args is None:
        assert (found["command"], found["args"]) == (ray["command"], ray["args"])
    else:
        assert found["args"][0].startswith(args)
    assert line_of(pod).startswith("ray start --head")
    assert (keys.OVERWRITE_COMMAND in pod["metadata"]["annotations"]) is bool(annotations)


@pytest.mark.parametrize(
    ("params", "resources", "line"),
    [
        ({}, {"requests": {"cpu": "3"}}, "--num-cpus=3"),
        ({"num-cpus": "0"}, {"limits": {"cpu": "3"}}, "--num-cpus=0"),
        ({}, {"limits": {"cpu": "100m"}}, "--num-cpus=1"),
        ({}, {"requests": {"memory": "1Gi"}}, "!--memory"),
        ({}, {"limits": {"memory": "1Gi"}}, "--memory=1073741824"),
        ({}, {"limits": {"amd.com/gpu": "2", "nvidia.com/gpu": "0"}}, "--num-gpus=2"),
        ({}, {"limits": {"nvidia.com/mig-2g.32gb": "3"}}, "--num-gpus=3"),
        ({}, {"limits": {"google.com/tpu": "4"}}, """--resources='{"TPU":4}'"""),
        ({"resources": """'{"c":1}'"""}, {"limits": {"google.com/tpu": "4"}}, """--resources='{"TPU":4,"c":1}'"""),
        ({"resources": """'{"TPU":8}'"""}, {"limits": {"google.com/tpu": "4"}}, """--resources='{"TPU":8}'"""),
        ({"resources": "broken"}, {"limits": {"aws.amazon.com/neuroncore": "4"}}, "--resources=broken"),
        (
            {},
            {"limits": {"aws.amazon.com/neuroncore": "4", "google.com/tpu": "1"}},
            """--resources='{"neuron_cores":4}'""",
        ),
        ({"no-monitor": "true", "log-color": "false", "ray-debugger-external": "False"}, {}, "--log-color=false"),
        ({"no-monitor": "true"}, {}, " --no-monitor"),
        ({"ray-debugger-external": "False"}, {}, "!ray-debugger-external"),
        ({"include-dashboard": "true"}, {}, "--include-dashboard=true"),
        ({"block": "false"}, {}, " --block"),
    ],
)
def test_the_line_that_starts_ray(params: dict[str, str], resources: dict[str, Any], line: str) -> None:
    found = command_line("worker", start_params("worker", params, {}, {}, {"resources": resources}, "h:1"))
    assert (line[1:] not in found) if line.startswith("!") else (line in found), found


def test_resources_and_labels_of_groups() -> None:
    asked = {"CPU": "2", "memory": "1Gi", "nvidia.com/gpu": "1", "custom": "0.5"}
    pod = worker(groups=[group(resources=asked, labels={"zone": "b", "arch": "arm"})])
    line = line_of(pod)
    for part in ("--num-cpus=2", "--memory=1073741824", "--num-gpus=1", """--resources='{"custom":0.5}'"""):
        assert part in line
    assert "--labels=arch=arm,zone=b" in line
    assert pod["metadata"]["labels"]["zone"] == "b"


def test_labels_that_are_the_users_and_labels_that_are_not() -> None:
    labels = {"ray.io/cluster": "x", "ray.io/group": "x", "ray.io/node-type": "x", "app.kubernetes.io/name": "mine"}
    found = head(head={"template": template({"labels": {**labels, "team": "a"}})})["metadata"]["labels"]
    assert (found["ray.io/cluster"], found["ray.io/group"], found["ray.io/node-type"]) == (
        "sample",
        "headgroup",
        "head",
    )
    assert (found["app.kubernetes.io/name"], found["team"]) == ("mine", "a")


def test_the_init_container_that_waits() -> None:
    env = [{"name": "RAY_USE_TLS", "value": "1"}]
    mounts = [{"name": "tls", "mountPath": "/tls"}]
    own = {"initContainers": [container("mine")]}
    pod = worker(groups=[group(template=template(pod=own, env=env, volumeMounts=mounts, imagePullPolicy="Always"))])
    names = [found["name"] for found in pod["spec"]["initContainers"]]
    assert names == ["ray-auth-token", "mine", "wait-gcs-ready"]
    waiter = pod["spec"]["initContainers"][2]
    assert "ray health-check --address sample-head-svc.default.svc.cluster.local:6379" in waiter["args"][0]
    assert (waiter["image"], waiter["imagePullPolicy"]) == ("ray:2.60.0", "Always")
    assert waiter["resources"]["limits"] == waiter["resources"]["requests"] == {"cpu": "200m", "memory": "256Mi"}
    assert {"RAY_USE_TLS", "FQ_RAY_IP", "RAY_IP"} <= {item["name"] for item in waiter["env"]}
    assert mounts[0] in waiter["volumeMounts"]
    assert {"FQ_RAY_IP", "RAY_IP"} <= {item["name"] for item in pod["spec"]["initContainers"][1]["env"]}
    without = worker(ClusterOptions(inject_wait=False))
    assert [found["name"] for found in without["spec"]["initContainers"]] == ["ray-auth-token"]


@pytest.mark.parametrize(
    ("version", "origin", "node", "liveness", "readiness"),
    [
        ("2.53.0", "", "head", "http", "http"),
        ("2.53.0", "", "worker", "http", "http"),
        ("2.52.0", "", "head", "gcs", "gcs"),
        ("nightly", "", "worker", "raylet", "raylet"),
        ("2.60.0", "RayService", "worker", "http", "serve"),
        ("2.60.0", "RayService", "head", "http", "http"),
    ],
)
def test_probes(version: str, origin: str, node: str, liveness: str, readiness: str) -> None:
    labels = {keys.ORIGIN_KIND: origin} if origin else {}
    pod = (head if node == "head" else worker)(rayVersion=version, labels=labels)
    ray = pod["spec"]["containers"][0]
    for probe, wanted in ((ray["livenessProbe"], liveness), (ray["readinessProbe"], readiness)):
        assert probe["timeoutSeconds"] == (5 if node == "head" else 2)
        if wanted == "http":
            assert probe["httpGet"] == {"path": "/api/healthz", "port": 52365}
            continue
        command = probe["exec"]["command"][2]
        assert "api/local_raylet_healthz" in command
        assert ("8265/api/gcs_healthz" in command) is (wanted == "gcs")
        assert ("8000/-/healthz" in command) is (wanted == "serve")
    assert ray["livenessProbe"]["failureThreshold"] == 120
    assert ray["readinessProbe"]["failureThreshold"] == (1 if readiness == "serve" else 10)


def test_probes_of_the_users_own_and_none() -> None:
    mine = {"tcpSocket": {"port": 1}}
    ray = head(head={"template": template(livenessProbe=mine)})["spec"]["containers"][0]
    assert ray["livenessProbe"] == mine
    assert "httpGet" in ray["readinessProbe"]
    none = pods.head_pod(spec_of(), ClusterOptions(inject_probes=False))["spec"]["containers"][0]
    assert "readinessProbe" not in none


def test_a_cluster_of_a_ray_service() -> None:
    labels = {keys.ORIGIN_KIND: "RayService"}
    first, second = head(labels=labels), worker(labels=labels)
    assert first["metadata"]["labels"]["ray.io/serve"] == "false"
    assert second["metadata"]["labels"]["ray.io/serve"] == "true"
    for pod in (first, second):
        assert env_of(pod)["RAY_timeout_ms_task_wait_for_death_info"] == "0"
    assert env_of(first)["RAY_USAGE_STATS_EXTRA_TAGS"].endswith("kuberay_crd=RayService")


def test_shared_memory_of_the_users_own() -> None:
    mine = [{"name": "dshm", "mountPath": "/dev/shm"}]
    pod = head(head={"template": template(volumeMounts=mine)})
    assert "shared-mem" not in [volume["name"] for volume in pod["spec"]["volumes"]]
    pod = head(head={"rayStartParams": {"plasma-directory": "/fast"}})
    assert "shared-mem" not in [volume["name"] for volume in pod["spec"]["volumes"]]


def test_the_autoscaler_beside_the_head() -> None:
    pod = head(enableInTreeAutoscaling=True)
    sidecar = pod["spec"]["containers"][1]
    assert sidecar["name"] == "autoscaler"
    assert sidecar["image"] == "ray:2.60.0"
    assert sidecar["args"][0].startswith("ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME)")
    assert pod["spec"]["serviceAccountName"] == "sample"
    assert "--no-monitor" in line_of(pod)
    for index in (0, 1):
        mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][index]["volumeMounts"]]
        assert "/tmp/ray" in mounts
        assert "RAY_AUTH_TOKEN_PATH" in env_of(pod, index)
    assert "RAY_enable_autoscaler_v2" not in env_of(pod)
    assert "restartPolicy" not in pod["spec"]


@pytest.mark.parametrize(("version", "value", "policy"), [("v2", "true", "Never"), ("v1", "false", None)])
def test_versions_of_the_autoscaler(version: str, value: str, policy: str | None) -> None:
    asked = {"enableInTreeAutoscaling": True, "autoscalerOptions": {"version": version}}
    pod = head(**asked)
    assert env_of(pod)["RAY_enable_autoscaler_v2"] == value
    assert pod["spec"].get("restartPolicy") == policy
    assert worker(**asked)["spec"].get("restartPolicy") == policy


def test_the_users_changes_of_the_autoscaler() -> None:
    options = {
        "image": "other",
        "imagePullPolicy": "Always",
        "resources": {"limits": {"cpu": "1"}},
        "env": [{"name": "A", "value": "b"}],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "securityContext": {"runAsUser": 5},
        "args": ["ulimit; $KUBERAY_GEN_AUTOSCALER_START_CMD"],
    }
    sidecar = head(enableInTreeAutoscaling=True, autoscalerOptions=options)["spec"]["containers"][1]
    for name in ("image", "imagePullPolicy", "resources", "envFrom", "securityContext", "args"):
        assert sidecar[name] == options[name]
    assert sidecar["env"][-1]["name"] in ("A", "RAY_AUTH_TOKEN_PATH")
    assert {"name": "A", "value": "b"} in sidecar["env"]
    assert {"name": "v", "mountPath": "/v"} in sidecar["volumeMounts"]


# Authentication.


def test_every_cluster_has_a_token_that_only_a_file_carries() -> None:
    for pod in (head(), worker()):
        env = env_of(pod)
        assert env["RAY_AUTH_MODE"] == "token"
        assert env["RAY_AUTH_TOKEN_PATH"] == "/var/run/secrets/rayctl.io/auth/token"
        assert "RAY_AUTH_TOKEN" not in env
        writer = pod["spec"]["initContainers"][0]
        assert writer["args"] == ['umask 077 && printf %s "$TOKEN" > "$TOKEN_FILE"']
        assert writer["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "sample", "key": "auth_token"}


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        ({"authOptions": {"mode": "disabled"}}, None),
        ({"rayVersion": "2.51.1"}, None),
        ({"rayVersion": "2.52.0"}, "token"),
        ({"rayVersion": ""}, "token"),
        ({"head": {"template": template(env=[{"name": "RAY_AUTH_MODE", "value": "disabled"}])}}, "disabled"),
    ],
)
def test_when_there_is_a_token(asked: dict[str, Any], mode: str | None) -> None:
    assert env_of(head(**asked)).get("RAY_AUTH_MODE") == mode
    if mode != "token":
        assert "initContainers" not in head(**asked)["spec"]


def test_a_secret_of_the_users_own_and_tokens_of_service_accounts() -> None:
    own = head(authOptions={"mode": "token", "secretName": "mine"})
    assert own["spec"]["initContainers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "mine"
    pod = head(authOptions={"mode": "token", "enableK8sTokenAuth": True})
    assert env_of(pod)["RAY_ENABLE_K8S_TOKEN_AUTH"] == "true"
    mount = {"name": "ray-token", "mountPath": "/var/run/secrets/ray.io/serviceaccount", "readOnly": True}
    assert mount in pod["spec"]["containers"][0]["volumeMounts"]
    assert "initContainers" not in pod["spec"]


# Fault tolerance.

PASSWORD = {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}


def test_fault_tolerance_by_options() -> None:
    options = {"redisAddress": "redis:6379", "redisPassword": PASSWORD, "redisUsername": {"value": "u"}}
    pod = head(gcsFaultToleranceOptions=options)
    env = env_of(pod)
    assert env["RAY_REDIS_ADDRESS"] == "redis:6379"
    assert env["RAY_external_storage_namespace"] == "uid-sample"
    assert env["REDIS_PASSWORD"] == PASSWORD["valueFrom"]
    assert env["REDIS_USERNAME"] == "u"
    assert "--redis-password=$REDIS_PASSWORD --redis-username=$REDIS_USERNAME" in line_of(pod)
    annotations = pod["metadata"]["annotations"]
    assert (annotations[keys.FT_ENABLED], annotations[keys.STORAGE_NAMESPACE]) == ("true", "uid-sample")
    second = env_of(worker(gcsFaultToleranceOptions=options))
    assert second["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"
    assert "RAY_gcs_rpc_server_reconnect_timeout_s" not in env
    assert "RAY_REDIS_ADDRESS" not in second


@pytest.mark.parametrize(
    ("namespace", "annotation", "variable", "wanted"),
    [("", "", "", "uid-sample"), ("field", "", "", "field"), ("", "note", "", "note"), ("field", "", "env", "env")],
)
def test_which_namespace_counts(namespace: str, annotation: str, variable: str, wanted: str) -> None:
    env = [{"name": "RAY_external_storage_namespace", "value": variable}] if variable else []
    asked: dict[str, Any] = {"head": {"template": template(env=env)}}
    if annotation:
        asked["annotations"] = {keys.FT_ENABLED: "true", keys.STORAGE_NAMESPACE: annotation}
    else:
        asked["gcsFaultToleranceOptions"] = {"redisAddress": "r:1", "externalStorageNamespace": namespace}
    pod = head(**asked)
    assert env_of(pod)["RAY_external_storage_namespace"] == wanted
    assert pod["metadata"]["annotations"][keys.STORAGE_NAMESPACE] == wanted


def test_fault_tolerance_by_the_deprecated_annotation() -> None:
    env = [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]
    asked = {"template": template(env=env), "rayStartParams": {"redis-password": "secret"}}
    pod = head(annotations={keys.FT_ENABLED: "TRUE"}, head=asked)
    assert env_of(pod)["RAY_REDIS_ADDRESS"] == "redis:6379"
    assert env_of(pod)["REDIS_PASSWORD"] == "secret"
    assert pod["metadata"]["annotations"][keys.FT_ENABLED] == "true"
    assert env_of(worker(annotations={keys.FT_ENABLED: "true"}))["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"


def test_fault_tolerance_in_a_volume() -> None:
    pod = head(gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"subPath": "a/b"}})
    env = env_of(pod)
    assert (env["RAY_gcs_storage"], env["RAY_gcs_storage_path"]) == ("rocksdb", "/data/gcs")
    mount = {"name": "gcs-storage", "mountPath": "/data/gcs", "subPath": "a/b"}
    assert mount in pod["spec"]["containers"][0]["volumeMounts"]
    volume = {"name": "gcs-storage", "persistentVolumeClaim": {"claimName": "sample-gcs-pvc"}}
    assert volume in pod["spec"]["volumes"]
    own = head(gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"claimName": "mine"}})
    assert {"name": "gcs-storage", "persistentVolumeClaim": {"claimName": "mine"}} in own["spec"]["volumes"]
    assert keys.STORAGE_NAMESPACE not in pod["metadata"]["annotations"]


def test_hosts_of_one_replica() -> None:
    spec = spec_of(groups=[group(numOfHosts=2)])
    first, second = (pods.worker_pod(spec, spec.groups[0], 3, host, OPTIONS) for host in (0, 1))
    for name, wanted in (("ray.io/worker-group-replica-index", "3"), ("ray.io/replica-host-index", "1")):
        assert second["metadata"]["labels"][name] == wanted
    same = "ray.io/worker-group-replica-name"
    assert first["metadata"]["labels"][same] == second["metadata"]["labels"][same]
    assert first["metadata"]["name"].endswith("-6")
    assert second["metadata"]["name"].endswith("-7")
