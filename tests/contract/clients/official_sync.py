"""The official Python client, blocking: typed core objects, custom objects, watches, patches, access reviews."""

from __future__ import annotations

import sys

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from tests.contract.clients.things import BOATS, map_body


def code_of(work: object, *args: object, **more: object) -> int:
    try:
        work(*args, **more)  # type: ignore[operator]
    except ApiException as error:
        return int(error.status)
    return 200


def main(kubeconfig: str) -> None:
    config.load_kube_config(kubeconfig)
    core, custom, crds = client.CoreV1Api(), client.CustomObjectsApi(), client.ApiextensionsV1Api()
    where = ("sea.sync", "v1", "one", "boats")
    assert client.VersionApi().get_code().git_version  # 1
    assert any(group.name == "apps" or group.name for group in client.ApisApi().get_api_versions().groups)  # 2
    core.create_namespace({"metadata": {"name": "one"}})  # 3
    assert core.read_namespace("one").status.phase == "Active"  # 4
    made = core.create_namespaced_config_map("one", map_body("m"))  # 5
    assert made.metadata.uid  # 6
    assert code_of(core.create_namespaced_config_map, "one", map_body("m")) == 409  # 7
    made.data["k"] = "w"
    assert core.replace_namespaced_config_map("m", "one", made).data["k"] == "w"  # 8
    assert code_of(core.replace_namespaced_config_map, "m", "one", made) == 409  # 9: its revision is old
    assert core.patch_namespaced_config_map("m", "one", {"data": {"k": None, "l": "x"}}).data == {"l": "x"}  # 10
    assert len(core.list_namespaced_config_map("one", label_selector="app=a").items) == 1  # 11
    assert core.list_namespaced_config_map("one", label_selector="app!=a").items == []  # 12
    for number in range(5):
        core.create_namespaced_config_map("one", map_body(f"p{number}"))  # 13
    page = core.list_namespaced_config_map("one", limit=2)
    rest = core.list_namespaced_config_map("one", limit=10, _continue=page.metadata._continue)
    assert len(page.items) + len(rest.items) == 6  # 14
    events = watch.Watch().stream(core.list_namespaced_config_map, "one", timeout_seconds=1)
    assert [event["type"] for event in events] == ["ADDED"] * 6  # 15
    secret = core.create_namespaced_secret("one", {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    assert secret.data == {"k": "dg=="}  # 16
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert core.create_namespaced_pod("one", pod).spec.restart_policy == "Always"  # 17
    status = {"status": {"phase": "Running", "podIP": "127.1.0.1"}}
    assert core.patch_namespaced_pod_status("p", "one", status).status.phase == "Running"  # 18
    spec = {"selector": {"app": "a"}, "ports": [{"port": 80}]}
    service = core.create_namespaced_service("one", {"metadata": {"name": "s"}, "spec": spec})
    assert service.spec.cluster_ip.startswith("127.")  # 19
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
    assert client.CoordinationV1Api().create_namespaced_lease("one", lease).spec.holder_identity == "me"  # 20
    crds.create_custom_resource_definition(BOATS("sea.sync"))  # 21
    while code_of(custom.list_namespaced_custom_object, *where) != 200:
        pass  # it is served as soon as its controller has seen it
    boat = {"apiVersion": "sea.sync/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"crew": 2}}
    assert custom.create_namespaced_custom_object(*where, boat)["spec"]["flag"] == "white"  # 22: a default
    bad = {**boat, "metadata": {"name": "x"}, "spec": {"crew": -1}}
    assert code_of(custom.create_namespaced_custom_object, *where, bad) == 422  # 23
    changed = custom.patch_namespaced_custom_object(*where, "b", {"spec": {"crew": 3}})
    assert changed["metadata"]["generation"] == 2  # 24
    scaled = custom.patch_namespaced_custom_object_scale(*where, "b", {"spec": {"replicas": 5}})
    assert scaled["spec"]["replicas"] == 5  # 25
    shown = custom.patch_namespaced_custom_object_status(*where, "b", {"status": {"crew": 5}})
    assert shown["status"] == {"crew": 5}  # 26
    asked = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    assert client.AuthorizationV1Api().create_self_subject_access_review(asked).status.allowed  # 27
    core.delete_namespaced_config_map("m", "one", dry_run="All")
    assert core.read_namespaced_config_map("m", "one").metadata.name == "m"  # 28
    core.delete_collection_namespaced_config_map("one")
    assert core.list_namespaced_config_map("one").items == []  # 29
    core.delete_namespace("one")
    while code_of(core.read_namespace, "one") != 404:
        pass  # everything in it goes first
    assert code_of(core.create_namespaced_config_map, "one", map_body("m")) == 404  # 30


if __name__ == "__main__":
    main(sys.argv[1])
