"""`rayctl up --kubernetes`: what is said about the control plane's own cluster, and what its processes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.kubelet.spec import parse_pod, refusal
from rayctl.errors import InvalidRequest
from rayctl.manifests.access import CONTROLLERS
from rayctl.manifests.installation import Installation
from rayctl.selfhost import kubecmd
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.options import UpOptions
from rayctl.selfhost.plan import KUBE, RESIDENT, Part, Seen, died, plan
from rayctl.selfhost.status import rows
from rayctl.selfhost.system import installation
from rayctl.selfhost.system_view import STEPS, SystemSeen, judge, wanted_installation


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
    assert judge(seen(gateway="refused", steps=frozenset({"http"})))[2] == frozenset(STEPS)


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
        "/home/me/.rayctl", {"RAYCTL_MAX_RUNNING": "2"}, 2, 2**31, 8000, kubecmd.shared(layout)
    )
    found = installation(wanted)
    assert isinstance(found, Installation)
    assert (found.num_cpus, found.memory, found.settings) == (2, "2048Mi", (("RAYCTL_MAX_RUNNING", "2"),))
    assert ("/home/me/.rayctl/token", "File") in found.folders


def test_no_pod_is_given_the_servers_own_folder() -> None:
    layout = Layout.of(Path("/home/me/.rayctl"), {})
    places = [Path(path) for path, _ in kubecmd.shared(layout)]
    assert not any(layout.kube.is_relative_to(place) or layout.kubeconfig.is_relative_to(place) for place in places)
    line = kubecmd.kube_argv("python", layout, 6443)
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


def test_options_of_a_ray_head_are_refused() -> None:
    UpOptions(kubernetes=True, num_cpus=2, port=9000).check()
    with pytest.raises(InvalidRequest, match="address of its own"):
        UpOptions(kubernetes=True, dashboard_port=8265).check()


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
