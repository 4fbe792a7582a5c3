"""lightkube: typed and generic resources, apply, watch, scale, status."""

from __future__ import annotations

import sys

from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Secret
from lightkube.types import PatchType

from tests.contract.clients.things import BOATS


def code_of(work: object, *args: object, **more: object) -> int:
    try:
        work(*args, **more)  # type: ignore[operator]
    except ApiError as error:
        return int(error.status.code or error.response.status_code)
    return 200


def main(kubeconfig: str) -> None:
    client = Client(config=KubeConfig.from_file(kubeconfig), namespace="four", field_manager="me")
    client.create(Namespace(metadata=ObjectMeta(name="four")))  # 1
    assert client.get(Namespace, "four").status.phase == "Active"  # 2
    made = client.create(ConfigMap(metadata=ObjectMeta(name="m", labels={"app": "a"}), data={"k": "v"}))  # 3
    assert made.metadata.uid  # 4
    assert code_of(client.create, ConfigMap(metadata=ObjectMeta(name="m"))) == 409  # 5
    made.data = {"k": "w"}
    assert client.replace(made).data == {"k": "w"}  # 6
    assert code_of(client.replace, made) == 409  # 7
    assert client.patch(ConfigMap, "m", {"data": {"l": "x"}}).data == {"k": "w", "l": "x"}  # 8: strategic
    assert client.patch(ConfigMap, "m", {"data": {"l": None}}, patch_type=PatchType.MERGE).data == {"k": "w"}  # 9
    step = [{"op": "add", "path": "/data/j", "value": "y"}]
    assert client.patch(ConfigMap, "m", step, patch_type=PatchType.JSON).data == {"k": "w", "j": "y"}  # 10
    for number in range(7):
        client.create(ConfigMap(metadata=ObjectMeta(name=f"p{number}")))  # 11
    assert len(list(client.list(ConfigMap, chunk_size=3))) == 8  # 12: three pages
    assert [found.metadata.name for found in client.list(ConfigMap, labels={"app": "a"})] == ["m"]  # 13
    assert [found.metadata.name for found in client.list(ConfigMap, fields={"metadata.name": "p3"})] == ["p3"]  # 14
    for kind, found in client.watch(ConfigMap, server_timeout=1):
        assert kind == "ADDED"  # 15
        assert found.metadata.namespace == "four"  # 16
        break
    applied = client.apply(ConfigMap(metadata=ObjectMeta(name="own"), data={"a": "1"}))  # 17
    assert applied.metadata.managedFields[0].operation == "Apply"  # 18
    other = ConfigMap(metadata=ObjectMeta(name="own"), data={"a": "2"})
    assert code_of(client.apply, other, field_manager="other") == 409  # 19
    assert client.apply(other, field_manager="other", force=True).data == {"a": "2"}  # 20
    assert client.create(Secret(metadata=ObjectMeta(name="s"), stringData={"k": "v"})).data == {"k": "dg=="}  # 21
    pod = client.create(Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=[Container(name="c", image="i")])))
    assert pod.spec.containers[0].terminationMessagePath == "/dev/termination-log"  # 22
    assert code_of(client.get, Node, "none") == 404  # 23
    client.create(CustomResourceDefinition.from_dict(BOATS("sea.light")))  # 24
    Boat = create_namespaced_resource("sea.light", "v1", "Boat", "boats")
    while code_of(lambda: list(client.list(Boat))) != 200:
        pass
    boat = client.create(Boat(metadata={"name": "b"}, spec={"crew": 2}))
    assert boat.spec["flag"] == "white"  # 25
    scaled = client.patch(Boat.Scale, "b", {"spec": {"replicas": 4}}, patch_type=PatchType.MERGE)
    assert scaled.spec.replicas == 4  # 26
    shown = client.patch(Boat.Status, "b", {"status": {"crew": 4}}, patch_type=PatchType.MERGE)
    assert shown.status == {"crew": 4}  # 27
    client.delete(Boat, "b", grace_period=0)  # 28
    client.deletecollection(ConfigMap)
    assert list(client.list(ConfigMap)) == []  # 29
    client.delete(Namespace, "four")
    while code_of(client.get, Namespace, "four") != 404:
        pass  # 30


if __name__ == "__main__":
    main(sys.argv[1])
