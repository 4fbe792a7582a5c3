"""What is wrong with a RayCluster: all of it at once, the same set as KubeRay refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.gcs_ft import validate as gcs_ft
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.problems import Problem
from rayctl.cluster.services import serve_service
from rayctl.cluster.spec import ClusterSpec, GroupSpec, env_of
from rayctl.cluster.status import SUSPENDED, SUSPENDING
from rayctl.cluster.versions import at_least, parse_version
from rayctl.core.conditions import parse_conditions
from rayctl.core.quantity import parse_quantity

__all__ = ["check_cluster", "warnings"]

Found = Iterator[tuple[str, str]]
_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_RAW = ("num-cpus", "num-gpus", "memory", "resources")
V2 = "RAY_enable_autoscaler_v2"


def check_cluster(spec: ClusterSpec, options: ClusterOptions) -> list[Problem]:
    """Return everything that is wrong; nothing if the cluster can be built."""
    found = []
    problem = names.name_problem(spec.name)
    if problem:
        found.append(Problem("InvalidRayClusterMetadata", "metadata.name", problem))
    for rule in (_containers, _head, _groups, _autoscaler, _auth, _upgrade, _not_supported):
        found += [Problem("InvalidRayClusterSpec", path, message) for path, message in rule(spec)]
    found += gcs_ft.check(spec, options)
    conditions = parse_conditions((spec.document.get("status") or {}).get("conditions"))
    if all(kind in conditions and conditions[kind].is_true for kind in (SUSPENDING, SUSPENDED)):
        text = f"{SUSPENDING} and {SUSPENDED} are both True"
        found.append(Problem("InvalidRayClusterStatus", "status.conditions", text))
    return found


def _paths(spec: ClusterSpec) -> Iterator[tuple[str, GroupSpec]]:
    for index, group in enumerate(spec.groups):
        yield f"spec.workerGroupSpecs[{index}]", group


def _containers(spec: ClusterSpec) -> Found:
    templates = [("spec.headGroupSpec", spec.head.template), *((path, group.template) for path, group in _paths(spec))]
    for path, template in templates:
        if not (template.get("spec") or {}).get("containers"):
            yield f"{path}.template.spec.containers", "there must be at least one container; the first is Ray's"


def _head(spec: ClusterSpec) -> Found:
    yield from _resources("spec.headGroupSpec", spec.head.params, spec.head.resources)
    yield from _labels("spec.headGroupSpec", spec.head.params, spec.head.labels)


def _groups(spec: ClusterSpec) -> Found:
    seen: set[str] = set()
    for path, group in _paths(spec):
        if not group.name:
            yield f"{path}.groupName", "a group needs a name"
        elif group.name in seen or group.name == keys.HEAD_GROUP:
            yield f"{path}.groupName", f"{group.name!r} is the name of another group"
        seen.add(group.name)
        yield from _limits(spec, path, group)
        yield from _resources(path, group.params, group.resources)
        yield from _labels(path, group.params, group.labels)
        document = (spec.spec.get("workerGroupSpecs") or ())[int(path[path.index("[") + 1 : -1])]
        yield from _autoscaled_group(spec, path, group, document)


def _limits(spec: ClusterSpec, path: str, group: GroupSpec) -> Found:
    least, most = group.at_least, group.at_most
    if not spec.autoscaling and (least is None or most is None):
        yield path, "minReplicas and maxReplicas must both be set when the autoscaler is off"
    for name, value in (("minReplicas", least), ("maxReplicas", most), ("replicas", group.replicas)):
        if value is not None and value < 0:
            yield f"{path}.{name}", f"{value} is negative"
    if least is not None and most is not None and least > most:
        yield f"{path}.minReplicas", f"minReplicas {least} is greater than maxReplicas {most}"


def _resources(path: str, params: Mapping[str, str], resources: Mapping[str, str]) -> Found:
    raw = [name for name in _RAW if params.get(name)]
    if raw and resources:
        yield f"{path}.resources", f"resources are set here and by rayStartParams ({', '.join(raw)}); use only one"
    for name, amount in resources.items():
        try:
            parse_quantity(amount)
        except ValueError as error:
            yield f"{path}.resources.{name}", str(error)


def _labels(path: str, params: Mapping[str, str], labels: Mapping[str, str]) -> Found:
    if "labels" in params:
        yield f"{path}.rayStartParams.labels", "use the field labels of the group instead"
    for name, value in labels.items():
        if not _KEY.fullmatch(name):
            yield f"{path}.labels", f"{name!r} is not the name of a label"
        if not _VALUE.fullmatch(value):
            yield f"{path}.labels.{name}", f"{value!r} is not the value of a label"


def _autoscaled_group(spec: ClusterSpec, path: str, group: GroupSpec, document: Mapping[str, Any]) -> Found:
    v2 = spec.autoscaler_version == "v2" or str(env_of(spec.head.template).get(V2, {}).get("value")) in ("1", "true")
    idle = document.get("idleTimeoutSeconds")
    if idle is not None:
        if idle < 0:
            yield f"{path}.idleTimeoutSeconds", f"{idle} is negative"
        if not v2:
            yield f"{path}.idleTimeoutSeconds", "a limit per group needs autoscaler v2 (autoscalerOptions.version: v2)"
    if document.get("priority"):
        if not v2:
            yield f"{path}.priority", "priorities need autoscaler v2 (autoscalerOptions.version: v2)"
        if parse_version(spec.ray_version) is not None and not at_least(spec.ray_version, 2, 56):
            yield f"{path}.priority", f"priorities need Ray 2.56, and rayVersion is {spec.ray_version}"
    if group.suspended and spec.autoscaling:
        yield f"{path}.suspend", "a group cannot be suspended while the autoscaler is on"


def _autoscaler(spec: ClusterSpec) -> Found:
    variable = env_of(spec.head.template).get(V2)
    path = "spec.headGroupSpec.template.spec.containers[0].env"
    options = spec.spec.get("autoscalerOptions") or {}
    if variable is not None and not spec.autoscaling and str(variable.get("value")) in ("1", "true"):
        yield path, f"{V2} is set, but enableInTreeAutoscaling is not"
    if variable is not None and spec.autoscaling and options.get("version"):
        yield path, f"{V2} and autoscalerOptions.version are both set; use only the latter"
    if (options.get("idleTimeoutSeconds") or 0) < 0:
        yield "spec.autoscalerOptions.idleTimeoutSeconds", f"{options['idleTimeoutSeconds']} is negative"
    if any(item.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD" for item in options.get("env") or ()):
        yield "spec.autoscalerOptions.env", "KUBERAY_GEN_AUTOSCALER_START_CMD is made by the controller"
    if spec.autoscaler_version == "v2":
        templates = [("spec.headGroupSpec", spec.head.template)]
        templates += [(path, group.template) for path, group in _paths(spec)]
        for where, template in templates:
            policy = (template.get("spec") or {}).get("restartPolicy")
            if policy not in (None, "", "Never"):
                yield f"{where}.template.spec.restartPolicy", f"autoscaler v2 needs Never (or nothing), not {policy}"


def _auth(spec: ClusterSpec) -> Found:
    asked = spec.spec.get("authOptions") or {}
    kubernetes = bool(asked.get("enableK8sTokenAuth"))
    if asked.get("mode") != "token":
        if kubernetes:
            yield "spec.authOptions.enableK8sTokenAuth", "this needs mode: token"
        return
    least = (2, 55) if kubernetes else (2, 52)
    if not at_least(spec.ray_version, *least):
        said = spec.ray_version or "not set"
        yield "spec.rayVersion", f"authOptions.mode: token needs Ray {least[0]}.{least[1]} or newer, and this is {said}"
    if kubernetes and asked.get("secretName"):
        yield "spec.authOptions.secretName", "with enableK8sTokenAuth there is no secret"


def _upgrade(spec: ClusterSpec) -> Found:
    asked = (spec.spec.get("upgradeStrategy") or {}).get("type")
    if asked not in (None, "None", "Recreate"):
        yield "spec.upgradeStrategy.type", f"{asked!r} is not one of Recreate, None"
    elif asked is not None and spec.origin != "RayCluster":
        yield "spec.upgradeStrategy", f"a {spec.origin} decides about its clusters itself"
    own = spec.annotations.get(keys.UPGRADE_STRATEGY)
    if own not in (None, "RollingUpdate"):
        yield f"metadata.annotations.{keys.UPGRADE_STRATEGY}", f"{own!r} is not RollingUpdate"
    elif own and asked == "Recreate":
        yield f"metadata.annotations.{keys.UPGRADE_STRATEGY}", "spec.upgradeStrategy.type is Recreate; use only one"


def _not_supported(spec: ClusterSpec) -> Found:
    """What KubeRay refuses as well unless its experimental features are switched on."""
    if spec.spec.get("historyServerOptions") is not None:
        yield "spec.historyServerOptions", "the collector of the history server is not supported"
    if spec.spec.get("tlsOptions") is not None:
        yield "spec.tlsOptions", "mutual TLS is not set up here; mount certificates and set RAY_USE_TLS yourself"


def warnings(spec: ClusterSpec) -> list[tuple[str, str]]:
    """Return what works but should be changed: (reason, sentence)."""
    told = gcs_ft.warnings(spec)
    if spec.autoscaler_version == "v1":
        for _, group in _paths(spec):
            policy = (group.template.get("spec") or {}).get("restartPolicy")
            if policy not in (None, "", "Never"):
                text = f"group {group.name}: autoscaler v1 works best with restartPolicy Never, not {policy}"
                told.append(("RestartPolicyNotNever", text))
    if spec.annotations.get(keys.ENABLE_SERVE_SERVICE) == "true" and serve_service(spec) is None:
        text = "no service for Serve: the head's container has no port called serve (or serve-…)"
        told.append(("ServePortMissing", text))
    asked = sorted(set(spec.labels) & keys.BATCH_SCHEDULING)
    templates = [spec.head.template, *(group.template for group in spec.groups)]
    if asked and not any((template.get("spec") or {}).get("schedulerName") for template in templates):
        text = (
            f"rayctl makes no gangs for a batch scheduler, so {', '.join(asked)} has no effect: name the scheduler in "
            "the pod templates (schedulerName, and the labels that it asks of pods), or let Kueue suspend the cluster"
        )
        told.append(("BatchSchedulerNotUsed", text))
    return told
