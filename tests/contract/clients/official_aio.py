"""The official Python client on asyncio, and its dynamic client."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from kubernetes import config as sync_config
from kubernetes import dynamic
from kubernetes.aio import client, config, watch
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.client.api_client import ApiClient as SyncClient

from tests.contract.clients.things import BOATS, map_body


async def code_of(work: Any) -> int:
    try:
        await work
    except ApiException as error:
        return int(error.status)
    return 200


async def aio(kubeconfig: str) -> None:
    await config.load_kube_config(kubeconfig)
    async with client.ApiClient() as api:
        core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        where = ("sea.aio", "v1", "two", "boats")
        await core.create_namespace({"metadata": {"name": "two"}})  # 1
        made = await core.create_namespaced_config_map("two", map_body("m"))  # 2
        assert await code_of(core.create_namespaced_config_map("two", map_body("m"))) == 409  # 3
        made.data["k"] = "w"
        assert (await core.replace_namespaced_config_map("m", "two", made)).data == {"k": "w"}  # 4
        patched = await core.patch_namespaced_config_map("m", "two", {"data": {"l": "x"}})
        assert patched.data == {"k": "w", "l": "x"}  # 5
        assert len((await core.list_namespaced_config_map("two")).items) == 1  # 6
        stream = watch.Watch()
        seen = []
        async for event in stream.stream(core.list_namespaced_config_map, "two", timeout_seconds=1):
            seen.append(event["type"])  # 7
        assert seen == ["ADDED"]
        definitions = client.ApiextensionsV1Api(api)
        await definitions.create_custom_resource_definition(BOATS("sea.aio"))  # 8
        while await code_of(custom.list_namespaced_custom_object(*where)) != 200:
            pass
        boat = {"apiVersion": "sea.aio/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"crew": 2}}
        await asyncio.gather(
            *(
                custom.create_namespaced_custom_object(*where, {**boat, "metadata": {"name": f"b{number}"}})
                for number in range(10)
            )
        )  # 9
        listed = await custom.list_namespaced_custom_object(*where)
        assert [item["metadata"]["name"] for item in listed["items"]] == [f"b{number}" for number in range(10)]  # 10
        gone = await custom.delete_namespaced_custom_object(*where, "b0", propagation_policy="Foreground")
        assert gone["kind"] in ("Boat", "Status")  # 11
        assert await code_of(custom.get_namespaced_custom_object(*where, "none")) == 404  # 12
        applied = await custom.patch_namespaced_custom_object(
            *where,
            "b1",
            {**boat, "metadata": {"name": "b1"}, "spec": {"flag": "red"}},
            field_manager="me",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
        assert applied["spec"] == {"crew": 2, "flag": "red"}  # 13
        await core.delete_namespace("two")
        while await code_of(core.read_namespace("two")) != 404:
            pass
        assert await code_of(core.read_namespaced_config_map("m", "two")) == 404  # 14


def dynamically(kubeconfig: str) -> None:
    api = dynamic.DynamicClient(SyncClient(configuration=_configuration(kubeconfig)))
    maps = api.resources.get(api_version="v1", kind="ConfigMap")  # 15
    namespaces = api.resources.get(api_version="v1", kind="Namespace")
    namespaces.create(body={"metadata": {"name": "three"}})  # 16
    body = {"apiVersion": "v1", "kind": "ConfigMap", **map_body("m")}
    made = maps.create(body=body, namespace="three")  # 17
    assert maps.get(name="m", namespace="three").metadata.uid == made.metadata.uid  # 18
    body["data"] = {"k": "w"}
    assert maps.patch(body=body, namespace="three", content_type="application/merge-patch+json").data.k == "w"  # 19
    body["data"] = {"k": "z"}
    applied = maps.server_side_apply(body=body, namespace="three", field_manager="me", force_conflicts=True)
    assert applied.data.k == "z"  # 20
    assert [item.metadata.name for item in maps.get(namespace="three", label_selector="app in (a,b)").items] == [
        "m"
    ]  # 21
    events = list(maps.watch(namespace="three", timeout=1))
    assert [event["type"] for event in events] == ["ADDED"]  # 22
    body["metadata"]["resourceVersion"] = "1"
    try:
        maps.replace(body=body, namespace="three")
        raise AssertionError("an old revision was accepted")
    except dynamic.exceptions.ConflictError:
        pass  # 23
    del body["metadata"]["resourceVersion"]
    assert maps.replace(body=body, namespace="three").data.k == "z"  # 24
    assert maps.delete(name="m", namespace="three").status == "Success"  # 25
    try:
        maps.get(name="m", namespace="three")
        raise AssertionError("what was deleted is there")
    except dynamic.exceptions.NotFoundError:
        pass  # 26
    definitions = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=BOATS("sea.dynamic"))  # 27
    boats = None
    while boats is None:
        api.resources.invalidate_cache()
        try:
            boats = api.resources.get(api_version="sea.dynamic/v1", kind="Boat")  # 28
        except dynamic.exceptions.ResourceNotFoundError:
            continue
    boat = {"apiVersion": "sea.dynamic/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"crew": 2}}
    assert boats.create(body=boat, namespace="three").spec.flag == "white"  # 29
    namespaces.delete(name="three")  # 30


def _configuration(kubeconfig: str) -> Any:
    from kubernetes.client import Configuration

    found = Configuration()
    sync_config.load_kube_config(kubeconfig, client_configuration=found)
    return found


if __name__ == "__main__":
    asyncio.run(aio(sys.argv[1]))
    dynamically(sys.argv[1])
