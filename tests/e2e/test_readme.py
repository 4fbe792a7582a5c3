"""The README's commands and programs, taken from its text and run against a service, as a reader would.

Only names and bounds are replaced: the run's id for ``RUN``, this service's addresses, three trials for a minute.
"""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.cli.readme import BLOCKS, TYPED_ON_RAY, command_lines, programs, shell_lines
from tests.e2e.conftest import BIN, Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SECONDS = {"--time-budget 60s": "--time-budget 30s --max-trials 3", "20}": "2}"}


@pytest.fixture(scope="module", autouse=True)
def files(service: Service) -> None:
    """What the reader has: customers, new ones, and a tenant's file as it stands in the README."""
    table = pd.read_csv(service.folder / "table.csv").rename(columns={"target": "churn"})
    table.to_csv(service.folder / "customers.csv", index=False)
    table.drop(columns="churn").head(20).to_csv(service.folder / "new_customers.csv", index=False)
    (service.folder / "pricing.yaml").write_text(next(text for kind, text in BLOCKS if kind == "yaml"))


def line_of(start: str) -> str:
    found = next(line for line in shell_lines() if line.startswith(start))
    for old, new in SECONDS.items():
        found = found.replace(old, new)
    return found


def typed(service: Service, *lines: str) -> str:
    """Type lines in one shell; return what they wrote."""
    env = {**service.env, "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = "set -eo pipefail\n" + "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script], env=env, cwd=service.folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{lines}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_a_table_from_submission_to_a_report(service: Service) -> None:
    said = typed(service, line_of("rayctl automl submit"))
    run_id = re.search(r"run-[\w-]+", said)
    assert run_id is not None, said
    lines = [line_of(f"rayctl automl {verb}") for verb in ("predict", "report", "why", "finish", "export", "download")]
    typed(service, *(line.replace("RUN", run_id[0]) for line in lines))
    predicted = pd.read_csv(service.folder / "predictions.csv")
    assert len(predicted) == 20
    assert "<svg" in (service.folder / "report.html").read_text()
    assert (service.folder / "model.onnx").stat().st_size > 1000
    assert service.python(f"import rayctl\n{program_with('rayctl.load_model(')}{ENDS}") == "ended"


def test_over_http(service: Service) -> None:
    environment, submit = line_of('eval "$(rayctl env)"'), line_of("curl -H")
    said = typed(service, environment, submit.replace("curl", "curl -sS", 1))
    run_id = re.search(r'"id":\s*"([^"]+)"', said)
    assert run_id is not None, said
    events = typed(service, environment, line_of("curl -N").replace("RUN", run_id[1]).replace("curl", "curl -sS", 1))
    assert "event: done" in events


def test_a_tenants_file(service: Service) -> None:
    verbs = tuple(line for line in TYPED_ON_RAY if "tenant" in line)
    try:
        typed(service, *(line for line in command_lines() if line.startswith(verbs)))
        assert service.json("tenant", "show", "pricing")["version"] == 2
    finally:
        service.rayctl("tenant", "delete", "pricing", "--yes", code=None)


ENDS = "\nimport json; print(json.dumps('ended'))\n"


def program_with(mark: str) -> str:
    (found,) = (text for text in programs() if mark in text)
    return found


def test_ways_in(service: Service) -> None:
    """Over HTTP, and by name from plain Ray. `tests.e2e.test_three_ways` goes all three."""
    over_http, _, by_name = program_with('rayctl.connect("http').strip().splitlines()
    assert by_name.startswith("ray.get_actor(")
    begin = f"import rayctl, ray\n{over_http.replace('http://127.0.0.1:8000', service.url)}\n"
    begin += f"ray.init({service.up['ray_client_address']!r})\n{by_name}\n"
    begin += "import pandas as pd\nframe = pd.read_csv('table.csv').rename(columns={'target': 'price'})\n"
    run = program_with("do_auto_ml").replace("20}", "2}")
    (service.folder / "ways.py").write_text(f"{begin}{run}\nprint(result['leaderboard'])\n")
    assert "trial" in typed(service, line_of('eval "$(rayctl env)"'), "python ways.py")


@pytest.mark.slow  # examples/02 does the like in every run of CI
def test_a_search_space_for_series(service: Service) -> None:
    months = pd.date_range("2015-01-01", periods=60, freq="MS")
    rng = np.random.default_rng(0)
    values = 100 + 10 * np.sin(np.arange(60) * np.pi / 6) + rng.normal(0, 1, 60)
    pd.DataFrame({"series": "a", "month": months, "value": values}).to_csv(service.folder / "sales.csv", index=False)
    begin = "import pandas as pd\nsales = pd.read_csv('sales.csv', parse_dates=['month'])\n"
    assert service.python(begin + program_with("AutoARIMA") + ENDS) == "ended"


@pytest.mark.slow  # examples/03 does the like in every run of CI
def test_an_application(service: Service) -> None:
    document = yaml.safe_load((service.folder / "pricing.yaml").read_text())
    del document["environment"]["packages"]  # there may be no package index here
    document["secrets"] = {"db": "env:HOME"}  # a variable that the workers have
    (service.folder / "pricing.yaml").write_text(yaml.safe_dump(document))
    begin = "import rayctl\n"
    program = program_with("current_config()").replace('connect("ray"', f'connect("{service.up["ray_client_address"]}"')
    assert service.python(begin + program + ENDS) == "ended"
