"""kr8s: objects with methods, selectors, watches, waiting, scaling."""

from __future__ import annotations

import sys

import kr8s
from kr8s.objects import ConfigMap, CustomResourceDefinition, Namespace, Pod, Secret, Service, new_class

from tests.contract.clients.things import BOATS, map_body


def main(kubeconfig: str) -> None:
    api = kr8s.api(kubeconfig=kubeconfig, namespace="five")
    assert api.version()["gitVersion"]  # 1
    assert any(found["kind"] == "ConfigMap" for found in api.api_resources())  # 2
    Namespace({"metadata": {"name": "five"}}, api=api).create()  # 3
    made = ConfigMap({**map_body("m")}, namespace="five", api=api)
    made.create()  # 4
    assert made.exists()  # 5
    assert ConfigMap.get("m", namespace="five", api=api).data.k == "v"  # 6
    made.patch({"data": {"l": "x"}})  # 7
    made.refresh()  # 8
    assert made.data.l == "x"  # 9
    made.label({"team": "t"})  # 10
    assert made.labels["team"] == "t"  # 11
    made.annotate(note="n")  # 12
    assert made.annotations["note"] == "n"  # 13
    for number in range(5):
        ConfigMap(map_body(f"p{number}"), namespace="five", api=api).create()  # 14
    assert len(list(api.get("configmaps", namespace="five"))) == 6  # 15
    chosen = api.get("configmaps", namespace="five", label_selector={"team": "t"})
    assert [found.name for found in chosen] == ["m"]  # 16
    chosen = api.get("configmaps", namespace="five", field_selector="metadata.name=p2")
    assert [found.name for found in chosen] == ["p2"]  # 17
    for kind, found in api.watch("configmaps", namespace="five"):
        assert kind == "ADDED"  # 18
        assert found.namespace == "five"  # 19
        break
    secret = Secret({"metadata": {"name": "s"}, "stringData": {"k": "v"}}, namespace="five", api=api)
    secret.create()
    assert secret.data.k == "dg=="  # 20
    spec = {"containers": [{"name": "c", "image": "i"}]}
    pod = Pod({"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": spec}, namespace="five", api=api)
    pod.create()
    assert pod.spec.restartPolicy == "Always"  # 21
    ports = [{"port": 80}]
    service = Service(
        {"metadata": {"name": "s"}, "spec": {"selector": {"app": "a"}, "ports": ports}}, namespace="five", api=api
    )
    service.create()
    assert service.spec.clusterIP.startswith("127.")  # 22
    CustomResourceDefinition(BOATS("sea.kr"), api=api).create()
    crd = CustomResourceDefinition.get("boats.sea.kr", api=api)
    crd.wait("condition=Established", timeout=10)  # 23
    Boat = new_class(kind="Boat", version="sea.kr/v1", namespaced=True, scalable=True, scalable_spec="crew")
    boat = Boat({"metadata": {"name": "b"}, "spec": {"crew": 2}}, namespace="five", api=api)
    boat.create()
    assert boat.spec.flag == "white"  # 24
    boat.patch({"status": {"crew": 2}}, subresource="status")  # 25
    assert boat.status.crew == 2  # 26
    boat.delete()
    boat.wait("delete", timeout=10)  # 27
    made.delete()
    assert not made.exists()  # 28
    try:
        ConfigMap.get("m", namespace="five", api=api)
        raise AssertionError("what was deleted is there")
    except kr8s.NotFoundError:
        pass  # 29
    namespace = Namespace.get("five", api=api)
    namespace.delete()
    namespace.wait("delete", timeout=20)  # 30


if __name__ == "__main__":
    main(sys.argv[1])
