"""What `make demo-kubernetes` runs: rayctl on a Ray cluster of its own, on a Kubernetes API of this machine.

One command brings it up. Then: a table, a fleet of two Ray clusters, and the move of rayctl itself to a new cluster
while requests go on. Everything is kept in a temporary folder and removed afterwards.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from demo import run, write_data

# Root may give each pod a network of its own; others share the machine's.
NETWORK = "netns" if os.geteuid() == 0 and shutil.which("ip") else "ports"

FLEET = """
apiVersion: orchestration.aibrix.ai/v1alpha1
kind: RayClusterFleet
metadata:
  name: pair
spec:
  replicas: 2
  selector:
    matchLabels: {app: pair}
  template:
    metadata:
      labels: {app: pair}
    spec:
      rayVersion: "2.60.0"
      headGroupSpec:
        rayStartParams: {num-cpus: "1"}
        template:
          spec:
            containers:
              - name: ray-head
                image: rayproject/ray:2.60.0
                resources:
                  limits: {cpu: "1", memory: 1Gi}
"""


class Load:
    """Asks the service for its runs again and again, and counts."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.longest_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        import rayctl

        with rayctl.connect(timeout_s=60.0) as connection:
            while not self._ended.wait(0.1):
                began = time.monotonic()
                try:
                    list(connection.automl.list())
                    self.answers += 1
                except Exception as error:  # whatever it is: it counts
                    self.failures.append(repr(error))
                self.longest_s = max(self.longest_s, time.monotonic() - began)


def main() -> None:
    """Bring it up, do three things, take it down; tell what is left."""
    with tempfile.TemporaryDirectory(prefix="rayctl-demo-") as name:
        folder = Path(name)
        os.environ["RAYCTL_HOME"] = str(folder / "home")
        os.environ["PYTHONWARNINGS"] = "ignore"
        write_data(folder)
        (folder / "fleet.yaml").write_text(FLEET)
        try:
            run(f"rayctl up --kubernetes --network {NETWORK} --num-cpus 2 --memory 3GiB --timeout 180s", folder)
            run(
                "rayctl automl submit customers.csv --target churn --task classification"
                " --time-budget 20s --seed 0 --name churn --wait",
                folder,
            )
            run("rayctl apply -f fleet.yaml --wait --timeout 180s", folder)
            run("rayctl get clusters -A", folder)
            run("rayctl delete fleet/pair --wait", folder)
            with Load() as load:
                run("rayctl upgrade --timeout 200s", folder)
            print(f"  meanwhile {load.answers} requests were answered, {len(load.failures)} failed", end="")
            print(f", the slowest took {load.longest_s:.1f} s", *load.failures[:3], sep="\n", flush=True)
            run("rayctl status", folder)
            run("rayctl automl list", folder)
        finally:
            run("rayctl down --delete-data --yes", folder)
        left = subprocess.run(["pgrep", "-fc", name], capture_output=True, text=True).stdout.strip()
        print(f"  processes left: {left}", flush=True)
        if load.failures or left != "0":
            sys.exit(1)


if __name__ == "__main__":
    main()
