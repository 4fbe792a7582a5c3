"""Services: names, readiness, draining, switching under load; in both network modes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rayctl.kube.kinds import SERVICES
from tests.kubelet.node import MODES, Node, is_ready, node

SERVER = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["HOSTNAME"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((sys.argv[1], 8000), H).serve_forever()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=MODES)
async def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), request.param) as found:
        found.start_proxy()
        yield found


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def serve(here: Node, name: str, color: str) -> None:
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    command = {"command": ["python3", "-c", SERVER, "$(IP)"], "env": env}
    probe = {"readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}}
    await here.pod(
        name, "", labels={"color": color}, container={**command, **probe}, spec={"terminationGracePeriodSeconds": 1}
    )


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return (await reader.readexactly(length)).decode()


async def once(address: str) -> str:
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        return await ask(reader, writer)
    finally:
        writer.close()


async def until_open(address: str) -> None:
    for _ in range(150):
        try:
            await once(address)
            return
        except OSError:
            await asyncio.sleep(0.1)  # between two looks at another process; the condition decides
    raise AssertionError(f"{address} does not answer")


async def test_switch_under_load_and_draining(here: Node) -> None:
    for name, color in (("blue-1", "blue"), ("blue-2", "blue"), ("green-1", "green")):
        await serve(here, name, color)
    for name in ("blue-1", "blue-2", "green-1"):
        await here.until(name, is_ready)
    service = await here.service("site", 80, 8000, selector={"color": "blue"})
    address = service["spec"]["clusterIP"]
    await until_open(address)
    answers: Counter[str] = Counter()
    stopping = asyncio.Event()

    async def load() -> None:
        while not stopping.is_set():
            answers[await once(address)] += 1

    loads = [asyncio.create_task(load()) for _ in range(4)]
    kept = await asyncio.open_connection(address, 80)
    old = await ask(*kept)
    assert old.startswith("blue")
    await asyncio.sleep(0.5)  # some load before the switch
    await here.patch(SERVICES, "site", {"spec": {"selector": {"color": "green"}}})
    for _ in range(1000):
        if await once(address) == "green-1":
            break
    answers_then = answers["blue-1"] + answers["blue-2"]
    await asyncio.sleep(0.3)  # some load after it: none of it may go to the old side
    assert answers["blue-1"] + answers["blue-2"] <= answers_then + 4, "new connections still go to the old side"
    # A connection that is kept is carried on to the new side between two requests; its client does not notice.
    assert await ask(*kept) == "green-1"
    kept[1].close()
    # The old side goes away under load; nobody notices.
    await asyncio.gather(here.delete("blue-1"), here.delete("blue-2"))
    stopping.set()
    await asyncio.gather(*loads)
    assert answers["green-1"] > 0
    await here.delete("green-1")


async def test_names_resolve_in_pods(here: Node) -> None:
    await serve(here, "named", "red")
    await here.until("named", is_ready)
    await here.service("plain", 80, 8000, selector={"color": "red"})
    await here.service("nohead", 8000, 8000, selector={"color": "red"}, clusterIP="None")
    urls = ["http://plain.default.svc.cluster.local/", "http://nohead.default.svc.cluster.local:8000/"]
    code = f"import urllib.request as u\nfor a in {urls!r}: print(u.urlopen(a).read().decode())"
    await here.pod("asks", "", container={"command": ["python3", "-c", code]}, spec={"restartPolicy": "OnFailure"})
    await here.until("asks", lambda pod: pod["status"]["phase"] == "Succeeded", 40)
    assert await here.log("asks") == "named\nnamed\n"
    for name in ("named", "asks"):
        await here.delete(name)
