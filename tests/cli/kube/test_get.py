"""`rayctl get` against a real server: tables, documents, watching, and everything that can be wrong."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.kube.conftest import Run, documents
from tests.contract.servers import Running

Put = Callable[..., dict[str, Any]]
BOAT = """
apiVersion: sea.test/v1
kind: Boat
metadata: {name: NAME, labels: {sea: LABEL}}
spec: {replicas: 2, flag: red}
"""


def boat(name: str, label: str = "north") -> str:
    return BOAT.replace("NAME", name).replace("LABEL", label)


@pytest.mark.parametrize("word", ["boats", "boat", "Boat", "bt", "boats.sea.test", "boat.v1.sea.test"])
def test_a_kind_has_many_names(run: Run, put: Put, word: str) -> None:
    put(boat("ann"))
    lines = run("get", word).stdout.splitlines()
    assert lines[0].split() == ["NAME", "CREW", "AGE"]
    assert lines[1].split()[:2] == ["ann", "2"]


def test_wide_has_more_columns(run: Run, put: Put) -> None:
    put(boat("ann"))
    assert run("get", "bt", "-o", "wide").stdout.splitlines()[0].split() == ["NAME", "CREW", "FLAG", "AGE"]


def test_documents_are_the_servers(run: Run, put: Put) -> None:
    made = put(boat("ann"))
    made["metadata"].pop("managedFields")
    assert documents(run("get", "bt/ann", "-o", "json")) == made
    assert yaml.safe_load(run("get", "bt", "ann", "-o", "yaml").stdout) == made
    listed = documents(run("get", "bt", "-o", "json"))
    assert (listed["kind"], listed["items"]) == ("List", [made])
    assert run("get", "bt", "-o", "name").stdout == "boat.sea.test/ann\n"


def test_selectors_and_namespaces(run: Run, put: Put, namespace: str) -> None:
    put(boat("ann"))
    put(boat("bob", "south"))
    assert run("get", "bt", "-l", "sea=south", "-o", "name").stdout == "boat.sea.test/bob\n"
    assert run("get", "bt", "--field-selector", "metadata.name=ann", "-o", "name").stdout == "boat.sea.test/ann\n"
    everywhere = run("get", "bt", "-A").stdout.splitlines()
    assert everywhere[0].split()[0] == "NAMESPACE"
    assert [namespace, "ann"] in [line.split()[:2] for line in everywhere]
    assert run("get", "bt", "-n", "default").stderr == "No boats in namespace default.\n"


def test_several_kinds_and_names(run: Run, put: Put) -> None:
    put(boat("ann"))
    put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n")
    assert [line.split()[0] for line in run("get", "bt/ann", "cm/m").stdout.splitlines() if line] == [
        "NAME",
        "boat.sea.test/ann",
        "NAME",
        "configmap/m",
    ]
    assert len(run("get", "bt,cm").stdout.split("\n\n")) == 2


def test_what_is_there(run: Run, put: Put) -> None:
    put(boat("ann"))
    assert "boats" in run("get", "kinds").stdout
    assert "boat.sea.test" in run("get", "kinds", "-o", "name").stdout.split()
    assert {"kind": "Boat", "shortNames": ["bt"]}.items() <= next(
        entry for entry in documents(run("get", "kinds", "-o", "json")) if entry["name"] == "boats"
    ).items()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("bt/nobody",), 3, 'boats.sea.test "nobody" not found'),
        (("boots",), 3, "Did you mean boats or boat"),
        (("rc",), 3, "rayctl install"),
        (("fleet/x",), 3, "RayClusterFleet (orchestration.aibrix.ai/v1alpha1)"),
        (("bt/",), 2, "KIND/NAME"),
        (("bt/ann", "-A"), 2, "-n"),
        (("bt/ann", "-l", "a=b"), 2, "exclude each other"),
        (("bt", "-l", "a=(("), 2, "unable to parse"),
        (("bt,cm", "-w"), 2, "one kind"),
        (("bt", "-n", "x", "-A"), 2, "exclude each other"),
    ],
)
def test_mistakes_are_explained(run: Run, put: Put, words: tuple[str, ...], code: int, says: str) -> None:
    put(boat("ann"))
    result = run("get", *words, code=code)
    assert says in result.stderr
    assert result.stdout == ""


def test_watching_without_a_terminal_is_a_line_per_change(run: Run, put: Put, server: Running, namespace: str) -> None:
    put(boat("ann"))
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "get", "bt", "-w", "--timeout", "20s"]
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline().split(" ", 1)[1]
        assert first == "boat.sea.test/ann event=Added crew=2\n"
        changed = yaml.safe_load(boat("ann"))
        changed["metadata"]["annotations"] = {"no": "news"}
        put(changed)
        changed["spec"]["replicas"] = 3
        put(changed)
        assert process.stdout.readline().split(" ", 1)[1] == "boat.sea.test/ann event=Modified crew=3\n"
        process.terminate()


def test_a_watch_ends_in_time(run: Run, put: Put) -> None:
    put(boat("ann"))
    began = time.monotonic()
    assert "event=Added" in run("get", "bt", "-w", "--timeout", "1s").stdout
    assert time.monotonic() - began < 10


class TestServers:
    """What is said when the server cannot be used."""

    def change(self, server: Running, tmp_path: Path, old: str, new: str) -> str:
        path = tmp_path / "changed"
        text = server.kubeconfig.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return str(path)

    def test_nobody_listens(self, run: Run, server: Running, tmp_path: Path) -> None:
        path = self.change(server, tmp_path, f":{server.port}", ":9")
        result = run("get", "po", "--kubeconfig", path, code=8)
        assert "does not answer" in result.stderr
        assert f"(context rayctl of {path})" in result.stderr

    def test_a_token_that_has_ended(self, run: Run, server: Running, tmp_path: Path) -> None:
        path = self.change(server, tmp_path, server.token, "old")
        result = run("get", "po", "--kubeconfig", path, code=7)
        assert "have ended" in result.stderr
        assert "old" not in result.stdout

    def test_somebody_without_rights(self, run: Run, server: Running, tmp_path: Path) -> None:
        path = self.change(server, tmp_path, server.token, "watcher-token")
        result = run("get", "po", "--kubeconfig", path, code=7)
        assert 'cannot list resource "pods"' in result.stderr
        assert "RoleBinding" in result.stderr

    def test_another_servers_certificate(self, run: Run, server: Running, tmp_path: Path) -> None:
        found = yaml.safe_load(server.kubeconfig.read_text())
        del found["clusters"][0]["cluster"]["certificate-authority-data"]
        path = tmp_path / "changed"
        path.write_text(yaml.safe_dump(found))
        assert "does not trust" in run("get", "po", "--kubeconfig", str(path), code=8).stderr

    def test_a_context_that_is_not_there(self, run: Run) -> None:
        assert "Its contexts: rayctl." in run("get", "po", "--context", "prod", code=2).stderr

    def test_none_at_all(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KUBECONFIG")
        assert "Run `rayctl up`" in run("get", "po", code=8).stderr

    def test_the_local_one_is_found(self, run: Run, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KUBECONFIG")
        home = Path(os.environ["RAYCTL_HOME"])
        home.mkdir()
        (home / "kubeconfig").write_text(server.kubeconfig.read_text())
        run("get", "po")
        # Never where a context was named, although it has one of that name.
        assert "no kubeconfig" in run("get", "po", "--context", "rayctl", code=2).stderr


def test_watching_on_a_terminal_is_a_table_that_grows(run: Run, put: Put, server: Running, namespace: str) -> None:
    put(boat("ann"))
    put(boat("a-longer-name"))
    outer, inner = pty.openpty()
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "get", "bt", "-w", "--timeout", "20s"]
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=inner, text=True, env=environment) as process, os.fdopen(outer) as screen:
        os.close(inner)
        lines = [screen.readline().rstrip() for _ in range(3)]
        put(boat("zoe"))
        lines.append(screen.readline().rstrip())
        process.terminate()
    assert lines[0] == "\x1b[1mNAME            CREW   AGE\x1b[0m"
    assert [line[:21].rstrip() for line in lines[1:]] == ["a-longer-name   2", "ann             2", "zoe             2"]


def test_reading_loads_nothing_heavy(run: Run, server: Running) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr));"
        "from rayctl.cli.main import main; main()"
    )
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    for words in (["get", "ns"], ["explain", "ns/default"], ["get", "--help"], ["apply", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, env=environment
        )
        loaded = {name.partition(".")[0] for name in done.stderr.strip("[]\n").replace("'", "").split(", ")}
        assert loaded & {"ray", "kubernetes", "aiohttp", "pydantic", "pandas", "rich", "sklearn"} == set()
        assert ("yaml" in loaded) is ("--help" not in words)
