"""GET /metrics tells what was answered, in a form that Prometheus reads, without names of objects."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from rayctl.embedded.apiserver.requests import Response
from tests.unit.embedded.local import Local

MAPS = "/api/v1/namespaces/default/configmaps"


async def values(local: Local) -> dict[tuple[str, str, str, str], float]:
    answer = await local.send("GET", "/metrics")
    assert isinstance(answer, Response)
    assert answer.code == 200
    return {
        (
            sample.name,
            sample.labels.get("verb", sample.labels.get("request_kind", "")),
            sample.labels.get("resource", ""),
            sample.labels.get("code", sample.labels.get("le", "")),
        ): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_what_was_answered_is_counted() -> None:
    local = await Local().start()
    before = await values(local)
    for name in "abc":
        await local.call("POST", MAPS, {"metadata": {"name": name}})
    await local.call("POST", MAPS, {"metadata": {"name": "a"}})
    await local.call("GET", f"{MAPS}/a")
    watch = await local.send("GET", f"{MAPS}?watch=true&resourceVersion={local.store.revision}")
    await local.call("DELETE", f"{MAPS}/c")
    found = await values(local)
    total = "apiserver_request_total"
    assert found[(total, "POST", "configmaps", "201")] - before.get((total, "POST", "configmaps", "201"), 0) == 3
    assert found[(total, "POST", "configmaps", "409")] == 1
    assert found[(total, "GET", "configmaps", "200")] == 1
    assert found[(total, "WATCH", "configmaps", "200")] == 1
    assert found[("apiserver_longrunning_requests", "WATCH", "", "")] == 1
    assert found[("apiserver_watch_events_total", "", "configmaps", "")] == 1
    assert found[("apiserver_storage_objects", "", "configmaps", "")] == local.store.count("configmaps")
    duration = "apiserver_request_duration_seconds"
    assert found[(f"{duration}_count", "POST", "", "")] == found[(f"{duration}_bucket", "POST", "", "+Inf")] >= 4
    await watch.chunks.aclose()  # type: ignore[union-attr,attr-defined]


async def test_the_number_of_series_does_not_grow_with_objects_and_strange_paths() -> None:
    local = await Local().start()

    async def work(prefix: str) -> int:
        for number in range(30):
            await local.call("POST", MAPS, {"metadata": {"name": f"{prefix}{number}"}})
            await local.call("GET", f"{MAPS}/{prefix}{number}")
            await local.call("GET", f"/apis/{prefix}{number}.io/v1/things")
            await local.call("GET", f"/{prefix}{number}")
            await local.call("GET", f"{MAPS}/{prefix}{number}/{prefix}{number}")
            await local.send(f"M{prefix}{number}", MAPS)
        await values(local)
        return len(await values(local))

    assert await work("a") == await work("b")


async def test_it_is_not_for_everybody() -> None:
    local = await Local().start()
    answer = await local.send("GET", "/metrics", authorization="")
    assert isinstance(answer, Response)
    assert answer.code == 403
