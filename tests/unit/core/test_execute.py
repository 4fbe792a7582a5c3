"""The executor: what it sends for each action, in which order, and what it makes of each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rayctl.core.execute import Ending, Executor, Outcome
from rayctl.core.plan import Apply, CallServe, Create, Delete, Emit, Patch, Plan, Ref, SetStatus, Together
from rayctl.errors import Unavailable
from rayctl.kube.calls import APPLY, MERGE, Call
from rayctl.kube.errors import KubernetesError, LeaseLost, NoAnswer, from_status
from rayctl.kube.own_writes import OwnWrites

KEY = ("default", "one")
CHILD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "child"}}
REF = Ref("v1", "ConfigMap", "default", "child", "uid-1")


class Server:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Call], Any] = lambda call: {"metadata": {"resourceVersion": "7"}}) -> None:
        self.calls: list[Call] = []
        self.at_once = self.most_at_once = 0
        self._answer = answer

    async def request(self, call: Call) -> Any:
        self.calls.append(call)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        found = self._answer(call)
        if isinstance(found, Exception):
            raise found
        return found

    def watch(self, call: Call, silence_s: float) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing."""


class Serve:
    """A Serve API that is down, or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def call(self, cluster: Ref, request: Any) -> Any:
        if self.error is not None:
            raise self.error
        return {}


def perform(server: Server, *actions: Any, serve: Serve | None = None) -> tuple[Outcome, OwnWrites, list[Emit]]:
    own_writes, events = OwnWrites(), list[Emit]()
    executor = Executor(server, "tester", own_writes, events.append, serve)
    return asyncio.run(executor.perform(KEY, Plan(tuple(actions)))), own_writes, events


def failing(error: KubernetesError) -> Server:
    return Server(lambda call: error)


def test_each_action_becomes_one_request_with_its_preconditions() -> None:
    server = Server()
    outcome, own_writes, events = perform(
        server,
        Create(CHILD),
        Apply({**CHILD, "data": {"a": "b"}}, revision="5"),
        Patch(REF, {"metadata": {"finalizers": []}}, "6"),
        SetStatus(REF, {"ready": True}, "8"),
        Delete(REF, revision="9", grace_s=3),
        Emit(REF, "Normal", "Done", "all of it"),
    )
    assert outcome.ending is Ending.DONE
    create, apply, patch, status, delete = server.calls
    assert (create.method, create.path) == ("POST", "/api/v1/namespaces/default/configmaps")
    assert (apply.method, apply.content_type, apply.body["metadata"]["resourceVersion"]) == ("PATCH", APPLY, "5")
    assert ("force", "true") in apply.query
    assert patch.content_type == MERGE
    assert patch.body["metadata"] == {"finalizers": [], "resourceVersion": "6", "uid": "uid-1"}
    assert (status.method, status.path.rsplit("/", 1)[-1]) == ("PUT", "status")
    assert status.body["metadata"]["resourceVersion"] == "8"
    assert delete.body["preconditions"] == {"uid": "uid-1", "resourceVersion": "9"}
    assert delete.body["gracePeriodSeconds"] == 3
    assert all(("fieldManager", "tester") in call.query for call in server.calls[:4])
    assert [event.reason for event in events] == ["Done"]
    assert len(own_writes) == 1


@pytest.mark.parametrize(
    ("action", "error", "ending"),
    [
        (Create(CHILD), from_status(409, {"reason": "AlreadyExists"}, None, True), Ending.AGAIN),
        (Patch(REF, {}, "1"), from_status(409, {"reason": "Conflict"}, None, True), Ending.AGAIN),
        (SetStatus(REF, {}, "1"), from_status(404, {"reason": "NotFound"}, None, True), Ending.AGAIN),
        (Delete(REF), from_status(404, {"reason": "NotFound"}, None, True), Ending.DONE),
        (Delete(REF), from_status(409, {"reason": "Conflict"}, None, True), Ending.AGAIN),
        (Create(CHILD), from_status(404, {"reason": "NotFound"}, None, True), Ending.REFUSED),
        (Create(CHILD), from_status(422, {"reason": "Invalid"}, None, True), Ending.REFUSED),
        (Create(CHILD), from_status(403, {"reason": "Forbidden"}, None, True), Ending.REFUSED),
        (Create(CHILD), from_status(401, {"reason": "Unauthorized"}, None, True), Ending.TROUBLE),
        (Create(CHILD), from_status(429, {}, 3.0, True), Ending.LATER),
        (Create(CHILD), from_status(503, {}, 2.0, True), Ending.LATER),
        (Create(CHILD), from_status(500, {}, None, True), Ending.TROUBLE),
        (Create(CHILD), NoAnswer("lost"), Ending.TROUBLE),
        (Create(CHILD), LeaseLost("over"), Ending.LOST),
    ],
)
def test_an_answer_says_how_to_go_on(action: Any, error: KubernetesError, ending: Ending) -> None:
    outcome, _, _ = perform(failing(error), action)
    assert outcome.ending is ending
    if ending is Ending.REFUSED:
        assert outcome.refusal is not None
        assert (outcome.refusal.action, outcome.refusal.status) == (action, error.status)
    if ending is Ending.LATER:
        assert outcome.retry_after_s == error.retry_after_s


def test_the_first_failure_ends_the_pass() -> None:
    server = Server(lambda call: from_status(500, {}, None, True) if call.method == "PATCH" else {"metadata": {}})
    outcome, _, events = perform(server, Create(CHILD), Patch(REF, {}, "1"), Delete(REF), Emit(REF, "Normal", "X", ""))
    assert [call.method for call in server.calls] == ["POST", "PATCH"]
    assert not events
    assert [type(result.action) for result in outcome.results] == [Create, Patch]


def test_what_goes_together_is_sent_side_by_side_and_all_of_it_is_tried() -> None:
    documents = [{**CHILD, "metadata": {"namespace": "default", "name": f"c{number}"}} for number in range(40)]

    def answer(call: Call) -> Any:
        odd = call.body["metadata"]["name"] in ("c3", "c5")
        return from_status(422 if odd else 200, {"reason": "Invalid"}, None, True) if odd else {"metadata": {}}

    server = Server(answer)
    outcome, _, _ = perform(server, Together(tuple(Create(document) for document in documents)), Delete(REF))
    assert len(server.calls) == 40
    assert server.most_at_once == 16
    assert outcome.ending is Ending.REFUSED
    assert sum(result.error is not None for result in outcome.results) == 2


def test_the_gravest_of_several_failures_counts() -> None:
    def answer(call: Call) -> Any:
        code = {"a": 409, "b": 422, "c": 500}[call.body["metadata"]["name"]]
        return from_status(code, {"reason": "Conflict" if code == 409 else ""}, None, True)

    documents = [{**CHILD, "metadata": {"namespace": "default", "name": name}} for name in "abc"]
    outcome, _, _ = perform(Server(answer), Together(tuple(Create(document) for document in documents)))
    assert outcome.ending is Ending.REFUSED


def test_a_serve_api_in_trouble_is_trouble_and_a_missing_way_is_a_defect() -> None:
    action = CallServe(REF, {"applications": []})
    assert perform(Server(), action, serve=Serve())[0].ending is Ending.DONE
    assert perform(Server(), action, serve=Serve(Unavailable("down")))[0].ending is Ending.TROUBLE
    with pytest.raises(RuntimeError, match="no way to Serve"):
        perform(Server(), action)
