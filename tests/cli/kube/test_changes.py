"""`rayctl apply`, `delete`, `scale`, `suspend`, `wait` against a real server, as the documentation says them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.client.kube.connection import KubeConnection
from rayctl.kube.calls import MERGE, Call
from tests.cli.kube.conftest import Run, documents

Put = Callable[..., dict[str, Any]]
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1', b: '2'}\n"


def boat(**status: Any) -> dict[str, Any]:
    found = {"apiVersion": "sea.test/v1", "kind": "Boat", "metadata": {"name": "ann"}, "spec": {"replicas": 2}}
    return {**found, "status": status} if status else found


def ready(status: str, generation: int = 1) -> dict[str, Any]:
    condition = {"type": "Ready", "status": status, "reason": "Wind", "message": "no wind"}
    return boat(conditions=[{**condition, "observedGeneration": generation}], observedGeneration=generation)


class TestApply:
    def test_created_unchanged_configured_and_fields_removed(self, run: Run) -> None:
        assert run("apply", "-f", "-", input=MAP).stdout == "configmap/m created\n"
        assert run("apply", "-f", "-", input=MAP).stdout == "configmap/m unchanged\n"
        changed = MAP.replace("{a: '1', b: '2'}", "{a: '3'}")
        assert run("apply", "-f", "-", input=changed).stdout == "configmap/m configured\n"
        assert documents(run("get", "cm/m", "-o", "json"))["data"] == {"a": "3"}

    @pytest.mark.parametrize(("word", "suffix"), [("client", "dry run"), ("server", "server dry run")])
    def test_a_dry_run_changes_nothing(self, run: Run, word: str, suffix: str) -> None:
        out = run("apply", "-f", "-", f"--dry-run={word}", input=MAP).stdout
        assert out.endswith(f"({suffix})\n")
        run("get", "cm/m", code=3)

    def test_the_servers_dry_run_finds_mistakes(self, run: Run) -> None:
        wrong = yaml.safe_dump(boat() | {"spec": {"replicas": -1}})
        result = run("apply", "-f", "-", "--dry-run", input=wrong, code=2)
        assert "spec.replicas" in result.stderr

    def test_conflicts_name_who_owns_what(self, run: Run, put: Put) -> None:
        put(MAP)
        result = run("apply", "-f", "-", input=MAP.replace("'1'", "'9'"), code=6)
        assert ".data.a is owned by somebody and differs here" in result.stderr
        assert "--force-conflicts" in result.stderr
        run("apply", "-f", "-", "--force-conflicts", input=MAP.replace("'1'", "'9'"))
        assert documents(run("get", "cm/m", "-o", "json"))["data"]["a"] == "9"

    def test_what_scale_has_set_is_no_conflict(self, run: Run) -> None:
        text = yaml.safe_dump(boat())
        run("apply", "-f", "-", input=text)
        run("scale", "bt/ann", "--replicas", "5")
        assert run("apply", "-f", "-", input=text).stdout == "boat.sea.test/ann configured\n"

    def test_a_folder_in_the_right_order(self, run: Run, tmp_path: Path, namespace: str) -> None:
        name = f"{namespace}-new"
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "a.yaml").write_text(MAP.replace("{name: m}", f"{{name: m, namespace: {name}}}"))
        (tmp_path / "d" / "b.yml").write_text(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n")
        (tmp_path / "d" / "readme.txt").write_text("no manifest")
        assert run("apply", "-f", "d").stdout.splitlines() == [f"namespace/{name} created", "configmap/m created"]

    def test_a_new_kind_and_its_first_object(self, run: Run, namespace: str) -> None:
        group = f"{namespace}.test"
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"cars.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "cars", "singular": "car", "kind": "Car"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
                ],
            },
        }
        car = {"apiVersion": f"{group}/v1", "kind": "Car", "metadata": {"name": "c"}}
        text = yaml.safe_dump_all([car, definition])
        assert run("apply", "-f", "-", input=text).stdout.splitlines()[1] == f"car.{group}/c created"

    def test_one_failure_does_not_stop_the_others(self, run: Run) -> None:
        text = "\n---\n".join([MAP.replace("ConfigMap", "Nothing"), MAP, MAP.replace("name: m", "name: A B")])
        result = run("apply", "-f", "-", input=text, code=2)
        assert result.stdout == "configmap/m created\n"
        assert "no kind 'Nothing'" in result.stderr
        assert "2 objects met errors" in result.stderr

    def test_another_namespace_than_asked_for(self, run: Run) -> None:
        text = MAP.replace("{name: m}", "{name: m, namespace: other}")
        assert "of namespace other, not mine" in run("apply", "-f", "-", "-n", "mine", input=text, code=2).stderr

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("a: [", "not-yaml"),
            ("just a text", "not-an-object"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}", "generateName"),
            ("", "no object"),
            ("!!python/object/apply:os.system [true]", "not-yaml"),
        ],
    )
    def test_wrong_input(self, run: Run, text: str, says: str) -> None:
        assert says in run("apply", "-f", "-", input=text, code=2).stderr

    def test_output(self, run: Run) -> None:
        assert documents(run("apply", "-f", "-", "-o", "json", input=MAP))["data"] == {"a": "1", "b": "2"}
        assert run("apply", "-f", "-", "-o", "name", input=MAP).stdout == "configmap/m\n"


class TestWait:
    def test_it_waits_until_it_is_so_and_tells_the_way(self, run: Run, put: Put) -> None:
        put(ready("False"))
        timer = threading.Timer(0.5, lambda: put(ready("True")))
        timer.start()
        result = run("wait", "bt/ann", "--for=condition=Ready", "--timeout", "20s")
        timer.join()
        assert result.stdout == "boat.sea.test/ann condition met\n"
        lines = [line.split(" ", 1)[1] for line in result.stderr.splitlines()]
        assert lines[0] == "boat/ann Ready=False Wind no wind"
        assert lines[-1].startswith("boat/ann Ready=True")

    def test_an_older_observation_does_not_count(self, run: Run, put: Put) -> None:
        put(ready("True"))
        changed = boat()
        changed["spec"]["replicas"] = 3  # generation 2, and nobody has looked at it
        put(changed)
        for goal in ("Ready", "condition=Ready"):
            result = run("wait", "bt/ann", f"--for={goal}", "--timeout", "500ms", code=5)
            assert "within 500ms" in result.stderr
            assert "rayctl explain" in result.stderr

    def test_paths_and_deletion(self, run: Run, put: Put) -> None:
        put(boat())
        run("wait", "bt/ann", "--for=jsonpath={.spec.replicas}=2", "--timeout", "5s")
        result = run("wait", "bt/ann", "--for=jsonpath={.spec.replicas}=3", "--timeout", "200ms", code=5)
        assert "{.spec.replicas} is 2" in result.stderr
        run("delete", "bt/ann")
        run("wait", "bt/ann", "--for=delete")
        run("wait", "bt/ann", code=3)

    def test_what_cannot_be_waited_for(self, run: Run, put: Put) -> None:
        put(boat())
        assert "cannot be waited for" in run("wait", "bt/ann", "--for=happiness", code=2).stderr

    def test_a_pod_that_has_failed_ends_it(self, run: Run, put: Put) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
        put(
            {
                **pod,
                "spec": {"containers": [{"name": "c", "image": "x"}]},
                "status": {"phase": "Failed", "reason": "Evicted"},
            }
        )
        began = time.monotonic()
        assert "Evicted" in run("wait", "po/p", "--timeout", "30s", code=4).stderr
        assert time.monotonic() - began < 15


class TestDelete:
    def test_finalizers_hold_and_are_named(
        self, run: Run, put: Put, connection: KubeConnection, namespace: str
    ) -> None:
        held = boat()
        held["metadata"]["finalizers"] = ["sea.test/anchor"]
        put(held)
        result = run("delete", "bt/ann", "--timeout", "300ms", code=5)
        assert result.stdout == "boat.sea.test/ann deleted\n"
        assert "sea.test/anchor" in result.stderr
        assert "sea.test/anchor" in run("explain", "bt/ann").stdout
        path = f"/apis/sea.test/v1/namespaces/{namespace}/boats/ann"
        body = {"metadata": {"finalizers": None}}
        timer = threading.Timer(0.3, lambda: connection.request(Call("PATCH", path, body=body, content_type=MERGE)))
        timer.start()
        run("delete", "bt/ann", "--timeout", "20s")
        timer.join()
        run("get", "bt/ann", code=3)

    def test_many_ways_to_say_what(self, run: Run, put: Put) -> None:
        put(MAP)
        put(boat())
        run("delete", "cm/m", "bt/ann")
        put(MAP.replace("name: m", "name: m, labels: {x: y}"))
        run("delete", "cm", "-l", "x=y")
        put(MAP)
        assert run("delete", "-f", "-", "-o", "name", input=MAP).stdout == "configmap/m\n"
        run("delete", "-f", "-", input=MAP, code=3)
        run("delete", "-f", "-", "--ignore-not-found", input=MAP)
        run("delete", code=2)

    def test_a_dry_run_deletes_nothing(self, run: Run, put: Put) -> None:
        put(MAP)
        for word in ("client", "server"):
            assert run("delete", "cm/m", f"--dry-run={word}").stdout.startswith("configmap/m deleted (")
        run("get", "cm/m")

    def test_one_that_is_missing_does_not_stop_the_others(self, run: Run, put: Put) -> None:
        put(MAP)
        assert run("delete", "cm/nope", "cm/m", code=3).stdout == "configmap/m deleted\n"


class TestScale:
    def test_the_scale_subresource(self, run: Run, put: Put) -> None:
        put(boat())
        assert run("scale", "bt/ann", "--replicas", "4", "--dry-run").stdout.endswith("(server dry run)\n")
        assert run("scale", "bt/ann", "--replicas", "3").stdout == "boat.sea.test/ann scaled\n"
        assert documents(run("get", "bt/ann", "-o", "json"))["spec"]["replicas"] == 3
        assert (
            "has 3 replicas, not 2"
            in run("scale", "bt/ann", "--replicas", "1", "--current-replicas", "2", code=6).stderr
        )

    def test_what_has_none(self, run: Run, put: Put) -> None:
        put(MAP)
        assert "boat.sea.test" in run("scale", "cm/m", "--replicas", "1", code=2).stderr
        assert "cannot be suspended" in run("suspend", "cm/m", code=2).stderr

    def test_suspending_a_job(self, run: Run, put: Put) -> None:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
        put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}})
        assert run("suspend", "job/j").stdout == "job.batch/j suspended\n"
        assert run("suspend", "job/j").stdout == "job.batch/j already suspended\n"
        assert documents(run("get", "job/j", "-o", "json"))["spec"]["suspend"] is True
        assert run("resume", "job/j").stdout == "job.batch/j resumed\n"
