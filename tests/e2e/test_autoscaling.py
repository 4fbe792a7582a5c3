"""Ray's own autoscaler, in its container beside the head, gets workers from the embedded server and gives them back."""

from __future__ import annotations

import pytest

from tests.e2e.machine import Machine, cluster
from tests.kubelet.node import MODES
from tests.ray.helpers import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2"),
]
TASK = """
import ray
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1)
def where():
    return ray.util.get_node_ip_address()
print(ray.get(where.remote(), timeout=120))
"""


def test_a_worker_comes_for_a_task_and_goes_when_idle(machine: Machine) -> None:
    options = {"version": "v2", "idleTimeoutSeconds": 10}
    machine.apply(cluster("as", 0, 2, enableInTreeAutoscaling=True, autoscalerOptions=options, rayVersion="2.60.0"))
    assert set(machine.pods()) == {"as-head"}
    address = machine.run("as", TASK).strip()
    workers = [pod["status"]["podIP"] for name, pod in machine.pods().items() if name != "as-head"]
    assert workers == [address]
    wait_until(lambda: set(machine.pods()) == {"as-head"}, 90)
