"""`rayctl up`: what is said about the control plane's own cluster, and what its processes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.kubelet.spec import parse_pod, refusal
from rayctl.embedded.proxy.table import ON_LOOPBACK
from rayctl.errors import Conflict, InvalidRequest
from rayctl.manifests.access import CONTROLLERS
from rayctl.manifests.installation import Installation, documents, entry
from rayctl.selfhost import kubecmd
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.options import UpOptions
from rayctl.selfhost.plan import KUBE, RESIDENT, Part, Seen, died, plan
from rayctl.selfhost.status import rows
from rayctl.selfhost.system import installation
from rayctl.selfhost.system_view import STEPS, SystemSeen, judge, wanted_installation
from rayctl.selfhost.upfile import UpFile

PORTS = {"http": 8000, "ray_client": 10001, "dashboard": 8265}


def lease(name: str, holder: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": "1"}, "spec": {"holderIdentity": holder}}


def seen(holder: str = "blue_1", state: str = "ready", gateway: str = "", **more: Any) -> SystemSeen:
    leases = tuple(lease(name, holder) for name in CONTROLLERS)
    return SystemSeen("blue", True, {"status": {"state": state}}, leases, gateway, **more)


@pytest.mark.parametrize(
    ("found", "state", "because"),
    [
        (SystemSeen("blue"), "starting", "applying"),
        (seen(state=""), "starting", "RayCluster blue is not ready"),
        (seen(gateway="refused"), "starting", "refused"),
        (seen("standby_1"), "starting", "the actors do not lead yet: fleet-controller"),
        (seen("bluer_1"), "starting", "the actors do not lead yet"),
        (seen(), "ready", ""),
        (seen("standby_1", steps=frozenset(STEPS)), "broken", "the actors do not lead yet"),
        (seen(trouble="no API", steps=frozenset(STEPS)), "broken", "no API"),
    ],
)
def test_what_is_said_about_it(found: SystemSeen, state: str, because: str) -> None:
    said, reason, _ = judge(found)
    assert said == state
    assert because in reason
    assert bool(reason) is (state != "ready")


def test_a_step_that_was_done_is_not_forgotten() -> None:
    assert judge(seen(gateway="refused", steps=frozenset({"http"})))[2] == {"installed", "http"}


def test_the_kubernetes_server_and_the_resident_start_and_fall_together() -> None:
    new = Seen(head=Part(KUBE), resident=Part(RESIDENT))
    assert plan(new, 0.0).start == (KUBE, RESIDENT)
    dead = died(Part(KUBE, alive=True, started_at=0.0), 100.0, "killed by SIGKILL")
    decided = plan(Seen(head=dead, resident=Part(RESIDENT, alive=True, started_at=0.0), ever_ready=True), 100.0)
    assert (decided.stop, decided.start) == ((RESIDENT,), (KUBE, RESIDENT))
    assert "the Kubernetes API server ended (killed by SIGKILL)" in decided.reason


def test_what_was_written_down_is_read_again() -> None:
    layout = Layout.of(Path("/home/me/.rayctl"), {})
    wanted = wanted_installation(
        "/home/me/.rayctl", {"RAYCTL_MAX_RUNNING": "2"}, (2, 2**31, 10**9), PORTS, kubecmd.shared(layout, {})
    )
    found = installation(wanted)
    assert isinstance(found, Installation)
    assert (found.num_cpus, found.memory, found.settings) == (2, "2048Mi", (("RAYCTL_MAX_RUNNING", "2"),))
    assert (found.requested_memory, found.port, found.ray_client_port) == ("1024Mi", 8000, 10001)
    assert ("/home/me/.rayctl/state", "Directory") in found.folders


def test_programs_of_this_machine_find_it_where_a_ray_head_alone_would_be() -> None:
    layout = Layout.of(Path("/home/me/.rayctl"), {})
    wanted = wanted_installation("/h", {}, (2, 2**31, 10**9), {**PORTS, "http": 8001}, kubecmd.shared(layout, {}))
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents(installation(wanted))}
    service = found["Service", "rayctl"]
    open_at_loopback = service["metadata"]["annotations"][ON_LOOPBACK].split(",")
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
    assert {name: ports[name] for name in open_at_loopback} == {
        "http": (8001, 8000),
        "client": (10001, 10001),
        "dashboard": (8265, 8265),
    }
    head = found["RayCluster", "rayctl-system"]["spec"]["headGroupSpec"]
    [container] = head["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "1024Mi"}, "limits": {"memory": "2048Mi"}}
    assert head["rayStartParams"]["object-store-memory"] == "1000000000"
    elsewhere = entry(Installation(actors=True))
    assert "annotations" not in elsewhere["metadata"]
    assert [port["name"] for port in elsewhere["spec"]["ports"]] == ["http", "metrics"]


def test_no_pod_is_given_the_servers_own_folder() -> None:
    layout = Layout.of(Path("/home/me/.rayctl"), {})
    found = kubecmd.shared(layout, {"RAYCTL_SECRETS_DIR": "/etc/secrets", "RAYCTL_X": "/x"})
    places = [Path(path) for path, _ in found]
    assert places[-1] == Path("/etc/secrets")
    assert layout.pods_token.parent in places
    assert not any(layout.kube.is_relative_to(place) or layout.kubeconfig.is_relative_to(place) for place in places)
    line = kubecmd.kube_argv("python", layout, 6443, "ports", [path for path, _ in found])
    assert [word for word in line if word.startswith("--share=")] == [f"--share={place}" for place in places]


def test_the_node_lets_pods_have_what_is_shared_and_nothing_else() -> None:
    container = {"name": "main", "image": "x", "command": ["true"]}
    volume = {"name": "state", "hostPath": {"path": "/home/me/.rayctl/state"}}
    spec = {"containers": [container], "volumes": [volume]}
    pod = parse_pod({"metadata": {"name": "p", "namespace": "default", "uid": "u-1"}, "spec": spec})
    assert refusal(pod, {Path("/home/me/.rayctl/state")}) is None
    for shared in (set(), {Path("/home/me/.rayctl")}, {Path("/home/me/.rayctl/state/x")}):
        assert "hostPath is not allowed" in (refusal(pod, shared) or "")


def test_only_the_services_settings_reach_its_pod() -> None:
    environ = {
        "RAYCTL_HOME": "/x",
        "RAYCTL_KUBECONFIG": "k",
        "RAYCTL_MAX_RUNNING": "2",
        "AWS_SECRET": "s",
        "RAY_X": "1",
    }
    known = {"home": None, "kubeconfig": None, "max_running": None}
    assert kubecmd.service_settings(environ, known) == {"RAYCTL_MAX_RUNNING": "2"}
    assert "RAY_X" not in kubecmd.child_env(Layout.of(Path("/home/me/.rayctl"), {}), environ)


def test_tasks_have_the_environment_of_who_typed_it_and_nothing_of_another_cluster() -> None:
    environ = {
        "AWS_REGION": "x",
        "HOME": "/h",
        "TMPDIR": "/t",
        "RAY_ADDRESS": "a",
        "KUBECONFIG": "k",
        "BASH_FUNC_f%%": "",
    }
    assert kubecmd.tasks_env(environ) == {"AWS_REGION": "x", "HOME": "/h"}


def test_options_that_do_not_go_together_are_refused() -> None:
    UpOptions(kubernetes=True, num_cpus=2, port=9000, dashboard_port=8265, network="ports").check()
    with pytest.raises(InvalidRequest, match="one that is there"):
        UpOptions(kubernetes=True, address="127.0.0.1:6379").check()
    with pytest.raises(InvalidRequest, match="kept apart"):
        UpOptions(kubernetes=False, network="ports").check()


@pytest.mark.parametrize(
    ("asked", "running", "found"),
    [
        (UpOptions(), None, True),
        (UpOptions(kubernetes=False), None, False),
        (UpOptions(address="127.0.0.1:6379"), None, False),
        (UpOptions(), UpFile("/h", options={"num_cpus": 2}), False),  # of a release that knew nothing else
        (UpOptions(), UpFile("/h", options={"kubernetes": False}), False),
        (UpOptions(), UpFile("/h", options={"kubernetes": True}), True),
        (UpOptions(), UpFile("/h", state="failed", options={"kubernetes": False}), True),
        (UpOptions(kubernetes=True), UpFile("/h", options={"kubernetes": False}), True),
    ],
)
def test_a_home_stays_what_it_was_started_as(asked: UpOptions, running: UpFile | None, found: bool) -> None:
    assert asked.settled(running).kubernetes is found


@pytest.mark.parametrize(
    ("asked", "options"), [(True, {"kubernetes": False}), (True, {}), (False, {"kubernetes": True})]
)
def test_another_kind_than_the_running_one_is_refused(asked: bool, options: dict[str, Any]) -> None:
    with pytest.raises(Conflict, match="--kubernetes is"):
        UpOptions(kubernetes=asked).check_running(UpFile("/h", options=options))
    UpOptions(kubernetes=not asked).check_running(UpFile("/h", options=options))


def test_status_tells_who_leads_where_and_of_a_move() -> None:
    holders = {name: "blue_1" for name in CONTROLLERS} | {"fleet-controller": "standby_2"}
    system = {"cluster": "blue", "state": "ready", "leaders": holders}
    found = dict(rows({"state": "ready", "system": system}))
    assert found["cluster"] == "raycluster/blue ready"
    assert found["leaders"] == "replicaset, raycluster, rayservice on blue; fleet on standby"
    assert "upgrade" not in found
    move = {"from": "blue", "to": "green", "step": "prepare"}
    assert (
        dict(rows({"state": "ready", "system": {**system, "move": move}}))["upgrade"] == "from blue to green: prepare"
    )
