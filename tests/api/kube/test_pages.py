"""The pages: who gets in, what they show, what other sites cannot do, and buttons only where they are allowed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.api.browser import host_allowed
from rayctl.api.pages.plots import best_scores, score_plot
from rayctl.kube.kinds import FLEETS, LEASES, RAY_CLUSTERS, RAY_SERVICES
from rayctl.settings import ServiceSettings

from ..conftest import REQUEST, check_problem, client_for
from ..memory import MemoryService
from .conftest import TOKENS, Kubernetes, cluster, fleet, service_document

HTML = {"Accept": "text/html"}
PAGES = ("/ui/", "/ui/fleets", "/ui/services", "/ui/clusters", "/ui/runs", "/ui/tenants", "/ui/system")


async def logged_in(app: FastAPI, who: str, host: str = "localhost:8000") -> httpx2.AsyncClient:
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=f"http://{host}", headers=HTML)
    answer = await client.post("/ui/login", data={"token": f"{who}-token", "next": "/ui/fleets"})
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/ui/fleets"
    return client


@pytest.fixture
async def browser(api: FastAPI) -> AsyncIterator[Callable[..., Any]]:
    made: list[httpx2.AsyncClient] = []

    async def make(who: str = "admin", app: FastAPI = api) -> httpx2.AsyncClient:
        made.append(await logged_in(app, who))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


async def fill(kubernetes: Kubernetes) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    await kubernetes.create(RAY_CLUSTERS, cluster("demo"))
    await kubernetes.create(RAY_SERVICES, service_document("chat"))


async def test_every_page_for_every_caller(browser: Callable[..., Any], kubernetes: Kubernetes, api: FastAPI) -> None:
    await fill(kubernetes)
    service: MemoryService = api.state.service
    run_id = await service.do_auto_ml({**REQUEST, "name": "<script>alert(1)</script>"}, None, via="http")
    await service.move(run_id, "running")
    for number in range(12):
        await service.trial(run_id, "<img src=x>", None if number == 3 else 1.0 / (1 + number))
    lease = {"metadata": {"name": "fleet-controller"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
    await kubernetes.create(LEASES, lease, "kube-system")
    objects = ["/ui/fleets/default/a", "/ui/clusters/default/demo", "/ui/services/default/chat", f"/ui/runs/{run_id}"]
    for who in ("admin", "viewer", "red"):
        client = await browser(who)
        for path in (*PAGES, *objects):
            answer = await client.get(path)
            hidden = who == "red" and path in objects
            assert answer.status_code == (404 if hidden else 200), (who, path, answer.text)
            assert answer.headers["content-type"].startswith("text/html")
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<script>alert|<img src=x|\son\w+=|\sstyle=|javascript:", answer.text), path
            assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", answer.text), path
    run = await (await browser()).get(f"/ui/runs/{run_id}")
    assert "<svg" in run.text
    assert f'data-live="/v1/runs/{run_id}/events"' in run.text


async def test_home_says_what_needs_attention(browser: Callable[..., Any], kubernetes: Kubernetes) -> None:
    client = await browser()
    assert "All is well" in (await client.get("/ui/")).text
    await fill(kubernetes)
    home = (await client.get("/ui/")).text
    assert "Needs attention" in home
    assert '<a href="/ui/clusters/default/demo">cluster/demo</a>' in home
    assert "no controller has looked at it yet" in home


async def test_pages_without_kubernetes(browser: Callable[..., Any], settings: ServiceSettings, tmp_path: Any) -> None:
    book = TokenBook([("admin-token", None)])
    there = settings.model_copy(update={"home": tmp_path, "kubeconfig": tmp_path / "none"})
    client = await browser("admin", create_app(MemoryService(), tokens=book, settings=there))
    assert "<code>no-kubernetes</code>" in (await client.get("/ui/fleets")).text
    assert (await client.get("/ui/fleets")).status_code == 503
    for path in ("/ui/", "/ui/system", "/ui/runs"):
        assert (await client.get(path)).status_code == 200


async def test_a_browser_without_a_session_is_led_to_the_login(api: FastAPI) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="http://127.0.0.1:1") as client:
        answer = await client.get("/ui/fleets?label=a", headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login?next=%2Fui%2Ffleets%3Flabel%3Da")
        assert (await client.get("/", headers=HTML)).headers["location"] == "/ui/login"
        check_problem(await client.get("/ui/fleets"), 401, "not-authenticated")
        check_problem(await client.post("/ui/actions", headers=HTML), 401, "not-authenticated")
        assert "password" in (await client.get("/ui/login")).text
        wrong = await client.post("/ui/login", data={"token": "wrong", "next": "//evil.example"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        assert "evil" not in wrong.text
        for elsewhere in ("//evil.example", "https://evil.example", "/ui\\evil", "/uix", "/ui/login", "/ui/\r\nx"):
            answer = await client.post("/ui/login", data={"token": "admin-token", "next": elsewhere})
            assert answer.headers["location"] == "/ui/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "admin-token" not in cookie
        await client.get("/ui/static/style.css")
        check_problem(
            await client.get("/ui/static/..%2frender.py", headers={"Authorization": "Bearer admin-token"}),
            404,
            "no-such-path",
        )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=api), base_url="https://localhost") as client:
        answer = await client.post("/ui/login", data={"token": "admin-token"})
        assert "secure" in answer.headers["set-cookie"].lower()


async def test_a_session_looks_and_does_not_change(browser: Callable[..., Any]) -> None:
    client = await browser()
    assert (await client.get("/v1/fleets")).status_code == 200
    for method, path in (
        ("PUT", "/v1/fleets/a"),
        ("DELETE", "/v1/fleets/a"),
        ("PATCH", "/v1/fleets/a"),
        ("POST", "/v1/runs"),
    ):
        check_problem(await client.request(method, path, json={}), 401, "not-authenticated")


FORGED: list[tuple[str, str, dict[str, str]]] = [
    (method, path, headers)
    for method, path in (
        ("GET", "/ui/"),
        ("GET", "/v1/fleets"),
        ("POST", "/ui/actions"),
        ("POST", "/ui/login"),
        ("POST", "/v1/fleets/a:pause"),
        ("PUT", "/v1/fleets/a"),
        ("PATCH", "/v1/fleets/a"),
        ("DELETE", "/v1/fleets/a"),
    )
    for headers in (
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "evil.example:8000", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Host": "localhost.evil.example", "Origin": "http://localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"},
    )
]


@pytest.mark.parametrize("with_token", [False, True])
async def test_other_sites_get_nothing(api: FastAPI, kubernetes: Kubernetes, with_token: bool) -> None:
    await kubernetes.create(FLEETS, fleet("a"))
    client = await logged_in(api, "admin")
    token = {"Authorization": "Bearer admin-token"} if with_token else {}
    for method, path, headers in FORGED:
        answer = await client.request(method, path, headers={**headers, **token}, json={} if method != "GET" else None)
        assert answer.status_code == 403, (method, path, headers, answer.text)
        assert answer.json()["code"] in ("host-not-allowed", "cross-site")
    assert (await kubernetes.get(FLEETS, "a"))["metadata"]["generation"] == 1
    assert not any(name.lower().startswith("access-control") for name in answer.headers)
    await client.aclose()


async def test_a_name_that_leads_here_is_refused_for_pages_even_without_any_mark(api: FastAPI) -> None:
    async with client_for(api, "admin-token") as client:
        check_problem(await client.get("/ui/", headers={"Host": "evil.example"}), 403, "host-not-allowed")
        assert (await client.get("/ui/", headers={"Host": "api"})).status_code == 200  # RAYCTL_ALLOWED_HOSTS


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1:8000", True),
        ("127.9.9.9", True),
        ("[::1]:8000", True),
        ("rayctl.example:443", True),
        ("RAYCTL.example.", True),
        ("example", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("10.0.0.1", False),
        ("8.8.8.8", False),
        ("", False),
        ("[", False),
        ("localhost@evil.example", False),
    ],
)
def test_names(host: str, good: bool) -> None:
    assert host_allowed(host, ["rayctl.example"]) is good


def form_of(text: str, verb: str) -> dict[str, str]:
    for form in re.findall(r'<form method="post" action="/ui/actions">.*?</form>', text, re.S):
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        if fields["verb"] == verb:
            return fields
    raise AssertionError(f"there is no button {verb}")


async def test_pages_are_read_only_unless_allowed(browser: Callable[..., Any], kubernetes: Kubernetes) -> None:
    await fill(kubernetes)
    client = await browser()
    text = (await client.get("/ui/fleets/default/a")).text
    assert "/ui/actions" not in text
    mark = re.search(r'name="mark" value="(\w+)"', text)
    assert mark is not None
    form = {"mark": mark[1], "kind": "fleets", "namespace": "default", "name": "a", "verb": "pause", "revision": "1"}
    answer = await client.post("/ui/actions", data=form)
    assert answer.status_code == 403
    assert "read-only" in answer.text


async def test_buttons(browser: Callable[..., Any], kubernetes: Kubernetes, settings: ServiceSettings) -> None:
    await fill(kubernetes)
    book = TokenBook([(f"{name}-token", *who) for name, who in TOKENS.items()])
    acting = settings.model_copy(update={"dashboard_actions": True})
    app = create_app(MemoryService(), tokens=book, settings=acting, kubernetes=lambda: kubernetes.transport)
    client = await browser("operator", app)
    form = form_of((await client.get("/ui/fleets/default/a")).text, "pause")
    for broken in (
        {**form, "mark": "0" * 64},
        {**form, "mark": ""},
        {key: value for key, value in form.items() if key != "mark"},
    ):
        assert (await client.post("/ui/actions", data=broken)).status_code == 403
    other = await browser("admin", app)
    assert (await other.post("/ui/actions", data=form)).status_code == 403, "a mark is of one session"
    assert (await kubernetes.get(FLEETS, "a"))["metadata"]["generation"] == 1
    done = await client.post("/ui/actions", data=form)
    assert done.status_code == 303, done.text
    assert "fleet/a paused" in (await client.get(done.headers["location"])).text
    assert (await kubernetes.get(FLEETS, "a"))["spec"]["paused"] is True
    assert (await client.post("/ui/actions", data=form)).status_code == 412, "the page was of an older version"
    await client.post("/ui/actions", data=form_of((await client.get("/ui/fleets/default/a")).text, "resume"))
    assert (await kubernetes.get(FLEETS, "a"))["spec"]["paused"] is False
    form = form_of((await client.get("/ui/clusters/default/demo")).text, "suspend")
    assert (await client.post("/ui/actions", data=form)).status_code == 303
    assert (await kubernetes.get(RAY_CLUSTERS, "demo"))["spec"]["suspend"] is True
    assert (await client.post("/ui/actions", data={**form, "verb": "explode"})).status_code == 400
    viewer = await browser("viewer", app)
    text = (await viewer.get("/ui/fleets/default/a")).text
    assert "/ui/actions" not in text
    mark = re.search(r'name="mark" value="(\w+)"', text)
    assert mark is not None
    assert (await viewer.post("/ui/actions", data={**form, "mark": mark[1]})).status_code == 403
    out = await client.post("/ui/logout", data={"mark": form["mark"]})
    assert out.status_code == 303
    assert (await client.get("/ui/")).status_code == 303


async def test_secrets_in_environments_are_not_shown(browser: Callable[..., Any], kubernetes: Kubernetes) -> None:
    document = cluster("demo")
    container = document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "REDIS_PASSWORD", "value": "canary-1"}, {"name": "COLOR", "value": "green"}]
    await kubernetes.create(RAY_CLUSTERS, document)
    text = (await (await browser()).get("/ui/clusters/default/demo")).text
    assert "canary-1" not in text
    assert "green" in text


async def test_documentation_of_our_own(api: FastAPI) -> None:
    async with client_for(api, None) as client:
        answer = await client.get("/docs")
        assert answer.status_code == 200
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)
        for path in api.openapi()["paths"]:
            assert path in answer.text


def test_plots() -> None:
    rows = [{"trial": n, "score": s} for n, s in enumerate([0.5, 0.7, None, 0.6, 0.9, -50.0, 0.8, 0.7, 0.6, 0.75])]
    assert [best for _, _, best in best_scores(rows, True)] == [0.5, 0.7, 0.7, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert [best for _, _, best in best_scores(rows[:4], False)] == [0.5, 0.5, 0.5]
    drawn = str(score_plot(rows, "<auc>", True))
    assert drawn.count("<circle") == 9
    assert "&lt;auc&gt; of 9 trials; the best is 0.9" in drawn
    assert score_plot(rows[:1], "auc", True) == ""
    for number in re.findall(r'cy="([-\d.]+)"', drawn):
        assert 0 <= float(number) <= 240
    assert "nan" not in str(score_plot([{"trial": 0, "score": 0.0}, {"trial": 1, "score": 0.0}], "x", False))
    prices = str(score_plot([{"trial": n, "score": 24000.0 + 900 * n} for n in range(4)], "rmse", False))
    assert ">26000</text>" in prices
    assert "e+" not in prices
    many = str(score_plot([{"trial": n, "score": n % 97 / 97} for n in range(9_999)], "auc", True))
    assert 900 <= many.count("<circle") <= 1000
    assert many.count("H") < 200, "a line needs its corners only"


async def test_a_run_s_page_says_what_it_warns_of_and_what_to_do(browser: Callable[..., Any], api: FastAPI) -> None:
    service: MemoryService = api.state.service
    run_id = await service.do_auto_ml(REQUEST, None, via="http")
    for number in range(201):
        await service.trial(run_id, "m", number / 201)
    error = {"code": "final-fit-failed", "message": "No fit.", "hint": "Allow <more> memory."}
    about = {"data": {"warnings": ["Column a is odd."]}, "warnings": ["Only the baseline was ready."]}
    await service.move(run_id, "failed", error=error, **about)
    page = (await (await browser()).get(f"/ui/runs/{run_id}")).text
    for text in ("Allow &lt;more&gt; memory.", "Only the baseline was ready.", "Column a is odd.", "lower is better"):
        assert text in page, text
    assert "1 more in a terminal" in page
    assert page.count("<tr><td") == 200
