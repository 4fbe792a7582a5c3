"""What comes from outside is never unpickled: an audit hook looks, while hostile bytes are sent everywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, base64, io, json, os, pickle, sys, zipfile

found = []

def hook(event, arguments):
    if event in ("pickle.find_class", "os.system", "subprocess.Popen") and armed:
        found.append((event, str(arguments)[:80]))

armed = False
sys.addaudithook(hook)

class Hostile:
    def __reduce__(self):
        return os.system, ("true",)

EVIL = pickle.dumps(Hostile())

async def main():
    global armed
    import httpx2
    from rayctl.api.app import create_app
    from rayctl.api.auth import TokenBook
    from rayctl.settings import ServiceSettings
    from tests.api.kube.conftest import Kubernetes
    from tests.api.memory import MemoryService
    from rayctl.embedded.apiserver.requests import Request

    kubernetes = await Kubernetes().start()
    book = TokenBook([("t", None)])
    app = create_app(
        MemoryService(), tokens=book, settings=ServiceSettings(), kubernetes=lambda: kubernetes.transport
    )
    transport = httpx2.ASGITransport(app=app)
    headers = {"Authorization": "Bearer t"}
    text = base64.b64encode(EVIL).decode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("model.pkl", "manifest.json", "data.npy"):
            archive.writestr(name, EVIL)
    kinds = ["application/json", "text/csv", "application/vnd.apache.parquet", "application/octet-stream"]
    kinds += ["application/x-python-pickle", "application/vnd.apache.arrow.stream", "application/yaml"]
    paths = ["/v1/runs", "/v1/uploads", "/v1/fleets", "/v1/clusters", "/ui/login"]
    paths += ["/v1/runs/x:predict", "/v1/runs/x:deploy"]
    tagged = b"!!python/object/apply:os.system ['true']"
    answers = []
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        await client.get("/v1/runs")
        await client.get("/openapi.json")
        armed = True
        for body in (EVIL, packed.getvalue(), tagged, b"\\x93NUMPY" + EVIL):
            for path in paths:
                for kind in kinds:
                    answer = await client.post(path, content=body, headers={"Content-Type": kind})
                    answers.append((path, kind, answer.status_code))
        # A class or a metric over HTTP is a name, never bytes.
        request = {"task": "regression", "target": "y", "data": {"columns": {"y": [1.0, 2.0]}}}
        for more in ({"search_space": [{"pickled_class": text, "params": {}}]}, {"metric": {"pickled": text}}):
            answer = await client.post("/v1/runs", json={**request, **more})
            answers.append(("/v1/runs", str(more)[:20], answer.status_code))
            assert answer.status_code == 422, answer.text
        answer = await client.put("/v1/tenants/red", content=EVIL, headers={"Content-Type": "application/json"})
        answers.append(("/v1/tenants/red", "", answer.status_code))
    for body in (EVIL, tagged, packed.getvalue()):
        for kind in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
            for method, target in (
                ("POST", "/api/v1/namespaces/default/configmaps"),
                ("PATCH", "/apis/ray.io/v1/namespaces/default/rayclusters/x?fieldManager=m"),
            ):
                kind = kind if method == "POST" else "application/apply-patch+yaml"
                sent = {"authorization": "Bearer t", "content-type": kind}
                answer = await kubernetes.local.handler.handle(Request.make(method, target, sent, body))
                answers.append((target, kind, answer.code))
    armed = False
    accepted = [entry for entry in answers if entry[2] < 300 and entry[0] != "/v1/uploads"]
    print(json.dumps({"found": found, "accepted": accepted, "asked": len(answers)}))
    armed = True
    pickle.loads(EVIL)
    armed = False
    assert found, "the hook sees nothing"

asyncio.run(main())
"""


@pytest.mark.security("S10")
def test_hostile_bytes_are_data() -> None:
    """In a process of its own: an audit hook stays for ever."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]

    told = json.loads(done.stdout.splitlines()[-1])
    assert told["found"] == []
    assert told["accepted"] == []
    assert told["asked"] > 200
