"""The HTTP transport against a server that misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rayctl.client.http import HttpTransport
from rayctl.client.run import Run
from rayctl.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    QueueFull,
    RayctlError,
    RunFailed,
    ServerUnreachable,
    Unavailable,
)

VIEW = {"id": "r1", "state": "running"}
Answer = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int, body: Any, kind: str = "application/json", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def stream(*frames: str) -> Answer:
    """A stream that ends, politely or not, after the frames."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write("".join(frames).encode())

    return answer


def torn(content: str) -> Answer:
    """A stream that breaks before it has sent what it promised."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(content.encode())
        handler.close_connection = True

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def event(seq: int, kind: str, data: Any) -> str:
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


class Script:
    """Answers in order; remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    def then(self, *answers: Answer) -> None:
        self.answers += answers


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr("rayctl.client.retry._sleep", lambda seconds: None)
    found = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            found.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            found.answers.pop(0)(self)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def http(script: Script) -> Iterator[HttpTransport]:
    transport = HttpTransport(script.url, "the-token", timeout_s=5)
    yield transport
    transport.close()


def test_sse_comments_multi_line_data_and_unknown_kinds(script: Script, http: HttpTransport) -> None:
    script.then(
        stream(
            "retry: 2000\n\n",
            ": keep-alive\n\n",
            'id: 1\r\nevent: log\r\ndata: {"message":\r\ndata: "two lines"}\r\n\r\n',
            event(2, "novelty", {}),
            ": keep-alive\n\n",
            event(3, "done", VIEW),
        )
    )
    events = list(http.events("r1"))
    assert [(item["seq"], item["kind"], item["data"]) for item in events] == [
        (1, "log", {"message": "two lines"}),
        (3, "done", VIEW),
    ]
    assert all(item["at"].endswith("Z") for item in events)
    assert script.asked[0][2]["authorization"] == "Bearer the-token"
    assert "last-event-id" not in script.asked[0][2]


def test_watch_resumes_after_dropped_connections(script: Script, http: HttpTransport) -> None:
    script.then(
        stream(event(1, "state", VIEW), event(2, "log", {"n": 1})),  # ends without done
        torn(event(3, "log", {"n": 2}) + "id: 4\nevent: log\nda"),  # breaks inside an event
        hang_up,
        reply(503, {"kind": "Unavailable", "status": 503, "detail": "restarting", "code": "unavailable"}),
        stream(event(3, "log", {"n": 2}), event(4, "log", {"n": 3}), event(5, "done", VIEW)),  # repeats one
    )
    assert [item["seq"] for item in Run(http, "r1").watch_documents()] == [1, 2, 3, 4, 5]
    assert [asked[2].get("last-event-id") for asked in script.asked] == [None, "2", "3", "3", "3"]


def test_watch_ends_when_the_log_of_an_ended_run_is_gone(script: Script, http: HttpTransport) -> None:
    ended = {"id": "r1", "state": "succeeded", "finished_at": "2030-01-01T00:00:00Z"}
    script.then(stream(), reply(200, ended))
    events = list(Run(http, "r1").watch_documents(after=7))
    assert [(item["seq"], item["kind"]) for item in events] == [(8, "done")]


def test_watch_tells_what_the_service_reports(script: Script, http: HttpTransport) -> None:
    problem = {"kind": "NotFound", "status": 404, "detail": "deleted", "code": "not-found"}
    script.then(stream(event(1, "state", VIEW), f"event: problem\ndata: {json.dumps(problem)}\n\n"))
    with pytest.raises(NotFound, match="deleted"):
        list(Run(http, "r1").watch_documents())


def test_watch_gives_up_on_a_service_that_stays_away(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("rayctl.client.retry._sleep", slept.append)
    run = Run(HttpTransport("http://127.0.0.1:9", timeout_s=1), "r1")
    with pytest.raises(ServerUnreachable):
        list(run.watch_documents())
    assert 50 <= sum(slept) <= 90


def test_events_that_cannot_be_parsed(script: Script, http: HttpTransport) -> None:
    for frame in ("id: x\nevent: log\ndata: {}\n\n", "id: 1\nevent: log\ndata: {\n\n", event(1, "log", [])):
        script.then(stream(frame))
        with pytest.raises(RayctlError) as caught:
            list(http.events("r1"))
        assert caught.value.code == "bad-event"


def test_reads_are_repeated_a_few_times(script: Script, http: HttpTransport) -> None:
    script.then(hang_up, reply(503, {"kind": "Unavailable", "status": 503, "detail": "wait"}), reply(200, VIEW))
    assert http.get_run("r1") == VIEW
    script.then(hang_up, hang_up, hang_up, reply(200, VIEW))
    with pytest.raises(ServerUnreachable) as caught:
        http.get_run("r1")
    assert caught.value.code == "connection-lost"
    assert len(script.asked) == 6


def test_submit_is_repeated_with_the_same_key_and_body(script: Script, http: HttpTransport) -> None:
    script.then(hang_up, reply(202, VIEW))
    assert http.submit({"target": "y"}, b"a,y\n1,2\n", "k1") == VIEW
    first, second = script.asked
    assert first[2]["idempotency-key"] == second[2]["idempotency-key"] == "k1"
    assert b"a,y\n1,2\n" in first[3]
    assert b"a,y\n1,2\n" in second[3]


def test_what_is_not_idempotent_is_sent_once(script: Script, http: HttpTransport) -> None:
    script.then(hang_up, reply(200, {}))
    with pytest.raises(ServerUnreachable):
        http.deploy("r1")
    assert len(script.asked) == 1


def test_what_begins_a_run_is_repeated_with_the_same_key(script: Script, http: HttpTransport) -> None:
    run, accepted = Run(http, "r0"), reply(202, VIEW)
    script.then(hang_up, accepted, hang_up, accepted)
    assert run.extend("90s", idempotency_key="k1").id == "r1"
    assert run.replay(idempotency_key="k2").id == "r1"
    assert [(method, path, headers["idempotency-key"]) for method, path, headers, _ in script.asked] == [
        *[("POST", "/v1/runs/r0:extend", "k1")] * 2,
        *[("POST", "/v1/runs/r0:replay", "k2")] * 2,
    ]
    assert [json.loads(body) for *_, body in script.asked[:2]] == [{"time_budget": 90.0}] * 2


def test_calls_without_a_key_get_one_of_their_own(script: Script, http: HttpTransport) -> None:
    run, accepted = Run(http, "r0"), reply(202, VIEW)
    script.then(hang_up, accepted, accepted, hang_up, accepted, accepted)
    for follow in (lambda: run.extend(max_trials=1), lambda: run.replay()):
        follow()
        follow()
    keys = [headers["idempotency-key"] for _, _, headers, _ in script.asked]
    assert keys[0] == keys[1]
    assert keys[3] == keys[4]
    assert len(set(keys)) == 4


def test_ending_twice_is_ending_once(script: Script, http: HttpTransport) -> None:
    script.then(hang_up, reply(202, VIEW))
    assert http.finish("r1") == VIEW


def test_names_of_files_stay_below_the_run(script: Script, http: HttpTransport) -> None:
    script.then(reply(200, b"svg", "image/svg+xml"))
    assert b"".join(http.artifact("r1", "plots/a b?.svg")) == b"svg"
    assert script.asked[0][1] == "/v1/runs/r1/artifacts/plots/a%20b%3F.svg"
    for name in ("../../r2", "plots/../../x", "./x", "", "a//b", "/x"):
        with pytest.raises(NotFound):
            list(http.artifact("r1", name))
    assert len(script.asked) == 1


def test_ensemble_events_arrive(script: Script, http: HttpTransport) -> None:
    data = {"score": 0.5, "weights": {"3": 1.0}}
    script.then(stream(event(1, "ensemble", data), event(2, "done", VIEW)))
    first, last = http.events("r1")
    assert (first["kind"], first["data"], last["kind"]) == ("ensemble", data, "done")


def test_a_delete_whose_answer_was_lost_has_succeeded(script: Script, http: HttpTransport) -> None:
    gone = reply(404, {"kind": "NotFound", "status": 404, "detail": "gone"})
    script.then(hang_up, gone)
    http.delete("r1")
    script.then(gone)
    with pytest.raises(NotFound):
        http.delete("r1")


def test_problems_become_the_error_they_were(script: Script, http: HttpTransport) -> None:
    raised = InvalidRequest(
        "No.", code="unknown-metric", hint="Try rmse.", errors=[{"pointer": "/metric", "message": "x"}]
    )
    script.then(reply(422, raised.to_problem(), "application/problem+json"))
    with pytest.raises(InvalidRequest) as caught:
        http.info()
    assert caught.value.to_problem() == raised.to_problem()
    script.then(reply(429, QueueFull("Full.").to_problem(), Retry_After="60"))
    with pytest.raises(QueueFull) as full:
        http.get_run("r1")
    assert full.value.retry_after_s == 60


def test_answers_of_things_that_are_not_rayctl(script: Script, http: HttpTransport) -> None:
    script.then(reply(200, b"<html>", "text/html"))
    with pytest.raises(RayctlError) as caught:
        http.info()
    assert caught.value.code == "not-rayctl"
    script.then(*[reply(502, b"<html>", "text/html")] * 3)
    with pytest.raises(Unavailable, match="502"):
        http.info()
    script.then(reply(302, b"", Location="https://sso.example/login"))
    with pytest.raises(RayctlError) as moved:
        http.info()
    assert "sso.example" in str(moved.value.hint)
    assert len(script.asked) == 5, "a redirect is not followed: it would carry the token away"


def test_a_silent_server(script: Script) -> None:
    release = threading.Event()
    script.then(lambda handler: release.wait(5) and None)
    try:
        with pytest.raises(DeadlineExceeded):
            HttpTransport(script.url, timeout_s=0.2).info()
    finally:
        release.set()


def test_wait_until_the_end(script: Script, http: HttpTransport) -> None:
    pending = reply(409, {"kind": "ResultNotReady", "status": 409, "detail": "later", "retry_after_s": 1})
    failed = reply(409, RunFailed("It failed.").to_problem())
    script.then(pending, hang_up, hang_up, hang_up, pending, failed, reply(200, {"id": "r1", "state": "failed"}))
    run = Run(http, "r1")
    with pytest.raises(DeadlineExceeded, match="goes on"):
        run.wait(-1)
    document = None
    try:
        run.wait("1m")
    except ValueError:  # the view of this server is shorter than a real one
        document = run.document
    assert document == {"id": "r1", "state": "failed"}
    assert script.asked[0][1].startswith("/v1/runs/r1/result?wait=")
